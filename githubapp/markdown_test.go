package githubapp

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	goldhtml "github.com/yuin/goldmark/renderer/html"
	source "github.com/yuin/goldmark/text"
	"golang.org/x/net/html"
)

// mention is what GitHub takes for one, after the filter it has published (github.com/gjtorikian/html-pipeline). It looks at one
// text between tags after the other.
var mention = regexp.MustCompile(`(?:^|[^A-Za-z0-9_])@[A-Za-z0-9][A-Za-z0-9-]*`)

// rendered is what Markdown shows outside of code, a line for each text between tags, and the HTML that it holds itself.
func rendered(t *testing.T, markdown string) (shows string, raw []string) {
	t.Helper()
	md := goldmark.New(goldmark.WithExtensions(extension.GFM), goldmark.WithRendererOptions(goldhtml.WithUnsafe()))
	src := []byte(markdown)
	doc := md.Parser().Parse(source.NewReader(src))
	err := ast.Walk(doc, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		switch n := n.(type) {
		case *ast.RawHTML:
			if entering {
				raw = append(raw, string(n.Segments.Value(src)))
			}
		case *ast.HTMLBlock:
			if entering {
				raw = append(raw, string(n.Lines().Value(src)))
			}
		}
		return ast.WalkContinue, nil
	})
	var page bytes.Buffer
	if err == nil {
		err = md.Renderer().Render(&page, src, doc)
	}
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	code := 0
	for tokens := html.NewTokenizer(&page); ; {
		kind := tokens.Next()
		if kind == html.ErrorToken {
			return strings.Join(texts, "\n"), raw
		}
		switch token := tokens.Token(); {
		case kind == html.StartTagToken && token.Data == "code":
			code++
		case kind == html.EndTagToken && token.Data == "code":
			code--
		case kind == html.TextToken && code == 0:
			texts = append(texts, token.Data)
		}
	}
}

// unsafeDetails are what a job may write to reach beyond its details.
var unsafeDetails = []string{
	"@octocat",
	"&#64;octocat",
	"&#x40;octocat &commat;octocat",
	"_fix_@octocat",
	"*fix*@octocat",
	"a <img src=x> b",
	"a ` b\nc ` <img src=x> ` d",
	"a ` b\nc ` &#64;octocat ` d",
	"- a\n   ```\n<!-- ",
	"- a\n   ```\n&commat;octocat",
	"> ```\n@octocat <b>",
	"- a\n\n  ~~~\n  x\n~~~\n<b>\n~~~\n<i>",
	"  ```\n<a>\n```\n<img src=x>\n",
	"x\r```\ry\n```\n<img src=x>\n",
	"```\n``` \u00a0\n```\n<img src=x>\n",
	"\\` <b> `",
}

func TestDetailsReachNobody(t *testing.T) {
	for _, details := range unsafeDetails {
		text, raw := rendered(t, defang(details))
		if len(raw) > 0 {
			t.Errorf("%q: HTML got through: %q", details, raw)
		}
		if found := mention.FindString(text); found != "" {
			t.Errorf("%q: the mention %q got through", details, found)
		}
	}
}

// What people copy out of a block of code is what the job wrote.
func TestCodeInDetailsIsLeftAlone(t *testing.T) {
	const code = "```sh\ncat <<EOF >x.html\n&#64; <b>\nEOF\n```\n"
	for _, details := range []string{code, "- a\n- b\n" + code, "> a\n" + code, "see `x`:\n" + code} {
		if got := defang(details); !strings.HasSuffix(got, code) {
			t.Errorf("%q became %q", details, got)
		}
	}
	if got := defang("pull registry.example.com/acme/shop@sha256:3f2c"); strings.Contains(got, wordJoiner) {
		t.Errorf("an image's reference became %q", got)
	}
}

func FuzzMarkdown(f *testing.F) {
	f.Add("a `b` @c <d>", "```\nx\n````\n@y", 50)
	f.Add("~~~ `\n@a", "`` ` @x ``", 10)
	f.Add("\x00\xff@", "> ```\n@x\n", 200)
	f.Add("a@b @@c", "- a\n  ```\n  x\n@y\n```\n", 200)
	f.Add("\\` @x `", "`a\nb` @x `c` \\`<b>` \\\\`<i>`", 200)
	for _, details := range unsafeDetails {
		f.Add(details, details, 200)
	}
	f.Fuzz(func(t *testing.T, text, details string, limit int) {
		for what, got := range map[string]string{
			"inline": inline(text), "code": code(text, true), "fence": fence(strings.Split(text, "\n")), "defang": defang(details),
		} {
			if !utf8.ValidString(got) {
				t.Errorf("%s: not UTF-8: %q", what, got)
			}
			shows, raw := rendered(t, got)
			if len(raw) > 0 {
				t.Errorf("%s: HTML got through: %q in %q", what, raw, got)
			}
			if what == "defang" {
				shows += "\n" + got // mentions are taken apart in code, too
			}
			if found := mention.FindString(shows); found != "" {
				t.Errorf("%s: the mention %q got through: %q", what, found, got)
			}
		}
		if s := inline(text); strings.ContainsAny(s, "\n\r") {
			t.Errorf("more than one line: %q", s)
		}
		if limit = max(min(limit, 5000), 300); len(cutMarkdown(details, limit, "note")) > limit {
			t.Errorf("longer than %d", limit)
		}
	})
}

func TestTook(t *testing.T) {
	for d, want := range map[time.Duration]string{
		400 * time.Millisecond: "0.4 s", 59900 * time.Millisecond: "59 s", 130 * time.Second: "2 min 10 s", 65 * time.Minute: "1 h 5 min", -time.Second: "",
	} {
		if got := took(d); got != want {
			t.Errorf("%s: %q, want %q", d, got, want)
		}
	}
}
