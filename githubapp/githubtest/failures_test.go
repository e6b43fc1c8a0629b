package githubtest_test

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-github/v50/github"

	"github.com/slipway-ci/slipway/githubapp/githubtest"
)

func (w *world) tryCheck(name string) error {
	ctx, cancel := context.WithTimeout(w.t.Context(), 2*time.Minute)
	defer cancel()
	_, _, err := w.tokenClient(w.inst.Token()).Checks.CreateCheckRun(ctx, "acme", "shop", github.CreateCheckRunOptions{Name: name, HeadSHA: w.first})
	return err
}

// Each failure is ordered twice: so that nothing happens, and so that the run is made although nobody hears of it.
func TestFailures(t *testing.T) {
	for name, test := range map[string]struct {
		failure githubtest.Failure
		want    func(*testing.T, error)
	}{
		"502":           {githubtest.Failure{Status: 502}, func(t *testing.T, err error) { refused(t, err, 502, "") }},
		"422":           {githubtest.Failure{Status: 422}, func(t *testing.T, err error) { refused(t, err, 422, "") }},
		"lost answer":   {githubtest.Failure{Kind: githubtest.LostAnswer}, silent},
		"timeout":       {githubtest.Failure{Kind: githubtest.Timeout, RetryAfter: time.Millisecond}, silent},
		"primary limit": {githubtest.Failure{Kind: githubtest.PrimaryLimit, RetryAfter: time.Minute}, primaryLimit},
		"primary 429":   {githubtest.Failure{Kind: githubtest.PrimaryLimit, Status: 429, RetryAfter: time.Minute}, func(t *testing.T, err error) { refused(t, err, 429, "API rate limit exceeded") }},
		"secondary":     {githubtest.Failure{Kind: githubtest.SecondaryLimit, RetryAfter: time.Minute}, func(t *testing.T, err error) { refused(t, err, 403, "secondary rate limit"); retryAfter(t, err, "60") }},
		"secondary 429": {githubtest.Failure{Kind: githubtest.SecondaryLimit, Status: 429}, func(t *testing.T, err error) { refused(t, err, 429, "secondary rate limit"); retryAfter(t, err, "") }},
		"any operation": {githubtest.Failure{Operation: "*", Status: 500}, func(t *testing.T, err error) { refused(t, err, 500, "") }},
	} {
		for _, when := range []githubtest.When{githubtest.Before, githubtest.After} {
			t.Run(name+map[githubtest.When]string{githubtest.Before: " before", githubtest.After: " after"}[when], func(t *testing.T) {
				w := newWorld(t)
				failure := test.failure
				failure.When, failure.Skip, failure.Times = when, 1, 2
				switch failure.Operation {
				case "":
					failure.Operation = "checks/create"
				case "*":
					failure.Operation = ""
				}
				w.Fail(failure)
				check(t, w.tryCheck("skipped"))
				test.want(t, w.tryCheck("one"))
				test.want(t, w.tryCheck("two"))
				check(t, w.tryCheck("three"))
				want := map[githubtest.When]int{githubtest.Before: 2, githubtest.After: 4}[when]
				if got := len(w.repo.CheckRuns("")); got != want {
					t.Errorf("GitHub has %d runs, want %d", got, want)
				}
				if got := w.CountRequests(func(r githubtest.Request) bool { return r.Failed != "" && r.Operation == "checks/create" }); got != 2 {
					t.Errorf("%d requests are marked as failed", got)
				}
			})
		}
	}
}

func silent(t *testing.T, err error) {
	t.Helper()
	var response *github.ErrorResponse
	if err == nil || errors.As(err, &response) {
		t.Errorf("got %v instead of silence", err)
	}
}

func primaryLimit(t *testing.T, err error) {
	t.Helper()
	var limited *github.RateLimitError
	if !errors.As(err, &limited) || limited.Rate.Remaining != 0 || !limited.Rate.Reset.After(time.Now()) {
		t.Errorf("got %v, want the primary limit", err)
	}
}

func retryAfter(t *testing.T, err error, want string) {
	t.Helper()
	var response *github.ErrorResponse
	if !errors.As(err, &response) || response.Response.Header.Get("Retry-After") != want {
		t.Errorf("got %v, want Retry-After %q", err, want)
	}
}

func TestDown(t *testing.T) {
	w := newWorld(t)
	w.Down(true)
	silent(t, w.tryCheck("unheard"))
	if out, err := tryGit(t, t.TempDir(), "clone", w.repo.CloneURL(w.alice)); err == nil {
		t.Errorf("cloned from a GitHub that is down: %s", out)
	}
	_, err := w.repo.Commit("main", "Late", map[string]string{"l": "l"}, w.alice)
	check(t, err)
	if got := len(w.hooks.all()); got != 0 {
		t.Errorf("%d webhooks were sent while it was down", got)
	}
	w.Down(false)
	wantNames(t, w.names(), "push", "check_suite.requested")
	check(t, w.tryCheck("heard"))
}

func TestFailingGitAndArchive(t *testing.T) {
	w := newWorld(t)
	w.Fail(githubtest.Failure{Operation: "git", Status: 503})
	if out, err := tryGit(t, t.TempDir(), "clone", w.repo.CloneURL(w.alice)); err == nil {
		t.Errorf("cloned all the same: %s", out)
	}
	git(t, t.TempDir(), "clone", "--quiet", w.repo.CloneURL(w.alice))
	w.Fail(githubtest.Failure{Operation: "archive", Kind: githubtest.LostAnswer, Times: -1})
	link, _, err := w.client().Repositories.GetArchiveLink(t.Context(), "acme", "shop", github.Tarball, &github.RepositoryContentGetOptions{Ref: "main"}, false)
	check(t, err)
	if response, err := http.Get(link.String()); err == nil {
		response.Body.Close()
		t.Errorf("got the archive all the same: %s", response.Status)
	}
	w.ClearFailures()
	w.Fail(githubtest.Failure{Times: -1, Status: 500})
	for range 5 {
		refused(t, w.tryCheck("never"), 500, "")
	}
	w.ClearFailures()
	check(t, w.tryCheck("again"))
}

func TestPrimaryLimit(t *testing.T) {
	w := newWorld(t)
	w.SetRateLimit(w.inst, 3)
	for range 3 {
		check(t, w.tryCheck("x"))
	}
	primaryLimit(t, w.tryCheck("x"))
	w.clock.advance(time.Hour)
	check(t, w.tryCheck("x"))

	// An answer that hasn't changed costs nothing, as long as the token is the same.
	token := w.inst.Token()
	get := func(token, tag string) *http.Response {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.URL+"api/v3/repos/acme/shop", nil)
		check(t, err)
		request.Header.Set("Authorization", "token "+token)
		request.Header.Set("If-None-Match", tag)
		response, err := http.DefaultClient.Do(request)
		check(t, err)
		response.Body.Close()
		return response
	}
	first := get(token, "")
	again := get(token, first.Header.Get("ETag"))
	if again.StatusCode != http.StatusNotModified || again.Header.Get("X-RateLimit-Used") != first.Header.Get("X-RateLimit-Used") {
		t.Errorf("asked again: %s, used %s after %s", again.Status, again.Header.Get("X-RateLimit-Used"), first.Header.Get("X-RateLimit-Used"))
	}
	if other := get(w.inst.Token(), first.Header.Get("ETag")); other.StatusCode != http.StatusOK {
		t.Errorf("with another token: %s", other.Status)
	}
}

func TestSecondaryLimits(t *testing.T) {
	w := newWorld(t, func(o *githubtest.Options) { o.SecondaryLimits = true })
	for i := range 180 { // 900 points, five for each write
		if err := w.tryCheck("x"); err != nil {
			t.Fatalf("write %d: %v", i, err)
		}
	}
	refused(t, w.tryCheck("x"), http.StatusForbidden, "secondary rate limit")
	w.clock.advance(time.Minute)
	check(t, w.tryCheck("x"))
	_, err := w.repo.Commit("fix", "Fix", map[string]string{"f": "f"}, w.alice)
	check(t, err)
	p, err := w.repo.OpenPull(githubtest.PullOptions{Head: "fix"})
	check(t, err)
	comment := func() error {
		_, _, err := w.tokenClient(w.inst.Token()).Issues.CreateComment(t.Context(), "acme", "shop", p.Number, &github.IssueComment{Body: github.String("x")})
		return err
	}
	w.clock.advance(time.Minute)
	for range 80 {
		check(t, comment())
	}
	limited := comment()
	refused(t, limited, http.StatusForbidden, "You have exceeded a secondary rate limit and have been temporarily blocked from content creation")
	retryAfter(t, limited, "60")
	for range 6 {
		w.clock.advance(time.Minute)
		for range 70 {
			check(t, comment())
		}
	}
	w.clock.advance(time.Minute)
	refused(t, comment(), http.StatusForbidden, "secondary rate limit") // 500 an hour
}

// A limit on one installation is none on another, may come as 429, and ends when its time is over.
func TestSecondaryLimitsAreOneInstallations(t *testing.T) {
	w := newWorld(t, func(o *githubtest.Options) { o.SecondaryLimits, o.SecondaryStatus = true, http.StatusTooManyRequests })
	other, err := w.CreateRepository("other/shop", githubtest.RepositoryOptions{})
	check(t, err)
	get := func(client *github.Client, owner string) error {
		_, _, err := client.Repositories.Get(t.Context(), owner, "shop")
		return err
	}
	mine, theirs := w.tokenClient(w.inst.Token()), w.tokenClient(w.app.Install("other").Token())
	for range 900 {
		check(t, get(mine, "acme"))
	}
	limited := get(mine, "acme")
	refused(t, limited, http.StatusTooManyRequests, "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.")
	retryAfter(t, limited, "60")
	check(t, get(theirs, other.Owner.Login))
	w.clock.advance(time.Minute)
	check(t, get(mine, "acme"))
}

// Every answer says how much is left, whatever else it says.
func TestLimitHeaders(t *testing.T) {
	w := newWorld(t)
	for path, status := range map[string]int{"repos/acme/shop": 200, "repos/acme/nothing": 404, "app": 401, "rate_limit": 200, "repos/acme/shop/tarball/main": 302} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.URL+path, nil)
		check(t, err)
		request.Header.Set("Authorization", "token "+w.inst.Token())
		response, err := http.DefaultTransport.RoundTrip(request)
		check(t, err)
		check(t, response.Body.Close())
		for _, name := range []string{"Limit", "Remaining", "Used", "Reset", "Resource"} {
			if response.Header.Get("X-RateLimit-"+name) == "" || response.StatusCode != status {
				t.Errorf("%s is answered %s without X-RateLimit-%s", path, response.Status, name)
			}
		}
	}
}

// A push whose answer is lost has happened all the same.
func TestLostPush(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	git(t, dir, "clone", "--quiet", w.repo.CloneURL(w.alice), "shop")
	shop := filepath.Join(dir, "shop")
	git(t, shop, "commit", "--quiet", "--allow-empty", "-m", "Second")
	w.Fail(githubtest.Failure{Operation: "git", Path: "/acme/shop.git/git-receive-pack", When: githubtest.After, Status: 502})
	if out, err := tryGit(t, shop, "push", "origin", "main"); err == nil {
		t.Errorf("the push went well: %s", out)
	}
	wantNames(t, w.names(), "push", "check_suite.requested")
	if w.repo.Head("main") != git(t, shop, "rev-parse", "HEAD") {
		t.Error("the push took no effect")
	}
}
