package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/slipway-ci/slipway/jobs"
)

// ask sends a GET request as a browser on this machine would.
func ask(tb testing.TB, h http.Handler, path string, edit ...func(*http.Request)) *httptest.ResponseRecorder {
	tb.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.Host, r.RemoteAddr = "localhost:8081", "127.0.0.1:50000"
	r.Header.Set("Accept", "text/html,*/*")
	for _, e := range edit {
		e(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if strings.HasPrefix(r.URL.Path, "/api/") {
		conforms(tb, r, nil, w)
	}
	return w
}

// body asks and insists on a status.
func body(tb testing.TB, h http.Handler, path string, status int) string {
	tb.Helper()
	w := ask(tb, h, path)
	if w.Code != status {
		tb.Fatalf("GET %s: status %d, want %d: %s", path, w.Code, status, w.Body)
	}
	return w.Body.String()
}

func contains(tb testing.TB, text string, wanted ...string) {
	tb.Helper()
	for _, w := range wanted {
		if !strings.Contains(text, w) {
			tb.Errorf("missing %q in:\n%s", w, text)
		}
	}
}

func lacks(tb testing.TB, text string, unwanted ...string) {
	tb.Helper()
	for _, w := range unwanted {
		if strings.Contains(text, w) {
			tb.Errorf("should not contain %q:\n%s", w, text)
		}
	}
}

// plain is what a reader sees of a page: its text, with single blanks.
func plain(tb testing.TB, page string) string {
	tb.Helper()
	z := html.NewTokenizer(strings.NewReader(page))
	var b strings.Builder
	for hide := false; ; {
		switch z.Next() {
		case html.ErrorToken:
			if !errors.Is(z.Err(), io.EOF) {
				tb.Fatal(z.Err())
			}
			return strings.Join(strings.Fields(b.String()), " ")
		case html.StartTagToken:
			name, _ := z.TagName()
			hide = string(name) == "noscript" || string(name) == "title"
			b.WriteByte(' ')
		case html.EndTagToken:
			hide = false
			b.WriteByte(' ')
		case html.TextToken:
			if !hide {
				b.Write(z.Text())
			}
		}
	}
}

func TestRunList(t *testing.T) {
	now := time.Now()
	s := fillSample(t, newWorld(), now)
	h := s.server(t).Pages()

	page := body(t, h, "/", http.StatusOK)
	text := html.UnescapeString(plain(t, page))
	contains(t, text,
		"Answer health checks while the schema is prepared", "push to main", "pull request #43", "tag v1.8.0",
		"pull request #42 from a fork", "mona", "hubert-lee", jobs.Abbreviate(s.green.SHA), "1m 24s", "24m ago", "image: Running",
		"rollout failed: Deployment tks/tks-contract did not become ready", "Held: the pull request comes from a fork")
	contains(t, page, `data-live="/live"`, `<noscript><meta http-equiv="refresh"`, `href="/runs/`+s.green.ID+`"`)
	if first, second := strings.Index(page, s.queued.ID), strings.Index(page, s.running.ID); first < 0 || second < first {
		t.Error("the newest run is not first")
	}

	for _, tt := range []struct {
		query    string
		has, not []string
	}{
		{"?state=active", []string{s.running.ID, s.queued.ID, s.matrix.ID}, []string{s.green.ID, s.crash.ID}},
		{"?state=failed", []string{s.crash.ID, s.docker.ID}, []string{s.green.ID, s.running.ID, s.held.ID}},
		{"?state=held", []string{s.held.ID}, []string{s.green.ID}},
		{"?state=cancelled", []string{s.superseded.ID}, []string{s.green.ID}},
		{"?repository=acme/shop", []string{s.matrix.ID}, []string{s.green.ID}},
		{"?repository=acme/shop&state=active", []string{s.matrix.ID}, []string{s.running.ID}},
		{"?repository=acme/none", []string{"No runs match"}, []string{s.green.ID}},
	} {
		t.Run(tt.query, func(t *testing.T) {
			page := body(t, h, "/"+tt.query, http.StatusOK)
			contains(t, page, tt.has...)
			lacks(t, page, tt.not...)
		})
	}
	body(t, h, "/?state=excellent", http.StatusBadRequest)
	body(t, h, "/?before=-1", http.StatusBadRequest)
	body(t, h, "/?repository="+strings.Repeat("a", 200), http.StatusBadRequest)
}

func TestRunListPages(t *testing.T) {
	w := newWorld()
	for i := range 2*pageSize + 5 {
		d := jobs.Decision{Delivery: guid(i), Time: time.Now().Add(time.Duration(i) * time.Second), Outcome: jobs.OutcomeFault, Shown: true, Run: push(repository, i, "main", fmt.Sprintf("Change %03d", i), mona)}
		if i%4 == 0 {
			d.Outcome = jobs.OutcomeHeld
		}
		w.add(t, "push", d, nil)
	}
	h := w.server(t).Pages()
	for _, query := range []string{"", "state=held"} {
		seen := map[string]int{}
		for at, pages := "/?"+query, 0; at != ""; pages++ {
			if pages > 5 {
				t.Fatal("pages don't end")
			}
			page := body(t, h, at, http.StatusOK)
			for i := range 2*pageSize + 5 {
				seen[fmt.Sprintf("Change %03d", i)] += strings.Count(page, fmt.Sprintf("Change %03d", i))
			}
			at = ""
			if _, rest, ok := strings.Cut(page, `rel="next" href="`); ok {
				link, _, _ := strings.Cut(rest, `"`)
				at = html.UnescapeString(link)
			}
		}
		for i := range 2*pageSize + 5 {
			want := 1
			if query != "" && i%4 != 0 {
				want = 0
			}
			if name := fmt.Sprintf("Change %03d", i); seen[name] != want {
				t.Errorf("%q: %s was listed %d times, want %d", query, name, seen[name], want)
			}
		}
	}
}

// A filter that nothing matches looks at a bounded number of runs and offers to go on.
func TestFilteredListIsBounded(t *testing.T) {
	w := newWorld()
	for i := range 2 * scanLimit {
		w.add(t, "push", jobs.Decision{Delivery: guid(i), Time: time.Now(), Outcome: jobs.OutcomeHeld, Shown: true, Run: push(repository, i, "main", "m", mona)}, nil)
	}
	page := body(t, w.server(t).Pages(), "/?state=failed", http.StatusOK)
	contains(t, page, "None among the newest that were looked at", `rel="next"`)
	if most := scanLimit / pageSize; w.index.calls > most {
		t.Errorf("the index was asked %d times, want at most %d", w.index.calls, most)
	}
}

func TestRunWithoutRecordStaysListed(t *testing.T) {
	w := newWorld()
	w.index.add(jobs.Run{RunInfo: jobs.RunInfo{ID: "r-gone", Repository: repository}, Created: time.Now()})
	h := w.server(t).Pages()
	contains(t, body(t, h, "/", http.StatusOK), "r-gone", "Not kept")
	contains(t, body(t, h, "/runs/r-gone", http.StatusNotFound), "no longer kept")
}

func TestRunPage(t *testing.T) {
	s := fillSample(t, newWorld(), time.Now())
	h := s.server(t).Pages()
	for _, tt := range []struct {
		name string
		run  jobs.Run
		text []string // as read
		page []string // as sent
	}{
		{"green", s.green, []string{"All 2 jobs succeeded in 1m 24s.", "Release tks-contract is at revision 6", "Succeeded", "47.3", "11403264", "pushed to the repository itself", "2 jobs match this push.", "took 1m 24s"},
			[]string{`href="https://github.com/acme/tks-contract/commit/` + s.green.SHA + `"`, `href="https://github.com/acme/tks-contract/tree/main"`, `<path class="edge done"`, "<code>http://tks-contract.tks.svc:9110</code>"}},
		{"crash", s.crash, []string{"rollout failed: Deployment tks/tks-contract did not become ready", "panic: contract: no schema", "CrashLoopBackOff", "Rolled back to revision 6"},
			[]string{`<span class="a1">ERROR</span>`, `rel="noopener noreferrer nofollow" href="https://kubernetes.io/`, "<table>", `<details id="details-rollout" open>`}},
		{"docker", s.docker, []string{"Dockerfile line 7", "undefined: contract.Serve", "only on pushes to main; this is a pull request", "Skipped"},
			[]string{`href="https://github.com/acme/tks-contract/blob/` + s.docker.SHA + `/Dockerfile#L7"`, "<p>undefined: <code>contract.Serve</code></p>", `href="https://github.com/acme/tks-contract/pull/41"`}},
		{"held", s.held, []string{"Held: the pull request comes from a fork", "untrusted: the pull request comes from a fork", "/ok-to-test"}, nil},
		{"superseded", s.superseded, []string{"Cancelled: superseded by a newer push"}, nil},
		{"running", s.running, []string{"Running image; 1 job to follow.", "Waiting for image.", "Worked on by slipway-0."},
			[]string{`data-live="/runs/` + s.running.ID + `/live"`, `<noscript><meta http-equiv="refresh"`, `data-since="`}},
		{"queued", s.queued, []string{"image waits: acme/tks-contract has 1 of 1 builds running.", "Waiting: acme/tks-contract has 1 of 1 builds running."}, nil},
		{"matrix", s.matrix, []string{"Running staging; 2 jobs to follow.", "all files count as changed", "only on pull requests with the label preview"}, []string{"notify-the-pl…"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			page := body(t, h, "/runs/"+tt.run.ID, http.StatusOK)
			contains(t, html.UnescapeString(plain(t, page)), tt.text...)
			contains(t, page, tt.page...)
			// Neither the fencing token nor the cause for operators is for readers of pages.
			lacks(t, page, "fence-", "10.42.0.7")
			if tt.run.State.Over() {
				lacks(t, page, "data-live", "http-equiv")
			}
		})
	}
	page := body(t, h, "/runs/"+jobs.RunID(guid(14)), http.StatusOK)
	contains(t, html.UnescapeString(plain(t, page)), `unknown key "biuld"; did you mean "build"?`, ".slipway.yaml:6:5", "release: needs image")
	body(t, h, "/runs/r-doesnotexist", http.StatusNotFound)
	body(t, h, "/runs/..%2f..%2fetc", http.StatusNotFound)
	body(t, h, "/runs/a.b*", http.StatusNotFound)
}

func TestShortenedAddress(t *testing.T) {
	h := newWorld().server(t).Pages()
	for path, want := range map[string]string{"/runs": "/", "/runs/": "/", "/runs/?state=failed": "/?state=failed"} {
		if w := ask(t, h, path); w.Code != http.StatusMovedPermanently || w.Header().Get("Location") != want {
			t.Errorf("%s: %d to %q, want %q", path, w.Code, w.Header().Get("Location"), want)
		}
	}
}

func TestPublicPagesTellNoWorker(t *testing.T) {
	s := fillSample(t, newWorld(), time.Now())
	lacks(t, body(t, s.server(t, func(o *Options) { o.Public = true }).Pages(), "/runs/"+s.running.ID, http.StatusOK), "slipway-0")
}

func TestDeliveries(t *testing.T) {
	s := fillSample(t, newWorld(), time.Now())
	h := s.server(t).Pages()
	text := html.UnescapeString(plain(t, body(t, h, "/deliveries", http.StatusOK)))
	contains(t, text, "No job matches: only docs/setup.md changed.", "Nothing to do", "repositories.mode is observe", "Observed only",
		"Not handled yet: issues (opened).", "issues", "Not decided yet.", "Undecided", ".slipway.yaml has 2 faults")

	text = html.UnescapeString(plain(t, body(t, h, "/deliveries/"+s.nothing, http.StatusOK)))
	contains(t, text, "No job matches: only docs/setup.md changed.", "no changed file matches its paths (cmd/**, Dockerfile)", "image, which it needs, does not run", "Say how to set it up")
	lacks(t, text, "Open the run")
	contains(t, body(t, h, "/deliveries/"+s.green.Delivery, http.StatusOK), "/runs/"+s.green.ID)
	contains(t, body(t, h, "/deliveries/"+guid(15), http.StatusOK), "Not decided yet.", "http-equiv")

	page := body(t, h, "/deliveries?outcome=nothing", http.StatusOK)
	contains(t, page, s.nothing)
	lacks(t, page, s.observed)
	page = body(t, h, "/deliveries?repository=acme/tks-web", http.StatusOK)
	contains(t, page, s.observed)
	lacks(t, page, s.nothing)

	body(t, h, "/deliveries/nope", http.StatusNotFound)
	body(t, h, "/deliveries/"+guid(999), http.StatusNotFound)
	body(t, h, "/deliveries?before=garbage", http.StatusNotFound)
	body(t, h, "/deliveries?outcome=x", http.StatusBadRequest)

	// A decision outlives its delivery.
	s.deliveries.list = nil
	contains(t, body(t, h, "/deliveries/"+s.nothing, http.StatusOK), "No job matches")
}

func TestDeliveryPages(t *testing.T) {
	w := newWorld()
	for i := range pageSize + 3 {
		w.add(t, "push", jobs.Decision{Delivery: guid(i), Time: time.Now(), Outcome: jobs.OutcomeNothing, Reason: "no"}, nil)
	}
	h := w.server(t).Pages()
	page := body(t, h, "/deliveries", http.StatusOK)
	contains(t, page, guid(pageSize+2), guid(3))
	lacks(t, page, guid(2))
	page = body(t, h, "/deliveries?before=c-3", http.StatusOK)
	contains(t, page, guid(2), guid(0), "Newest")
	lacks(t, page, guid(3), `rel="next"`)
}

// Whatever strangers can write stays text.
func TestEscaping(t *testing.T) {
	const evil = `<script>alert(1)</script>"'><img src=x onerror=alert(2)>`
	w := newWorld()
	info := push(jobs.Repository{ID: 1, Owner: "acme", Name: `x"><script>`, DefaultBranch: "main"}, 1, evil, evil, jobs.Actor{ID: 1, Login: evil})
	d := jobs.Decision{Delivery: guid(1), Time: time.Now(), Outcome: jobs.OutcomeRun, Reason: evil, Run: info, Plan: jobs.Plan{
		Pipeline: evil, Notes: []string{evil}, Faults: []jobs.Fault{{Path: "../" + evil, Line: 1, Job: "x", Message: evil}},
		Jobs: []jobs.PlannedJob{{Name: "a", Kind: jobs.KindBuild, Planned: true, Reason: evil, If: evil, Spec: []byte(`{"image":"<script>alert(3)</script>"}`)}},
	}}
	run := w.add(t, "push", d, func(r *jobs.Run) {
		w.finish(t, r, "a", r.Created, time.Second, jobs.Result{
			Conclusion: jobs.Failure, Summary: evil, Details: evil + "\n\n[x](javascript:alert(4)) ![x](https://evil.example/pixel.png) <https://e.example/a> [rel](/etc)\n\n<div onclick=alert(5)>\nblock\n</div>\n\n# big\n",
			Outputs: map[string]any{evil: evil}, Tail: []string{evil}, Annotations: []jobs.Annotation{{Path: evil, Line: 1, Level: evil, Title: evil, Message: evil}},
		}, evil, "\x1b[31;1m"+evil+"\x1b]8;;javascript:alert(6)\x07link\x1b]8;;\x07")
	})
	h := w.server(t).Pages()
	for _, path := range []string{"/", "/runs/" + run.ID, "/runs/" + run.ID + "/jobs/a/log", "/deliveries", "/deliveries/" + guid(1), "/?repository=" + url.QueryEscape(evil), "/nowhere/" + url.PathEscape(evil)} {
		page := ask(t, h, path).Body.String()
		checkTags(t, path, page)
	}
	page := body(t, h, "/runs/"+run.ID, http.StatusOK)
	contains(t, page, `href="https://evil.example/pixel.png"`, `href="https://e.example/a"`, "<h4>big</h4>", "&lt;div onclick=alert(5)&gt;")
}

// checkTags fails on any element or attribute that our templates don't have.
func checkTags(tb testing.TB, where, page string) {
	tb.Helper()
	z := html.NewTokenizer(strings.NewReader(page))
	for {
		switch z.Next() {
		case html.ErrorToken:
			return
		case html.StartTagToken, html.SelfClosingTagToken:
			tok := z.Token()
			for _, a := range tok.Attr {
				if strings.HasPrefix(a.Key, "on") || a.Key == "style" || strings.HasPrefix(strings.ToLower(strings.TrimSpace(a.Val)), "javascript:") {
					tb.Errorf("%s: <%s %s=%q>", where, tok.Data, a.Key, a.Val)
				}
				if tok.Data == "script" && (a.Key == "src" && !strings.HasPrefix(a.Val, "/assets/app.")) {
					tb.Errorf("%s: script %q", where, a.Val)
				}
			}
			if tok.Data == "img" || tok.Data == "iframe" || (tok.Data == "script" && len(tok.Attr) == 0) || tok.Data == "style" {
				tb.Errorf("%s: <%s> on the page", where, tok.Data)
			}
		}
	}
}

func TestStoreTrouble(t *testing.T) {
	w := newWorld()
	h := w.server(t).Pages()
	w.runs.err = errors.New("nats: no responders at 10.0.0.9:4222")
	rec := ask(t, h, "/runs/r-abc")
	if rec.Code != http.StatusServiceUnavailable || rec.Header().Get("Retry-After") == "" {
		t.Errorf("status %d, Retry-After %q", rec.Code, rec.Header().Get("Retry-After"))
	}
	contains(t, rec.Body.String(), "It is logged as")
	lacks(t, rec.Body.String(), "10.0.0.9", "nats:")
	body(t, h, "/?state=active", http.StatusServiceUnavailable)
}

func TestNewRefuses(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"no store":   func(o *Options) { o.Results = nil },
		"no URL":     func(o *Options) { o.URL = "slipway.example.com" },
		"no scheme":  func(o *Options) { o.URL = "ftp://slipway.example.com" },
		"bad GitHub": func(o *Options) { o.GitHubURL = "javascript:alert(1)//" },
	} {
		t.Run(name, func(t *testing.T) {
			o := newWorld().options(t)
			change(&o)
			if _, err := New(o); err == nil {
				t.Error("no error")
			}
		})
	}
}

func TestAttemptsAndWishes(t *testing.T) {
	s := fillSample(t, newWorld(), time.Now())
	asked := jobs.Asked{By: jobs.Actor{Login: "alice"}, Command: "/retry", URL: "https://github.com/acme/tks/pull/7#issuecomment-1"}
	d := jobs.Decision{
		Delivery: "comment-77-0", Outcome: jobs.OutcomeRun, Shown: true, Command: "/retry <b>", Answer: "**Done** <script>", Run: s.green.RunInfo,
		Plan: jobs.Plan{Jobs: []jobs.PlannedJob{{Name: "image", Kind: jobs.KindBuild, Planned: true, Spec: json.RawMessage(`{}`)}}},
	}
	d.Run.ID, d.Run.Root, d.Run.Attempt, d.Run.Asked = "r-again", s.green.ID, 2, &asked
	run := s.add(t, "issue_comment", d, func(r *jobs.Run) {
		r.Jobs[0].Reused, r.Jobs[0].ReusedFrom, r.Jobs[0].State, r.Jobs[0].Started = true, s.green.ID, jobs.JobSucceeded, time.Now()
	})
	h := s.server(t).Pages()
	page := body(t, h, "/runs/"+run.ID, http.StatusOK)
	contains(t, page, "attempt 2, after", "/runs/"+s.green.ID, "asked for by alice", asked.URL)
	contains(t, body(t, h, "/runs/"+run.ID+"/jobs/image/log", http.StatusOK), "pushing manifest", "the one before")
	page = body(t, h, "/deliveries/comment-77-0", http.StatusOK)
	contains(t, page, "/retry &lt;b&gt;", "<strong>Done</strong>", "&lt;script&gt;")
}
