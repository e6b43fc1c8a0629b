package githubapp

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/githubapp/githubtest"
	"github.com/slipway-ci/slipway/jobs"
)

func TestClassify(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	const (
		secondary = `{"message":"You have exceeded a secondary rate limit. Please wait a few minutes before you try again.","documentation_url":"https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api#about-secondary-rate-limits"}`
		old       = `{"message":"slow down","documentation_url":"https://docs.github.com/rest/overview/resources-in-the-rest-api#secondary-rate-limits"}`
		abuse     = `{"message":"You have triggered an abuse detection mechanism. Please wait"}`
		denied    = `{"message":"Resource not accessible by integration","documentation_url":"https://docs.github.com/rest/checks/runs#create-a-check-run"}`
		primary   = `{"message":"API rate limit exceeded for installation ID 1."}`
	)
	in := func(d time.Duration) time.Time { return now.Add(d) }
	for name, test := range map[string]struct {
		status int
		header map[string]string
		body   string
		want   *limit
	}{
		"403 remaining 0":                {403, map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1800000300"}, primary, &limit{until: in(300 * time.Second)}},
		"429 remaining 0":                {429, map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1800000300"}, primary, &limit{until: in(300 * time.Second)}},
		"remaining 0, later Retry-After": {403, map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1800000010", "Retry-After": "60"}, secondary, &limit{until: in(time.Minute)}},
		"403 secondary, Retry-After":     {403, map[string]string{"X-RateLimit-Remaining": "4999", "Retry-After": "30"}, secondary, &limit{secondary: true, until: in(30 * time.Second)}},
		"429 secondary, Retry-After":     {429, map[string]string{"Retry-After": "30"}, secondary, &limit{secondary: true, until: in(30 * time.Second)}},
		"Retry-After as a date":          {429, map[string]string{"Retry-After": in(90 * time.Second).UTC().Format(http.TimeFormat)}, "", &limit{secondary: true, until: in(90 * time.Second)}},
		"secondary, no time, today":      {403, nil, secondary, &limit{secondary: true}},
		"secondary, no time, old words":  {403, nil, old, &limit{secondary: true}},
		"secondary, no time, older":      {403, nil, abuse, &limit{secondary: true}},
		"429 without a word":             {429, nil, "<html>", &limit{secondary: true}},
		"primary without headers":        {403, nil, primary, &limit{}},
		"permission lacking":             {403, map[string]string{"X-RateLimit-Remaining": "4999", "X-RateLimit-Reset": "1800000300"}, denied, nil},
		"not found":                      {404, map[string]string{"Retry-After": "3"}, "", nil},
		"fine":                           {200, map[string]string{"X-RateLimit-Remaining": "0"}, "", nil},
	} {
		header := http.Header{}
		for k, v := range test.header {
			header.Set(k, v)
		}
		got, limited := classify(test.status, header, []byte(test.body), now)
		if limited != (test.want != nil) || limited && (got.secondary != test.want.secondary || !got.until.Equal(test.want.until)) {
			t.Errorf("%s: got %+v, %v, want %+v", name, got, limited, test.want)
		}
	}
}

func TestLimitsOfGitHub(t *testing.T) {
	for name, test := range map[string]struct {
		failure githubtest.Failure
		wait    time.Duration
		says    string
	}{
		"primary 403":   {githubtest.Failure{Kind: githubtest.PrimaryLimit, RetryAfter: 20 * time.Minute}, 20 * time.Minute, "rate limit"},
		"primary 429":   {githubtest.Failure{Kind: githubtest.PrimaryLimit, Status: 429, RetryAfter: 20 * time.Minute}, 20 * time.Minute, "rate limit"},
		"secondary 403": {githubtest.Failure{Kind: githubtest.SecondaryLimit, RetryAfter: 3 * time.Minute}, 3 * time.Minute, "secondary"},
		"secondary 429": {githubtest.Failure{Kind: githubtest.SecondaryLimit, Status: 429, RetryAfter: 3 * time.Minute}, 3 * time.Minute, "secondary"},
		"no time":       {githubtest.Failure{Kind: githubtest.SecondaryLimit}, time.Minute, "secondary"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			beside, sha := w.another("elsewhere/shop", githubtest.RepositoryOptions{})
			neighbour := w.gh.Install("elsewhere")
			head := func() error {
				_, _, err := w.app.Head(t.Context(), w.inst.ID, described(w.repo), "refs/heads/main")
				return err
			}
			ok(t, head())
			test.failure.Operation, test.failure.Installation = "git/get-ref", w.inst.ID
			w.Fail(test.failure)
			err := head()
			var later *jobs.Later
			wait := test.wait + priorityShares[priorityNew].grace // so that final states go first when it is over
			if !errors.As(err, &later) || later.After > wait || later.After < wait-time.Second || !strings.Contains(later.Reason, test.says) {
				t.Fatalf("got %v (%+v), want a *jobs.Later of %s", err, later, test.wait)
			}
			clean(t, err)
			before := w.CountRequests(nil)
			if err := head(); !errors.As(err, &later) {
				t.Errorf("while limited: got %v", err)
			}
			if n := w.CountRequests(nil) - before; n != 0 {
				t.Errorf("%d requests while limited", n)
			}
			got, _, err := w.app.Head(t.Context(), neighbour.ID, described(beside), "refs/heads/main")
			if err != nil || got != sha {
				t.Errorf("another installation: got %q, %v", got, err)
			}
			w.clock.advance(wait + time.Second)
			ok(t, head())
		})
	}
}

func TestLastCallBeforeTheResetIsNotedInAdvance(t *testing.T) {
	w := newWorld(t)
	w.SetRateLimit(w.inst, 1)
	head := func() error {
		_, _, err := w.app.Head(t.Context(), w.inst.ID, described(w.repo), "refs/heads/main")
		return err
	}
	ok(t, head())
	n := w.count("git/get-ref")
	var later *jobs.Later
	if err := head(); !errors.As(err, &later) || later.After < 59*time.Minute {
		t.Errorf("got %v", err)
	}
	if w.count("git/get-ref") != n {
		t.Error("GitHub was asked although nothing was left")
	}
	w.clock.advance(time.Hour + priorityShares[priorityNew].grace + time.Second)
	ok(t, head())
}

func TestTroubleAtGitHub(t *testing.T) {
	w := newWorld(t)
	head := func(ctx context.Context) error {
		_, _, err := w.app.Head(ctx, w.inst.ID, described(w.repo), "refs/heads/main")
		clean(t, err)
		return err
	}
	ok(t, head(t.Context()))
	var down *Unavailable
	for _, status := range []int{500, 502, 503} {
		w.Fail(githubtest.Failure{Operation: "git/get-ref", Status: status})
		if err := head(t.Context()); !errors.As(err, &down) || down.Status != status || down.Operation != "git/get-ref" || down.After <= 0 {
			t.Errorf("%d: got %v", status, err)
		}
	}
	// More than once: net/http itself asks again when a connection it had kept is closed on it.
	w.Fail(githubtest.Failure{Operation: "git/get-ref", Kind: githubtest.LostAnswer, Times: -1})
	if err := head(t.Context()); !errors.As(err, &down) || down.Status != 0 {
		t.Errorf("connection closed: got %v", err)
	}
	w.ClearFailures()
	w.Down(true)
	if err := head(t.Context()); !errors.As(err, &down) {
		t.Errorf("unreachable: got %v", err)
	}
	w.Down(false)
	ok(t, head(t.Context()))
	// A caller that gives up gets its own context's error.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := head(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v", err)
	}
	seen := map[int]bool{}
	for _, call := range w.calls.all() {
		seen[call.Status] = true
	}
	for _, status := range []int{0, 200, 201, 500, 502, 503} {
		if !seen[status] {
			t.Errorf("no call with status %d was observed", status)
		}
	}
}

// TestAnswersAreBounded and the ones below use a server that is not GitHub's: the stand-in never misbehaves like this.
func TestAnswersAreBounded(t *testing.T) {
	app, repo := hostile(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Write([]byte(`{"ref":"`))
		block := []byte(strings.Repeat("x", 1<<20))
		for range 40 {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	})
	_, _, err := app.Head(t.Context(), 1, repo, "refs/heads/main")
	if !errors.Is(err, errTooLong) {
		t.Errorf("got %v", err)
	}
}

func TestTokensStayAtTheAPIsHost(t *testing.T) {
	var mu sync.Mutex
	var leaked []string
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		leaked = append(leaked, r.Header.Get("Authorization"))
		http.NotFound(w, r)
	}))
	t.Cleanup(elsewhere.Close)
	app, repo := hostile(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.URL+"/x?token=very-secret", http.StatusFound)
	})
	_, _, err := app.Head(t.Context(), 1, repo, "refs/heads/main")
	if err == nil {
		t.Error("a redirect to another host was taken for an answer")
	}
	clean(t, err)
	archives, err := NewArchives(ArchivesConfig{App: app, Dir: t.TempDir()})
	ok(t, err)
	_, err = archives.Checkout(t.Context(), jobs.RunInfo{Installation: 1, Repository: repo, SHA: strings.Repeat("a", 40)})
	if err == nil {
		t.Error("no archive, no error")
	}
	clean(t, err)
	if strings.Contains(err.Error(), "very-secret") {
		t.Errorf("the archive's address is in the error: %v", err)
	}
	if len(leaked) != 1 || leaked[0] != "" {
		t.Errorf("the other host got %d requests with %q, want the archive's without a token", len(leaked), leaked)
	}
}

func TestAuthorizerSendsNothingElsewhere(t *testing.T) {
	api, err := Config{APIURL: "https://api.example.com/"}.apiURL()
	ok(t, err)
	a := &authorizer{api: api, tokens: &tokenSource{now: time.Now, mint: func(context.Context) (string, time.Time, error) {
		return "ghs_x", time.Now().Add(time.Hour), nil
	}}, next: roundTripper(func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Request: r}, nil
	})}
	for address, allowed := range map[string]bool{
		"https://api.example.com/x": true, "http://api.example.com/x": false, "https://api.example.com:444/x": false, "https://example.com/x": false,
	} {
		resp, err := a.RoundTrip(httptest.NewRequest(http.MethodGet, address, nil))
		if (err == nil) != allowed || allowed && resp.Request.Header.Get("Authorization") != "Bearer ghs_x" {
			t.Errorf("%s: got %v, %v", address, resp, err)
		}
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// hostile is an App at an API that gives tokens as GitHub does, and answers everything else with handler.
func hostile(t *testing.T, handler http.HandlerFunc) (*App, jobs.Repository) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/access_tokens") {
			w.WriteHeader(http.StatusCreated)
			w.Write([]byte(`{"token":"ghs_secret_of_the_installation","expires_at":"2999-01-01T00:00:00Z"}`))
			return
		}
		handler(w, r)
	}))
	t.Cleanup(server.Close)
	w := &world{t: t, Server: &githubtest.Server{URL: server.URL}, gh: &githubtest.App{ID: 1, PrivateKeyPEM: testKey(t)},
		clock: &clock{now: time.Now()}, calls: &calls{}, log: &logs{t: t}}
	return w.newApp(), jobs.Repository{ID: 1, Owner: "acme", Name: "shop"}
}
