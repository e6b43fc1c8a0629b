package webhook

import (
	"fmt"
	"maps"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-ci/slipway/jobs"
)

// ourNames are commands such as a repository has.
var ourNames = []string{"build", "deploy", "rollback", "approve", "ok-to-test", "cancel", "retry", "why", "status", "help", "greet"}

// brief shows commands as "line:name [args] {named}", or their fault.
func brief(commands []jobs.Command) []string {
	shown := []string{}
	for _, c := range commands {
		s := fmt.Sprintf("%d:%s", c.Line, c.Name)
		if len(c.Args) > 0 {
			s += fmt.Sprintf(" %q", c.Args)
		}
		if len(c.Named) > 0 {
			s += fmt.Sprintf(" %q", c.Named)
		}
		if c.Fault != "" {
			s += " ! " + c.Fault
		}
		shown = append(shown, s)
	}
	return shown
}

// TestWhereCommandsStand holds that a command is a line of the running text as GitHub renders it, and nothing else is.
func TestWhereCommandsStand(t *testing.T) {
	for name, test := range map[string]struct {
		body string
		want []string
	}{
		"alone":                          {"/retry", []string{"1:retry"}},
		"in any case":                    {"/Deploy Staging", []string{`1:deploy ["Staging"]`}},
		"among text":                     {"looks good\n/deploy staging\nthanks", []string{`2:deploy ["staging"]`}},
		"several":                        {"/build api\n/retry\n\ntext\n\n/why", []string{`1:build ["api"]`, "2:retry", "6:why"}},
		"carriage returns":               {"hello\r\n/retry\r\n\r\n/why\r\n", []string{"2:retry", "4:why"}},
		"old carriage returns":           {"hello\r/retry\r", []string{"2:retry"}},
		"trailing blanks":                {"/retry \t \n", []string{"1:retry"}},
		"up to three spaces":             {"   /retry", []string{"1:retry"}},
		"four spaces are code":           {"    /retry", nil},
		"a tab is code":                  {"\t/retry", nil},
		"four spaces in a paragraph":     {"text\n    /retry", nil},
		"no-break space is a blank":      {"/deploy\u00a0staging", []string{`1:deploy ["staging"]`}},
		"after a hard break":             {"text\\\n/retry", []string{"2:retry"}},
		"after two spaces":               {"text  \n/retry", []string{"2:retry"}},
		"after code":                     {"see `x`\n/retry", []string{"2:retry"}},
		"after a link":                   {"see [x](https://example.com)\n/retry", []string{"2:retry"}},
		"after an address":               {"see https://example.com/x\n/retry", []string{"2:retry"}},
		"after a mention":                {"@octo\n/retry", []string{"2:retry"}},
		"within a sentence":              {"please /retry this", nil},
		"escaped":                        {"\\/retry", nil},
		"as an entity":                   {"&#47;retry", nil},
		"emphasised line":                {"*/retry*", nil},
		"line within emphasis":           {"so *please\n/greet a\nb* now", []string{`2:greet ["a"]`}},
		"struck out":                     {"~~no\n/retry~~", nil},
		"fenced":                         {"```\n/retry\n```", nil},
		"fenced with tildes":             {"~~~sh\n/retry\n~~~", nil},
		"fence never closed":             {"```\n/retry", nil},
		"fence inside a longer fence":    {"````\n```\n````\n/retry", []string{"4:retry"}},
		"after a fence":                  {"```\nx\n```\n/retry", []string{"4:retry"}},
		"a fence closed too early":       {"```\n````\n/retry", []string{"3:retry"}},
		"code over lines":                {"see `a\n/retry\nb`", nil},
		"backtick never closed":          {"see `a\n/retry\nb", []string{"2:retry"}},
		"quote":                          {"> /retry", nil},
		"lazy continuation of a quote":   {"> please\n/retry", nil},
		"after a quote":                  {"> please\n\n/retry", []string{"3:retry"}},
		"note":                           {"> [!NOTE]\n> /retry", nil},
		"list":                           {"- /retry\n- x", nil},
		"lazy continuation of a list":    {"- x\n/retry", nil},
		"paragraph of a list":            {"- x\n\n  /retry", nil},
		"after a list":                   {"- x\n\n/retry", []string{"3:retry"}},
		"task":                           {"- [ ] x\n/retry", nil},
		"numbered list":                  {"1. x\n   /retry", nil},
		"heading":                        {"# /retry", nil},
		"heading by underline":           {"/retry\n---", nil},
		"table":                          {"/retry | x\n--- | ---\n/why | y", nil},
		"row of a table without bars":    {"a | b\n--- | ---\n/why", nil},
		"before a table":                 {"/retry\na | b\n:-- | --:\n/why", []string{"1:retry"}},
		"after a table":                  {"a | b\n--- | ---\n\n/why", []string{"4:why"}},
		"HTML comment":                   {"<!-- /retry -->", nil},
		"HTML comment over lines":        {"<!--\n/retry\n\n/why\n-->\n\n/build", []string{"7:build"}},
		"HTML comment within text":       {"text <!--\n/retry\n--> text", nil},
		"HTML comment never closed":      {"<!--\n/retry\n\n/why", nil},
		"HTML comment that is none":      {"text <!--\n/retry", []string{"2:retry"}},
		"comment opened within a block":  {"<div> <!--\n\n/retry\n\n-->", nil},
		"comment at a command's end":     {"/deploy staging <!-- production -->", []string{`1:deploy ["staging"]`}},
		"comment within a command":       {"/deploy sta<!-- x -->ging", []string{`1:deploy ["staging"]`}},
		"comment from a command's line":  {"/deploy staging <!-- a\n/retry\n-->", []string{`1:deploy ["staging"]`}},
		"pre":                            {"<pre>\n/retry\n\n/why\n</pre>\n/build", []string{"6:build"}},
		"after pre":                      {"<pre>\nx\n</pre>\n\n/build", []string{"5:build"}},
		"pre within text":                {"text <pre>\n/retry\n</pre>", nil},
		"pre around a paragraph":         {"<div><pre>\n\n/retry\n\n</pre></div>\n\n/why", []string{"7:why"}},
		"code element":                   {"text <code>\n/retry\n</code>", nil},
		"code element over paragraphs":   {"> <code>\n\n/retry", nil},
		"quote by HTML":                  {"<blockquote>\n\n/retry\n\n</blockquote>\n\n/why", []string{"7:why"}},
		"quote by HTML, never closed":    {"<blockquote>\n\n/retry", nil},
		"quote by HTML around a list":    {"<blockquote><ul><li>\n\n/retry\n\n</blockquote>\n\n/why", []string{"7:why"}},
		"list by HTML without ends":      {"<ul><li>a<li>b</ul>\n\n/retry", []string{"3:retry"}},
		"HTML can't end Markdown's list": {"- a </li></ul></b\ue000>\n/retry", nil},
		"a tag of our own by hand":       {"<pre>\n</pre>\n\n- x <l\ue000>\n\n/why", []string{"6:why"}},
		"details":                        {"<details>\n\n/retry\n\n</details>", []string{"3:retry"}},
		"details without blank lines":    {"<details>\n/retry\n</details>", nil},
		"summary":                        {"<details><summary>\n\n/retry\n\n</summary></details>", nil},
		"div":                            {"<div align=center>\n\n/retry\n\n</div>", []string{"3:retry"}},
		"a placeholder in brackets":      {"use <environment> here\n/retry", []string{"2:retry"}},
		"a tag GitHub shows as text":     {"the <title> is wrong\n\n/retry", []string{"3:retry"}},
		"script":                         {"<script>\n/retry\n</script>", nil},
		"link's text":                    {"[text\n/retry](https://example.com)", nil},
		"link's title":                   {"[x](https://example.com \"\n/retry\n\")", nil},
		"picture's text":                 {"![x\n/retry](https://example.com/a.png)", nil},
		"definition of a link":           {"[x]:\n/retry", nil},
		"title of a definition":          {"[x]: /a '\n/retry\n'", nil},
		"footnote":                       {"x[^1]\n\n[^1]: text\n/retry", nil},
		"footnote's paragraph":           {"x[^1]\n\n[^1]: text\n\n    /retry", nil},
		"end of a line only":             {"/retry\n\n\n", []string{"1:retry"}},
		"empty":                          {"", nil},
		"only a slash":                   {"/", nil},
		"double slash":                   {"//retry", nil},
		"path":                           {"/usr/bin/retry", nil},
		"our name as a path":             {"/build/output", nil},
		"directory":                      {"/usr", []string{"1:usr"}},
		"name with a dot":                {"/retry.", nil},
		"name with a colon":              {"/deploy: staging", nil},
		"another bot's":                  {"/lgtm\n/hold\n/test all", []string{"1:lgtm", "2:hold", `3:test ["all"]`}},
	} {
		t.Run(name, func(t *testing.T) {
			got := brief(Commands(test.body, CommandOptions{}))
			if !slices.Equal(got, test.want) {
				t.Errorf("Commands(%q)\n got %q\nwant %q", test.body, got, test.want)
			}
		})
	}
}

func TestArgumentsOfCommands(t *testing.T) {
	for line, want := range map[string]string{
		`/greet`:                              `1:greet`,
		`/greet a  b	c`:                       `1:greet ["a" "b" "c"]`,
		`/greet "a b" 'c d'`:                  `1:greet ["a b" "c d"]`,
		`/greet "" x`:                         `1:greet ["" "x"]`,
		`/greet "say \"hi\" \\ \n"`:           `1:greet ["say \"hi\" \\ \\n"]`,
		`/greet 'C:\dir\'`:                    `1:greet ["C:\\dir\\"]`,
		`/greet C:\dir`:                       `1:greet ["C:\\dir"]`,
		`/greet greeting=Hi name="A B"`:       `1:greet map["greeting":"Hi" "name":"A B"]`,
		`/greet x greeting='a=b' y`:           `1:greet ["x" "y"] map["greeting":"a=b"]`,
		`/greet ref=feat/x=1`:                 `1:greet map["ref":"feat/x=1"]`,
		`/greet key=`:                         `1:greet map["key":""]`,
		`/greet key= value`:                   `1:greet ["value"] map["key":""]`,
		`/greet "key=value"`:                  `1:greet ["key=value"]`,
		`/greet Key=x =y 1=z`:                 `1:greet ["Key=x" "=y" "1=z"]`,
		`/greet don't 5"`:                     `1:greet ["don't" "5\""]`,
		`/greet *bold* <b> &amp;`:             `1:greet ["*bold*" "<b>" "&amp;"]`,
		`/greet 안녕 🚀`:                         `1:greet ["안녕" "🚀"]`,
		`/greet "open`:                        `1:greet ! the quote that begins "\"open" is never closed with "`,
		`/greet key='open`:                    `1:greet ! the quote that begins "'open" is never closed with '`,
		`/greet "a"b`:                         `1:greet ! a blank is missing after the closing " of "\"a\""`,
		`/greet k=1 k=2`:                      `1:greet ! k is given twice`,
		`/greet “smart quotes”`:               `1:greet ! only straight quotes group words: write " or ' in place of “`,
		"/greet a\x1bb":                       `1:greet ! the line holds a character that can't be seen (U+001B); write it anew`,
		"/greet stag\u202eing":                `1:greet ! the line holds a character that can't be seen (U+202E); write it anew`,
		"/greet stag\u200bing":                `1:greet ! the line holds a character that can't be seen (U+200B); write it anew`,
		"/greet a\xffb":                       `1:greet ! the line holds a character that is not valid UTF-8`,
		"/greet" + strings.Repeat(" a", 51):   `1:greet ! there are more than 50 arguments`,
		"/greet " + strings.Repeat("a", 2000): `1:greet ! the command has 2006 bytes, more than 2000`,
	} {
		if got := brief(Commands(line, CommandOptions{})); !slices.Equal(got, []string{want}) {
			t.Errorf("Commands(%.80q)\n got %q\nwant [%q]", line, got, want)
		}
	}
}

func TestCommandKeepsTheLine(t *testing.T) {
	long := "/greet \"a  b\"\t c=" + strings.Repeat("é", 150)
	got := Commands("text\n  "+long+"  \n", CommandOptions{})
	if len(got) != 1 {
		t.Fatalf("got %d commands, want 1", len(got))
	}
	if !strings.HasPrefix("  "+long, got[0].Text) || len(got[0].Text) != 199 { // a whole é short of 200
		t.Errorf("Text has %d bytes: %q", len(got[0].Text), got[0].Text)
	}
}

// TestPlacesCountEveryCommand holds that a command's key is the same whoever else is spoken to in the comment, and how.
func TestPlacesCountEveryCommand(t *testing.T) {
	const body = "/lgtm\n/retry\n```\n/why\n```\n/usr/bin\n/slipway shout loud\n/build"
	for name, test := range map[string]struct {
		options CommandOptions
		want    map[string]int
	}{
		"all":               {CommandOptions{Prefix: "slipway"}, map[string]int{"lgtm": 0, "retry": 1, "shout": 2, "build": 3}},
		"those with prefix": {CommandOptions{Prefix: "slipway", RequirePrefix: true}, map[string]int{"shout": 2}},
	} {
		got := map[string]int{}
		for _, c := range Commands(body, test.options) {
			got[c.Name] = c.Place
		}
		if !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: got %v, want %v", name, got, test.want)
		}
	}
}

func TestPrefix(t *testing.T) {
	for _, test := range []struct {
		body    string
		require bool
		want    []string
	}{
		{"/slipway deploy staging", false, []string{`1:deploy ["staging"]`}},
		{"/SlipWay Deploy staging\n/retry", false, []string{`1:deploy ["staging"]`, "2:retry"}},
		{"/slipway deploy staging\n/retry\n/dpeloy", true, []string{`1:deploy ["staging"]`}},
		{"/slipway /deploy staging", true, []string{`1:deploy ["staging"]`}},
		{"/slipway", true, []string{"1:help"}},
		{"/slipway  ", true, []string{"1:help"}},
		{"/slipway juggle x", true, []string{`1:juggle ["x"]`}},
		{"/slipway retry, please", true, []string{`1: ! "retry," can't be a command's name; /slipway help lists the commands`}},
		{"/slipways deploy", true, []string{}},
		{"/slipway-deploy", true, []string{}},
		{"> /slipway deploy", true, []string{}},
	} {
		got := brief(Commands(test.body, CommandOptions{Prefix: "slipway", RequirePrefix: test.require}))
		if !slices.Equal(got, test.want) {
			t.Errorf("Commands(%q), prefix required %t\n got %q\nwant %q", test.body, test.require, got, test.want)
		}
	}
}

func TestCommandsAreBounded(t *testing.T) {
	got := Commands(strings.Repeat("/retry\n", 30), CommandOptions{})
	if len(got) != maxCommands+1 {
		t.Fatalf("got %d commands, want %d and one with a fault", len(got), maxCommands)
	}
	for i, c := range got {
		if (c.Fault != "") != (i == maxCommands) || c.Place != i {
			t.Errorf("command %d: %+v", i, c)
		}
	}
	for name, test := range map[string]struct {
		body string
		want []string
	}{
		"what stands beyond is not looked at": {"/why\n\n" + strings.Repeat("x\n", maxComment/2) + "\n\n/retry", []string{"1:why"}},
		"a paragraph that is cut is left out": {"/why\n\nx <!--\n/retry\n" + strings.Repeat("x\n", maxComment/2) + "-->", []string{"1:why"}},
		"nothing but one paragraph":           {"/why\n" + strings.Repeat("x\n", maxComment), []string{}},
	} {
		if got := brief(Commands(test.body, CommandOptions{})); !slices.Equal(got, test.want) {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
}

func TestSuggestion(t *testing.T) {
	for word, want := range map[string]string{
		"dpeloy": "deploy", "oktotest": "ok-to-test", "deplorable": "", "deploi": "deploy", "dploy": "deploy", "deply": "deploy", "roll-back": "rollback", "retyr": "retry", "hlep": "help",
		"wyh": "why", "aprove": "approve", "ok-to-tset": "ok-to-test", "stats": "status",
		"deploy": "", "retest": "", "hold": "", "home": "", "usr": "", "who": "why", "run": "", "reply": "", "lgtm": "", "": "",
		strings.Repeat("a", 32): "",
	} {
		if got := Suggestion(word, ourNames); got != want {
			t.Errorf("Suggestion(%q) is %q, want %q", word, got, want)
		}
	}
}

// FuzzCommands holds for any comment and options: nothing panics, what is returned is a line of the comment outside
// fences, bounded, and reads the same when it stands alone.
func FuzzCommands(f *testing.F) {
	for _, seed := range []string{
		"/retry", "/deploy staging \"a b\" c='d'\r\n/why", "> /retry\n/why", "```\n/retry\n```\n/why", "<pre>\n\n/retry\n</pre>", "- a\n/why",
		"a `b\n/c` <!--\n/why\n-->", "<details>\n\n/why\n", "| a |\n|---|\n/why", "x[^1]\n\n[^1]: a\n/why", "/slipway retry", "/a\\\n/b  \n/c", "[a]: /b '\n/why'",
	} {
		f.Add(seed, false)
		f.Add(seed, true)
	}
	f.Fuzz(func(t *testing.T, body string, require bool) {
		o := CommandOptions{Prefix: "slipway", RequirePrefix: require}
		commands := Commands(body, o)
		if len(commands) > maxCommands+1 {
			t.Fatalf("%d commands", len(commands))
		}
		lines := strings.Split(strings.ReplaceAll(strings.ReplaceAll(body, "\r\n", "\n"), "\r", "\n"), "\n")
		place := -1
		for _, c := range commands {
			if c.Line < 1 || c.Line > len(lines) || !strings.HasPrefix(lines[c.Line-1], c.Text) || len(c.Text) > maxCommandText {
				t.Fatalf("%+v is no line of the comment", c)
			}
			if !strings.HasPrefix(strings.TrimLeft(c.Text, " "), "/") || c.Place <= place {
				t.Fatalf("%+v is no command, or out of order", c)
			}
			place = c.Place
			if c.Fault != "" && (c.Args != nil || c.Named != nil) {
				t.Fatalf("%+v is faulty and has arguments", c)
			}
			if got := Commands("```\n"+lines[c.Line-1]+"\n```", o); len(got) > 0 && !strings.Contains(lines[c.Line-1], "```") {
				t.Fatalf("%+v is a command within a fence", got)
			}
			alone := Commands(strings.TrimSpace(lines[c.Line-1]), o)
			if len(alone) == 1 && c.Fault == "" && !strings.ContainsAny(lines[c.Line-1], "<>") && !reflect.DeepEqual(alone[0].Args, c.Args) {
				t.Fatalf("alone it reads %+v, in the comment %+v", alone[0], c)
			}
		}
		// Within a fence that nothing closes there are no commands.
		if got := Commands("~~~~~~~~\n"+strings.ReplaceAll(body, "~", "-"), CommandOptions{}); len(got) > 0 {
			t.Fatalf("within a fence: %+v", got)
		}
	})
}

// slow are comments of 64 KB made to take a Markdown parser long: each piece over and over, in paragraphs as long as are read.
func slow() map[string]string {
	bodies := map[string]string{}
	for name, piece := range map[string]string{
		"emphasis": "*a_ ", "brackets": "[", "link-starts": "[a](", "pictures": "![", "tags": "<q>", "ends": "</q>", "comments": "<!-- ",
		"attributes": " a=\"", "backticks": "`` ` ", "list-items": "- \n", "footnotes": "[^a]: x\n", "tables": "|a|b|\n|-|-|\n",
		"definitions": "[a]: b\n", "headings": "a\n-\n", "blocks": "<div>\n\n", "nested-quotes": strings.Repeat(">", maxNesting) + " a\n",
		"nested-lists": strings.Repeat("- + ", maxNesting/2) + "a\n", "deeper": ">", "struck": "~~a ",
	} {
		paragraph := strings.Repeat(piece, (maxParagraph-100)/len(piece)) + "\n\n"
		bodies[name] = "/retry\n\n" + strings.Repeat(paragraph, (maxComment-100)/len(paragraph)) + "\n/why\n"
	}
	bodies["wide-table"] = "/retry\n\n" + strings.Repeat("|a", 2000) + "\n" + strings.Repeat("|-", 2000) + "\n" + strings.Repeat("a\n", 25000)
	return bodies
}

// TestWideTablesAreBounded holds that memory stays in proportion to the comment: a parser that makes a cell for every column
// in every row would take gigabytes. How long slow comments take is for the benchmark to tell.
func TestWideTablesAreBounded(t *testing.T) {
	body := slow()["wide-table"]
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	commands := Commands(body, CommandOptions{})
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 64<<20 {
		t.Errorf("%d MB were allocated for a comment of %d KB", used>>20, len(body)>>10)
	}
	if got := brief(commands); !slices.Equal(got, []string{"1:retry"}) {
		t.Errorf("got %q", got)
	}
}

// BenchmarkCommands reads comments of 64 KB: without a command, with many, and made to be slow.
func BenchmarkCommands(b *testing.B) {
	const text = "Some text with `code`, *emphasis* and a [link](https://example.com).\n"
	bodies := slow()
	bodies["plain"] = strings.Repeat(text+"\n", 900)
	bodies["commands"] = strings.Repeat(text+"/deploy staging\n\n", 700)
	for _, name := range slices.Sorted(maps.Keys(bodies)) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(bodies[name])))
			b.ReportAllocs()
			for b.Loop() {
				Commands(bodies[name], CommandOptions{})
			}
		})
	}
}
