package web

import (
	"bytes"
	"fmt"
	"html"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	xhtml "golang.org/x/net/html"

	"github.com/slipway-ci/slipway/jobs"
)

func TestANSI(t *testing.T) {
	for _, tt := range []struct{ name, line, html, plain string }{
		{"plain", "a < b & c", "a &lt; b &amp; c", "a < b & c"},
		{"colour", "\x1b[31mred\x1b[0m x", `<span class="a1">red</span> x`, "red x"},
		{"bold bright", "\x1b[1;92mok\x1b[39m still\x1b[22m no", `<span class="ab a10">ok</span><span class="ab"> still</span> no`, "ok still no"},
		{"never closed", "\x1b[4mto the end", `<span class="au">to the end</span>`, "to the end"},
		{"empty is reset", "\x1b[3mi\x1b[mx", `<span class="ai">i</span>x`, "ix"},
		{"256 colours", "\x1b[38;5;9mx\x1b[38;5;200my\x1b[48;5;1mz", `<span class="a9">x</span><span class="a9">y</span><span class="a9">z</span>`, "xyz"},
		{"true colour", "\x1b[38;2;1;2;3mx\x1b[48;2;4;5;6;1my", `x<span class="ab">y</span>`, "xy"},
		{"cursor", "\x1b[2J\x1b[1;1Hhome\x1b[K", "home", "home"},
		{"hyperlink", "\x1b]8;;javascript:alert(1)\x07link\x1b]8;;\x1b\\!", "link!", "link!"},
		{"title", "\x1b]0;pwned\x07ls", "ls", "ls"},
		{"device string", "\x1bPq#0\x1b\\after", "after", "after"},
		{"unfinished", "a\x1b[31", "a", "a"},
		{"broken", "a\x1b[3\x01b", "a␁b", "a␁b"},
		{"single", "a\x1bcb\x1b", "ab", "ab"},
		{"progress", "10%\r50%\r100%\r", "100%", "100%"},
		{"controls", "a\x00b\x07c\x7fd\te", "a␀b␇c␡d\te", "a␀b␇c␡d\te"},
		{"C1", "a\u009b31mb", "a⟨U+009B⟩31mb", "a⟨U+009B⟩31mb"},
		{"direction", "user\u202e\u2066x", "user⟨U+202E⟩⟨U+2066⟩x", "user⟨U+202E⟩⟨U+2066⟩x"},
		{"line separator", "a\u2028b", "a⟨U+2028⟩b", "a⟨U+2028⟩b"},
		{"not UTF-8", "a\xff\xfeb", "a\ufffd\ufffdb", "a\ufffd\ufffdb"},
		{"markup", "\x1b[31m<img src=x onerror=alert(1)>", `<span class="a1">&lt;img src=x onerror=alert(1)&gt;</span>`, "<img src=x onerror=alert(1)>"},
		{"quotes", `"'`, "&#34;&#39;", `"'`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var b bytes.Buffer
			writeANSI(&b, tt.line)
			if b.String() != tt.html {
				t.Errorf("HTML %q, want %q", b.String(), tt.html)
			}
			if got := Plain(tt.line); got != tt.plain {
				t.Errorf("plain %q, want %q", got, tt.plain)
			}
		})
	}
	var b bytes.Buffer
	writeANSI(&b, strings.Repeat("ä", maxLine))
	if b.Len() > maxLine+100 || !strings.Contains(b.String(), "cut here") || !utf8.Valid(b.Bytes()) {
		t.Errorf("a long line has %d bytes", b.Len())
	}
}

// FuzzANSI: whatever a job prints, only our spans are elements, and nothing that acts is left.
func FuzzANSI(f *testing.F) {
	for _, seed := range []string{"\x1b[1;31mx\x1b[0m", "<script>", "\x1b]8;;x\x07", "a\rb", "\x1b[38;5;9m&", "\x9b31m", "\x1b", "\u202e"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		var b bytes.Buffer
		writeANSI(&b, line)
		z := xhtml.NewTokenizer(&b)
		var text strings.Builder
		for open := 0; ; {
			switch z.Next() {
			case xhtml.ErrorToken:
				if open != 0 {
					t.Fatal("a span stays open")
				}
				if want := Plain(shorten(line)); text.String() != want {
					t.Fatalf("text %q, plain %q", text.String(), want)
				}
				for _, r := range text.String() {
					if r != '\t' && (unicode.IsControl(r) || r == 0x202e || r == 0x2028) {
						t.Fatalf("%U is left in %q", r, text.String())
					}
				}
				return
			case xhtml.TextToken:
				text.Write(z.Text())
			case xhtml.StartTagToken:
				tok := z.Token()
				open++
				if tok.Data != "span" || len(tok.Attr) != 1 || tok.Attr[0].Key != "class" {
					t.Fatalf("element %v", tok)
				}
			case xhtml.EndTagToken:
				open--
			default:
				t.Fatalf("token %v", z.Token())
			}
		}
	})
}

func TestMarkdown(t *testing.T) {
	md := newMarkdown()
	for in, want := range map[string]string{
		"**a** `b`":           "<p><strong>a</strong> <code>b</code></p>",
		"[x](https://e.org/)": `<p><a rel="noopener noreferrer nofollow" href="https://e.org/">x</a></p>`,
		"[x](javascript:1) [y](data:text/html,1) [z](//evil) [r](/x) [s](https:)": "<p><span>x</span> <span>y</span> <span>z</span> <span>r</span> <span>s</span></p>",
		"![alt](https://e.org/a.png)":     `<p><a rel="noopener noreferrer nofollow" href="https://e.org/a.png">alt</a></p>`,
		"# Title":                         "<h4>Title</h4>",
		"a <b onclick=x>b</b> <no value>": "<p>a &lt;b onclick=x&gt;b&lt;/b&gt; &lt;no value&gt;</p>",
		"<script>\nx\n</script>":          "<pre>&lt;script&gt;\nx\n&lt;/script&gt;</pre>",
		"<!-- c -->":                      "<pre>&lt;!-- c --&gt;</pre>",
		"|a|\n|:-:|\n|b|":                 "<table>\n<thead>\n<tr>\n<th align=\"center\">a</th>\n</tr>\n</thead>\n<tbody>\n<tr>\n<td align=\"center\">b</td>\n</tr>\n</tbody>\n</table>",
		`[q](https://e.org/"onclick=1)`:   `<p><a rel="noopener noreferrer nofollow" href="https://e.org/%22onclick=1">q</a></p>`,
		"https://e.org/?a=1&b=2":          `<p><a rel="noopener noreferrer nofollow" href="https://e.org/?a=1&amp;b=2">https://e.org/?a=1&amp;b=2</a></p>`,
	} {
		if got := strings.TrimSpace(string(md(in))); got != want {
			t.Errorf("%q:\n got %s\nwant %s", in, got, want)
		}
	}
}

// FuzzMarkdown: details of a result never bring in an element that could load or run anything.
func FuzzMarkdown(f *testing.F) {
	for _, seed := range []string{"<img src=x>", "[a](javascript:x)", "![a](https://x/y)", "<div\nonclick=a>", "|a|\n|-|\n|<b>|", "``` <x\n", "# h\n\n> q", "<a@b.c>", "- [ ] x"} {
		f.Add(seed)
	}
	md := newMarkdown()
	allowed := strings.Fields("p a span strong em code pre h4 ul ol li blockquote table thead tbody tr th td del br hr")
	f.Fuzz(func(t *testing.T, text string) {
		z := xhtml.NewTokenizer(strings.NewReader(string(md(text))))
		for {
			switch z.Next() {
			case xhtml.ErrorToken:
				return
			case xhtml.CommentToken, xhtml.DoctypeToken:
				t.Fatalf("%v from %q", z.Token(), text)
			case xhtml.StartTagToken, xhtml.SelfClosingTagToken:
				tok := z.Token()
				if !slices.Contains(allowed, tok.Data) {
					t.Fatalf("<%s> from %q", tok.Data, text)
				}
				for _, a := range tok.Attr {
					ok := a.Key == "rel" || a.Key == "align" || a.Key == "start" || a.Key == "class" ||
						a.Key == "href" && (strings.HasPrefix(strings.ToLower(a.Val), "https://") || strings.HasPrefix(strings.ToLower(a.Val), "http://"))
					if !ok {
						t.Fatalf("<%s %s=%q> from %q", tok.Data, a.Key, a.Val, text)
					}
				}
			}
		}
	})
}

func TestProse(t *testing.T) {
	for in, want := range map[string]string{
		"a `b` c": "a <code>b</code> c", "`<b>`": "<code>&lt;b&gt;</code>", "it`s": "it`s", "`a` and ` b": "<code>a</code> and ` b", "": "", "<x>": "&lt;x&gt;", "``": "<code></code>", "`": "`",
	} {
		if got := string(prose(in)); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestTimes(t *testing.T) {
	at := time.Date(2026, 11, 23, 6, 0, 0, 0, time.UTC)
	for d, want := range map[time.Duration]string{
		0: "0s", 420 * time.Millisecond: "0.4s", 9900 * time.Millisecond: "9.9s", 10 * time.Second: "10s", 59900 * time.Millisecond: "59s", time.Minute: "1m 0s",
		84 * time.Second: "1m 24s", time.Hour: "1h 0m", 25 * time.Hour: "1d 1h", -time.Second: "0s",
	} {
		if got := span(at, at.Add(d)); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
	for d, want := range map[time.Duration]string{0: "just now", 30 * time.Second: "30s ago", 3 * time.Minute: "3m ago", 26 * time.Hour: "26h ago", 72 * time.Hour: "3d ago", -time.Hour: "just now"} {
		if got := ago(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}

func TestLinks(t *testing.T) {
	s := newWorld().server(t, func(o *Options) { o.GitHubURL = "https://ghe.example.com/" })
	for got, want := range map[string]string{
		s.github("acme/shop"):                                         "https://ghe.example.com/acme/shop",
		s.github("acme/shop", "tree", "feat/x#1 ?"):                   "https://ghe.example.com/acme/shop/tree/feat/x%231%20%3F",
		s.blob("acme/shop", "abc", "a b/Dockerfile", 7):               "https://ghe.example.com/acme/shop/blob/abc/a%20b/Dockerfile#L7",
		s.blob("acme/shop", "abc", "../../../evil", 0):                "https://ghe.example.com/acme/shop/blob/abc/%2E./%2E./%2E./evil",
		s.source(Run{Repository: "a/b", PullRequest: 7, Branch: "x"}): "https://ghe.example.com/a/b/pull/7",
		s.source(Run{Repository: "a/b", Tag: "v1"}):                   "https://ghe.example.com/a/b/tree/v1",
		s.source(Run{Repository: "a/b"}):                              "https://ghe.example.com/a/b",
		logPath("r-1", "a/../b", 2):                                   "/runs/r-1/jobs/a%2F..%2Fb/log?attempt=2",
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestSentence(t *testing.T) {
	job := func(name string, s jobs.JobState) Job { return Job{Name: name, State: s, Summary: "it broke."} }
	for want, r := range map[string]Run{
		"Waiting for a worker.":       {State: jobs.RunActive, Jobs: []Job{job("a", jobs.JobQueued)}},
		"Running a and b.":            {State: jobs.RunActive, Jobs: []Job{job("a", jobs.JobRunning), job("b", jobs.JobRunning)}},
		"Running a, b, c and 1 more.": {State: jobs.RunActive, Jobs: []Job{job("a", jobs.JobRunning), job("b", jobs.JobRunning), job("c", jobs.JobRunning), job("d", jobs.JobRunning)}},
		"a and b failed: it broke.":   {State: jobs.RunFailed, Jobs: []Job{job("a", jobs.JobFailed), job("b", jobs.JobFailed)}},
		"Stopping: superseded":        {State: jobs.RunActive, Stop: &jobs.Stop{Reason: "superseded"}},
		"Cancelled: superseded":       {State: jobs.RunCancelled, Stop: &jobs.Stop{Reason: "superseded"}},
		"Nothing to do here.":         {State: jobs.RunNothing, Reason: "Nothing to do here."},
		"The job succeeded in 0s.":    {State: jobs.RunSucceeded, Jobs: []Job{job("a", jobs.JobSucceeded), job("b", jobs.JobSkipped)}},
		"a and b: waiting for approval of staging, production.": {State: jobs.RunActive, Jobs: []Job{
			{Name: "a", State: jobs.JobRunning, Underway: true, Awaits: []string{"staging", "production"}}, {Name: "b", State: jobs.JobRunning, Underway: true, Awaits: []string{"production"}},
			job("c", jobs.JobRunning)}},
		"the file is wrong": {State: jobs.RunFailed, Reason: "the file is wrong", Faults: []jobs.Fault{{Message: "x"}}, Jobs: []Job{job("a", jobs.JobFailed)}},
	} {
		if got := sentence(r); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// Every state there is has a word of its own, not its name.
func TestStates(t *testing.T) {
	for _, s := range []string{"active", "succeeded", "failed", "cancelled", "held", "nothing", "waiting", "queued", "offered", "running", "skipped", "run", "fault", "observe", "ignored", "undecided", "waits", "acted", "refused", "noted"} {
		if v := stateOf(s); v.Word == s || v.Icon == "" || v.Class == "" {
			t.Errorf("%s: %+v", s, v)
		}
	}
}

func TestGraph(t *testing.T) {
	job := func(name string, needs ...string) Job { return Job{Name: name, Needs: needs} }
	g := layout([]Job{job("d", "b", "c", "a"), job("a"), job("b", "a"), job("c", "a"), job("alone")})
	at := map[string]graphNode{}
	for _, n := range g.Nodes {
		at[n.Name] = n
	}
	if g.Layers != 3 || len(g.Nodes) != 5 || !(at["a"].X < at["b"].X && at["b"].X == at["c"].X && at["c"].X < at["d"].X && at["alone"].X == at["a"].X) {
		t.Errorf("%+v", g)
	}
	if len(g.Edges) != 4 {
		t.Errorf("%d edges, want 4: d needs a by way of b and c", len(g.Edges))
	}
	for _, n := range g.Nodes {
		if n.X < 0 || n.Y < 0 || n.X+nodeWidth > g.Width || n.Y+nodeHeight > g.Height {
			t.Errorf("%s at %d,%d is outside %d×%d", n.Name, n.X, n.Y, g.Width, g.Height)
		}
		for _, m := range g.Nodes {
			if n.Name < m.Name && n.X == m.X && n.Y == m.Y {
				t.Errorf("%s lies on %s", n.Name, m.Name)
			}
		}
	}
	// Records that make no sense are drawn somehow, and soon.
	for _, odd := range [][]Job{nil, {job("a", "a")}, {job("a", "b"), job("b", "a")}, {job("a", "gone")}, {job("a"), job("a", "a")}} {
		if g := layout(odd); len(g.Nodes) != len(odd) {
			t.Errorf("%+v", g)
		}
	}
}

func TestLogTail(t *testing.T) {
	w := newWorld()
	s := w.server(t)
	key := jobs.LogKey{Run: "r-1", Job: "a", Attempt: 1}
	total := 3*maxLogLines + 17
	for n := 1; n <= total; n += 100 {
		var lines []string
		for i := n; i < n+100 && i <= total; i++ {
			lines = append(lines, fmt.Sprint("line ", i))
		}
		w.logs.print(key, false, lines...)
	}
	tail, err := s.readTail(t.Context(), key, "", maxLogLines)
	if err != nil {
		t.Fatal(err)
	}
	rows := string(tail.Rows)
	if strings.Count(rows, "<li ") != maxLogLines || tail.Last != total || tail.First != total-maxLogLines+1 || tail.Ended {
		t.Errorf("%d rows, %d to %d", strings.Count(rows, "<li "), tail.First, tail.Last)
	}
	contains(t, rows[:200], fmt.Sprintf(`<li id="L%d">`, tail.First), html.EscapeString(fmt.Sprint("line ", tail.First)))
}
