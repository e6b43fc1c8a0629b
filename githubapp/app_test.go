package githubapp

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/slipway-ci/slipway/githubapp/githubtest"
	"github.com/slipway-ci/slipway/jobs"
)

func TestConfigReportsAllFaults(t *testing.T) {
	err := Config{APIURL: "http://github.example.com", WebhookSecretFiles: []string{""}}.Validate()
	for _, part := range []string{"github.app_id", "github.private_key_file", "github.webhook_secret_files[0]", "github.api_url: must be https"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%v does not mention %s", err, part)
		}
	}
	for text, want := range map[string]string{
		"": "https://api.github.com/", "https://ghe.example.com/api/v3": "https://ghe.example.com/api/v3/",
		"http://127.0.0.1:80/": "http://127.0.0.1:80/", "http://[::1]:80": "http://[::1]:80/",
		"ftp://x/": "", "https://user:pw@x/": "", "https://x/?q": "", "http://localhost.evil.example/": "", ":": "",
	} {
		got, err := Config{APIURL: text}.apiURL()
		if want == "" && err == nil || want != "" && (err != nil || got.String() != want) {
			t.Errorf("%q: got %v, %v, want %q", text, got, err, want)
		}
	}
}

func TestConfigFromYAML(t *testing.T) {
	var c Config
	ok(t, yaml.Unmarshal([]byte("app_id: 7\nprivate_key_file: a.pem\nwebhook_secret_files: [s]\napi_url: https://x/api/v3/\n"), &c))
	if c.AppID != 7 || c.PrivateKeyFile != "a.pem" || len(c.WebhookSecretFiles) != 1 || c.APIURL != "https://x/api/v3/" {
		t.Errorf("got %+v", c)
	}
	ok(t, c.Validate())
}

func TestNewNeedsAnRSAKey(t *testing.T) {
	file := filepath.Join(t.TempDir(), "app.pem")
	config := Config{AppID: 1, PrivateKeyFile: file, WebhookSecretFiles: []string{"x"}}
	if _, err := New(config, Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: got %v", err)
	}
	ok(t, os.WriteFile(file, []byte("SECRET but no PEM"), 0o600))
	if _, err := New(config, Options{}); err == nil || strings.Contains(err.Error(), "SECRET") {
		t.Errorf("no PEM: got %v", err)
	}
}

func TestTokensAreSharedNarrowedAndRenewed(t *testing.T) {
	w := newWorld(t)
	other, _ := w.another("acme/other", githubtest.RepositoryOptions{Private: true})
	ask := func(app *App, r *githubtest.Repository) error {
		_, _, err := app.Head(t.Context(), w.inst.ID, described(r), "refs/heads/main")
		return err
	}
	const mint = "apps/create-installation-access-token"

	var group sync.WaitGroup
	for range 16 {
		group.Go(func() {
			if err := ask(w.app, w.repo); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if n := w.count(mint); n != 1 {
		t.Errorf("16 callers at once made %d tokens, want 1", n)
	}
	ok(t, ask(w.app, other))
	if n := w.count(mint); n != 2 {
		t.Errorf("a second repository: %d tokens, want 2", n)
	}
	// Both of GitHub's formats were used by now: the stand-in gives them in turn.
	w.clock.advance(56 * time.Minute)
	ok(t, ask(w.app, w.repo))
	if n := w.count(mint); n != 3 {
		t.Errorf("5 minutes before expiry: %d tokens, want 3", n)
	}
	ok(t, ask(w.app, w.repo))
	if n := w.count(mint); n != 3 {
		t.Errorf("the renewed token was not kept: %d", n)
	}
	// A token made for one repository does not reach another: the name of the other under this one's ID is not found.
	mixed := described(w.repo)
	mixed.Name = "other"
	_, err := w.app.PullRequest(t.Context(), w.inst.ID, mixed, 1)
	var gone *jobs.Gone
	if !errors.As(err, &gone) {
		t.Errorf("another repository with this one's token: got %v, want *jobs.Gone", err)
	}
}

func TestTokenRefusedByGitHubIsMadeAnew(t *testing.T) {
	w := newWorld(t)
	ask := func() error {
		_, found, err := w.app.Head(t.Context(), w.inst.ID, described(w.repo), "refs/heads/main")
		if err == nil && !found {
			t.Error("main not found")
		}
		return err
	}
	ok(t, ask())
	w.Fail(githubtest.Failure{Operation: "git/get-ref", Kind: githubtest.Status, Status: 401})
	ok(t, ask())
	if n := w.count("apps/create-installation-access-token"); n != 2 {
		t.Errorf("%d tokens, want 2", n)
	}
	w.Fail(githubtest.Failure{Operation: "git/get-ref", Kind: githubtest.Status, Status: 401, Times: 2})
	err := ask()
	if status(err) != 401 {
		t.Errorf("refused twice: got %v, want the 401", err)
	}
	clean(t, err)
}

func TestTokenRequestOutlivesItsFirstCaller(t *testing.T) {
	asked, answer := make(chan struct{}), make(chan struct{})
	now := time.Now()
	source := &tokenSource{now: func() time.Time { return now }, mint: func(ctx context.Context) (string, time.Time, error) {
		close(asked)
		select {
		case <-answer:
			return "t", now.Add(time.Hour), ctx.Err()
		case <-ctx.Done():
			return "", time.Time{}, ctx.Err()
		}
	}}
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() { _, err := source.token(ctx); first <- err }()
	<-asked
	second := make(chan string, 1)
	go func() { token, _ := source.token(t.Context()); second <- token }()
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("the first caller got %v", err)
	}
	close(answer)
	if token := <-second; token != "t" {
		t.Errorf("the second caller got %q", token)
	}
}

func TestAppThatIsNotWelcome(t *testing.T) {
	head := func(w *world) error {
		_, _, err := w.app.Head(t.Context(), w.inst.ID, described(w.repo), "refs/heads/main")
		clean(t, err)
		return err
	}
	for name, test := range map[string]struct {
		prepare func(*world)
		warm    bool // a token is held already
		want    string
	}{
		"removed":                   {func(w *world) { w.inst.Uninstall() }, false, "it was removed"},
		"removed meanwhile":         {func(w *world) { w.inst.Uninstall() }, true, "it was removed"},
		"suspended":                 {func(w *world) { w.inst.Suspend(true) }, false, "suspended"},
		"suspended meanwhile":       {func(w *world) { w.inst.Suspend(true) }, true, "suspended"},
		"repository gone":           {func(w *world) { ok(t, w.DeleteRepository(w.repo)) }, false, "no longer reaches the repository"},
		"repository gone meanwhile": {func(w *world) { ok(t, w.DeleteRepository(w.repo)) }, true, "acme/shop is gone"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if test.warm {
				ok(t, head(w))
			}
			test.prepare(w)
			var gone *jobs.Gone
			if err := head(w); !errors.As(err, &gone) || !strings.Contains(gone.Reason, test.want) {
				t.Errorf("got %v, want a *jobs.Gone with %q", err, test.want)
			}
		})
	}
}

func TestAppWithoutPermissionSaysWhichItNeeds(t *testing.T) {
	w := newWorld(t)
	poor, err := w.CreateApp(githubtest.AppOptions{ID: 4712, Slug: "poor", Permissions: map[string]string{"metadata": "read", "contents": "read"}})
	ok(t, err)
	w.gh, w.inst = poor, poor.Install("acme")
	w.app = w.newApp()
	_, _, err = w.app.Head(t.Context(), w.inst.ID, described(w.repo), "refs/heads/main")
	if !errors.Is(err, ErrDenied) || !strings.Contains(err.Error(), "checks: write") {
		t.Errorf("got %v, want ErrDenied", err)
	}
}

func TestWrongKeySaysWhereToLook(t *testing.T) {
	w := newWorld(t)
	w.gh.PrivateKeyPEM = testKey(t)
	_, _, err := w.newApp().Head(t.Context(), w.inst.ID, described(w.repo), "refs/heads/main")
	if err == nil || !strings.Contains(err.Error(), "github.private_key_file") {
		t.Errorf("got %v", err)
	}
	clean(t, err)
}

func testKey(t *testing.T) []byte {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	ok(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
}

func TestStrangeNamesAreNeverAsked(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"", "..", "a/b", "a?b", "a#b", "a b", "a%2fb", strings.Repeat("x", 101)} {
		repo := described(w.repo)
		repo.Name = name
		if _, err := w.app.PullRequest(t.Context(), w.inst.ID, repo, 1); err == nil {
			t.Errorf("%q was taken for a name", name)
		}
	}
	if n := w.CountRequests(nil); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
}
