//go:build browser

package web

import (
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/slipway-ci/slipway/jobs"
)

// browser is one headless Chromium for all tests of a run; every tab stands for itself.
type browser struct{ ctx context.Context }

// startBrowser starts Chromium. A missing one is a failure: what only a browser can see would go unseen.
func startBrowser(t *testing.T) *browser {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			path = p
			break
		}
	}
	if path == "" {
		t.Fatal("Chromium is missing: install it (on Debian: apt-get install -y chromium) and run the tests again")
	}
	// Not the test's own context, which ends before the clean-up: the browser is closed in good order.
	ctx, stop := chromedp.NewExecAllocator(context.WithoutCancel(t.Context()), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("no-proxy-server", true), chromedp.WSURLReadTimeout(time.Minute),
	)...)
	ctx, cancel := chromedp.NewContext(ctx, chromedp.WithErrorf(t.Logf))
	t.Cleanup(func() {
		if err := chromedp.Cancel(ctx); err != nil {
			t.Logf("close the browser: %v", err)
		}
		cancel()
		stop()
	})
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start %s: %v", path, err)
	}
	return &browser{ctx}
}

// A tab is a page in the browser, with what it wrote to the console.
type tab struct {
	*testing.T
	ctx     context.Context
	mu      sync.Mutex
	console []string
}

// look is how a tab is set up.
type look struct {
	width  int64
	dark   bool
	script bool
}

var desktop = look{width: 1200, script: true}

func (b *browser) open(t *testing.T, l look) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(b.ctx)
	t.Cleanup(cancel)
	ctx, cancelTime := context.WithTimeout(ctx, 5*time.Minute)
	t.Cleanup(cancelTime)
	p := &tab{T: t, ctx: ctx}
	messages := chromedp.Console(ctx)
	go func() {
		for m, err := range messages {
			if err != nil {
				return
			}
			if m.Type == chromedp.ConsoleError || m.Type == chromedp.ConsoleException || m.Type == chromedp.ConsoleWarning {
				p.mu.Lock()
				p.console = append(p.console, fmt.Sprintf("%s: %s", m.Type, m.Text))
				p.mu.Unlock()
			}
		}
	}()
	scheme := "light"
	if l.dark {
		scheme = "dark"
	}
	height := int64(800)
	opts := []chromedp.EmulateViewportOption{}
	if l.width < 600 {
		height, opts = 740, append(opts, chromedp.EmulateMobile, chromedp.EmulateScale(2))
	}
	p.do(chromedp.EmulateViewport(l.width, height, opts...))
	devtools(p, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
	devtools(p, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !l.script})
	return p
}

func (p *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	p.Helper()
	if err := chromedp.Do(p.ctx, steps...); err != nil {
		p.Fatal(err)
	}
}

func (p *tab) visit(url string) {
	p.Helper()
	p.do(chromedp.Navigate(url))
}

// eval is the value of an expression on the page.
func eval[T any](p *tab, expression string) T {
	p.Helper()
	v, err := chromedp.Run(p.ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		p.Fatalf("%s: %v", expression, err)
	}
	return v
}

// until waits for an expression to become true.
func (p *tab) until(expression string) {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, soon)
	defer cancel()
	for {
		ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("Boolean("+expression+")"))
		if err == nil && ok {
			return
		}
		if pause(ctx, 25*time.Millisecond) != nil {
			p.Fatalf("never became true: %s (%v)\n%s", expression, err, eval[string](p, "document.body.innerText"))
		}
	}
}

// shot takes a picture of the whole page when SLIPWAY_SHOTS names a folder for them.
func (p *tab) shot(name string) {
	p.Helper()
	dir := os.Getenv("SLIPWAY_SHOTS")
	if dir == "" {
		return
	}
	picture, err := chromedp.Run(p.ctx, chromedp.FullScreenshot(100))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".png"), picture, 0o644)
	}
	if err != nil {
		p.Fatalf("picture %s: %v", name, err)
	}
}

// clean fails on anything the page complained about, violations of its policy among them, and on a page that is
// wider than its window.
func (p *tab) clean() {
	p.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, line := range p.console {
		p.Errorf("console: %s", line)
	}
	if over := eval[float64](p, "document.documentElement.scrollWidth - innerWidth"); over > 0 {
		p.Errorf("the page is %v px wider than the window", over)
	}
}

// site is a Server that the browser reaches.
func site(t *testing.T) (*sample, string) {
	t.Helper()
	s := fillSample(t, newWorld(), time.Now())
	server := s.server(t)
	server.pace.settle, server.pace.sweep = 20*time.Millisecond, 200*time.Millisecond
	ts := httptest.NewServer(server.Pages())
	t.Cleanup(func() {
		server.Close()
		ts.Close()
	})
	return s, ts.URL
}

func TestBrowser(t *testing.T) {
	b := startBrowser(t)
	t.Run("looks", b.looks)
	t.Run("live run", b.liveRun)
	t.Run("live tails", b.liveTails)
	t.Run("live list", b.liveList)
	t.Run("live log", b.liveLog)
	t.Run("lines", b.lines)
	t.Run("no script", b.noScript)
	t.Run("complaints are seen", b.complaints)
}

// looks opens every page in light and dark, wide and narrow.
func (b *browser) looks(t *testing.T) {
	s, url := site(t)
	pages := map[string]string{
		"list": "/", "empty": "/?repository=acme/none", "green": "/runs/" + s.green.ID, "crash": "/runs/" + s.crash.ID, "docker": "/runs/" + s.docker.ID,
		"held": "/runs/" + s.held.ID, "running": "/runs/" + s.running.ID, "matrix": "/runs/" + s.matrix.ID, "fault": "/runs/" + jobs.RunID(guid(14)),
		"log": "/runs/" + s.crash.ID + "/jobs/rollout/log#L3-L6", "deliveries": "/deliveries", "delivery": "/deliveries/" + s.nothing, "tag": "/runs/" + s.tag.ID,
	}
	for _, l := range []look{{1200, false, true}, {1200, true, true}, {360, false, true}, {360, true, true}} {
		scheme := map[bool]string{false: "light", true: "dark"}[l.dark]
		t.Run(fmt.Sprintf("%s %d", scheme, l.width), func(t *testing.T) {
			p := b.open(t, l)
			for name, path := range pages {
				p.visit("about:blank")
				p.visit(url + path)
				p.until(`document.querySelector("h1")`)
				if dark := eval[bool](p, `matchMedia("(prefers-color-scheme: dark)").matches`); dark != l.dark {
					t.Fatalf("dark is %v", dark)
				}
				p.shot(fmt.Sprintf("%s-%s-%d", name, scheme, l.width))
				p.clean()
			}
			// A page that is not there is a page too; Chromium itself notes its status.
			p.visit(url + "/runs/r-none")
			p.until(`document.querySelector("h1").textContent === "Not Found"`)
			p.shot(fmt.Sprintf("error-%s-%d", scheme, l.width))
		})
	}
}

// liveRun watches a run to its end without loading the page again.
func (b *browser) liveRun(t *testing.T) {
	s, url := site(t)
	p := b.open(t, desktop)
	p.visit(url + "/runs/" + s.running.ID)
	p.until(`document.querySelector("#job-image .icon").title === "Running"`)
	eval[bool](p, `(window.mine = true)`)
	eval[bool](p, `(document.getElementById("decided").id === "decided")`)

	run, revision, err := s.runs.Get(t.Context(), s.running.ID)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	result := builtResult(run.SHA)
	key := jobs.ResultKey(run.ID, "image", 1, 1)
	must(t, s.results, key, result)
	if err := run.Finish("image", "fence-image", result, key, now); err != nil {
		t.Fatal(err)
	}
	if _, err := run.Advance(now, func(jobs.Run, jobs.Job) jobs.Resolution { return jobs.Resolution{Spec: deploySpec} }); err != nil {
		t.Fatal(err)
	}
	s.start(&run, "rollout", now)
	if revision, err = s.runs.Update(t.Context(), run.ID, run, revision); err != nil {
		t.Fatal(err)
	}
	p.until(`document.querySelector("#job-image .icon").title === "Succeeded"`)
	p.until(`document.querySelector("#job-rollout .icon").title === "Running"`)
	p.until(`document.querySelector(".outcome").textContent.includes("Running rollout.")`)
	// What a reader opened stays open.
	eval[bool](p, `(document.getElementById("spec-rollout").open = true)`)
	p.shot("live-halfway")

	result = jobs.Result{Conclusion: jobs.Success, Summary: "Release tks-contract is at revision 7 in tks on staging."}
	key = jobs.ResultKey(run.ID, "rollout", 1, 1)
	must(t, s.results, key, result)
	if err := run.Finish("rollout", "fence-rollout", result, key, now.Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := run.Advance(now.Add(time.Second), nil); err != nil {
		t.Fatal(err)
	}
	must(t, s.archive, run.ID, run)
	if err := s.runs.Delete(t.Context(), run.ID, revision); err != nil {
		t.Fatal(err)
	}
	p.until(`document.querySelector(".outcome .badge").textContent === "Succeeded"`)
	p.until(`document.getElementById("said").textContent.startsWith("All 2 jobs succeeded")`)
	p.until(`document.querySelectorAll(".graph .edge.done").length === 1`)
	p.until(`document.title.startsWith("Succeeded")`)
	if !eval[bool](p, `window.mine === true`) {
		t.Error("the page was loaded again")
	}
	if !eval[bool](p, `document.getElementById("spec-rollout").open`) {
		t.Error("open details were closed")
	}
	p.shot("live-green")
	p.clean()
}

// liveList sees a run appear.
func (b *browser) liveList(t *testing.T) {
	s, url := site(t)
	p := b.open(t, desktop)
	p.visit(url)
	p.until(`document.querySelectorAll(".rows > li").length > 5`)
	s.add(t, "push", jobs.Decision{Delivery: guid(77), Time: time.Now(), Outcome: jobs.OutcomeRun, Run: push(repository, 77, "main", "Just pushed", mona), Plan: twoJobs(true)}, nil)
	p.until(`document.querySelector(".rows > li .title").textContent === "Just pushed"`)
	p.clean()
}

// liveLog reads on while lines come, to the end.
func (b *browser) liveLog(t *testing.T) {
	s, url := site(t)
	key := jobs.LogKey{Run: s.running.ID, Job: "image", Attempt: 1}
	p := b.open(t, desktop)
	p.visit(url + "/runs/" + s.running.ID + "/jobs/image/log")
	p.until(`document.querySelectorAll("#log li").length === 9`)
	for i := range 200 {
		s.logs.print(key, false, fmt.Sprintf("line \x1b[32m%d\x1b[0m <b>not bold</b>", i+10))
	}
	p.until(`document.querySelectorAll("#log li").length === 209`)
	p.until(`document.querySelector("#L209 .a2").textContent === "209"`)
	if eval[bool](p, `document.querySelector("#log b") !== null`) {
		t.Error("a line became HTML")
	}
	// Who is at the end stays there.
	p.until(`innerHeight + scrollY >= document.documentElement.scrollHeight - 5`)
	p.shot("log-live")
	s.logs.print(key, true, "done")
	p.until(`document.querySelector("#L210 span").textContent === "done"`)
	p.until(`document.getElementById("end").textContent === "End of the log."`)
	numbers := eval[string](p, `[...document.querySelectorAll("#log li")].map(li => li.id).join()`)
	var want []string
	for i := range 210 {
		want = append(want, fmt.Sprintf("L%d", i+1))
	}
	if numbers != strings.Join(want, ",") {
		t.Errorf("lines are %s", numbers)
	}
	p.clean()
}

// lines links to one line and to several.
func (b *browser) lines(t *testing.T) {
	s, url := site(t)
	p := b.open(t, desktop)
	page := url + "/runs/" + s.green.ID + "/jobs/image/log"
	p.visit(page)
	click := func(n int, shift bool) {
		t.Helper()
		eval[bool](p, fmt.Sprintf(`document.querySelector("#L%d a").dispatchEvent(new MouseEvent("click", {bubbles: true, cancelable: true, shiftKey: %v})) || true`, n, shift))
	}
	hits := func() string {
		t.Helper()
		return eval[string](p, `location.hash + " " + [...document.querySelectorAll(".hit")].map(li => li.id).join()`)
	}
	click(3, false)
	if got := hits(); got != "#L3 L3" {
		t.Errorf("one line: %s", got)
	}
	click(6, true)
	if got := hits(); got != "#L3-L6 L3,L4,L5,L6" {
		t.Errorf("from 3 to 6: %s", got)
	}
	click(2, true)
	if got := hits(); got != "#L2-L3 L2,L3" {
		t.Errorf("from 3 back to 2: %s", got)
	}
	p.visit("about:blank")
	p.visit(page + "#L9-L7")
	p.until(`document.querySelectorAll(".hit").length === 3`)
	if got := hits(); got != "#L9-L7 L7,L8,L9" {
		t.Errorf("as a link: %s", got)
	}
	p.clean()
}

// noScript reads everything in a browser without scripts.
func (b *browser) noScript(t *testing.T) {
	s, url := site(t)
	p := b.open(t, look{width: 1200})
	p.visit(url)
	has := func(selector, text string) {
		t.Helper()
		got, err := chromedp.Run(p.ctx, chromedp.TextContent(chromedp.CSS(selector)))
		if err != nil || !strings.Contains(got, text) {
			t.Errorf("%s: %q (%v), want %q", selector, got, err, text)
		}
	}
	has(".rows", "Answer health checks while the schema is prepared")
	p.visit(url + "/runs/" + s.running.ID + "/jobs/image/log#L3")
	has("#L3 span", "transferring dockerfile")
	p.shot("noscript-log")
	p.visit(url + "/runs/" + s.running.ID)
	has(".outcome", "Running image; 1 job to follow.")
	has("#tail-image-1 li:last-child", "#5 [builder 3/4] COPY . .")
	s.logs.print(jobs.LogKey{Run: s.running.ID, Job: "image", Attempt: 1}, false, "printed since")
	p.shot("noscript-run")
	// The page loads itself again: what changed in between shows without anyone doing anything.
	run, revision, err := s.runs.Get(t.Context(), s.running.ID)
	if err != nil {
		t.Fatal(err)
	}
	run.RequestStop(jobs.Stop{Reason: "cancelled by mona", Time: time.Now()})
	if _, err := s.runs.Update(t.Context(), run.ID, run, revision); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(p.ctx, soon)
	defer cancel()
	for {
		got, err := chromedp.Run(ctx, chromedp.TextContent(chromedp.CSS(".outcome")))
		if err == nil && strings.Contains(got, "Stopping: cancelled by mona") {
			has("#tail-image-1 li:last-child", "printed since")
			break
		}
		if pause(ctx, 100*time.Millisecond) != nil {
			t.Fatalf("the page did not load itself again: %q (%v)", got, err)
		}
	}
}

// complaints proves that clean would notice: a style that the policy forbids ends up in the console.
func (b *browser) complaints(t *testing.T) {
	_, url := site(t)
	p := b.open(t, desktop)
	p.visit(url)
	eval[bool](p, `document.body.insertAdjacentHTML("beforeend", '<p style="color:red" onclick="1">x</p>') || true`)
	deadline := time.After(soon)
	for {
		p.mu.Lock()
		found := strings.Contains(strings.Join(p.console, "\n"), "Content Security Policy")
		p.mu.Unlock()
		if found {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("the violation was not seen: %q", p.console)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func devtools[P, R any](p *tab, cmd cdp.Command[P, R], params P) {
	p.Helper()
	err := chromedp.Do(p.ctx, chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		_, err := chromedp.Call(ctx, cmd, params)
		return err
	}))
	if err != nil {
		p.Fatal(err)
	}
}
