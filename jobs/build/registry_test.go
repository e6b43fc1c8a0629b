package build

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

const (
	testUser     = "bot"
	testPassword = "s3cret-of-the-operator"
)

// A guarded registry is a real one behind basic or token authentication (distribution's token scheme: a token holds
// the scopes it was asked for, as far as its account may have them). The account may do everything; without login
// only what lies under public/ may be pulled. It writes down who asked for what.
type guarded struct {
	*httptest.Server
	scheme string // "basic", "bearer" or ""
	inner  http.Handler

	mu      sync.Mutex
	tokens  map[string][]string // token to scopes
	granted []string            // "bot repository:x:pull", "- repository:x:pull" for anonymous
	logins  []string            // names that basic authentication let in, with the path
	broken  int                 // status to answer everything under /v2/NAME with; 0 for none
	refuse  string              // repository that even the account may not push
}

func newGuarded(t testing.TB, scheme string) *guarded {
	t.Helper()
	g := &guarded{scheme: scheme, tokens: map[string][]string{}, inner: ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)))}
	g.Server = httptest.NewServer(g)
	t.Cleanup(g.Close)
	return g
}

func (g *guarded) host() string { return strings.TrimPrefix(g.URL, "http://") }

// conf is the operator's entry for it.
func (g *guarded) conf(t testing.TB, pull ...string) Registry {
	t.Helper()
	file := filepath.Join(t.TempDir(), "registry.password")
	if err := os.WriteFile(file, []byte(testPassword+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return Registry{Username: testUser, PasswordFile: file, Insecure: true, Pull: pull}
}

func (g *guarded) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	user, password, ok := req.BasicAuth()
	if ok && (user != testUser || password != testPassword) {
		http.Error(w, "wrong password", http.StatusUnauthorized)
		return
	}
	if req.URL.Path == "/token" {
		g.token(w, req, ok)
		return
	}
	repo, _ := strings.CutPrefix(req.URL.Path, "/v2/")
	for _, end := range []string{"/manifests/", "/blobs/", "/tags/"} {
		if i := strings.LastIndex(repo, end); i >= 0 {
			repo = repo[:i]
		}
	}
	action := "push"
	if req.Method == http.MethodGet || req.Method == http.MethodHead {
		action = "pull"
	}
	switch {
	case g.broken != 0 && repo != "":
		http.Error(w, "broken on demand", g.broken)
		return
	case action == "push" && repo == g.refuse && repo != "":
		http.Error(w, `{"errors":[{"code":"DENIED","message":"not yours"}]}`, http.StatusForbidden)
		return
	}
	public := strings.HasPrefix(repo, "public/") && action == "pull"
	switch g.scheme {
	case "basic":
		if !ok && !public {
			w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED"}]}`, http.StatusUnauthorized)
			return
		}
		if ok {
			g.logins = append(g.logins, user+" "+repo)
		}
	case "bearer":
		scopes, known := g.tokens[strings.TrimPrefix(req.Header.Get("Authorization"), "Bearer ")]
		if !known || repo != "" && !slices.ContainsFunc(scopes, func(s string) bool { return scopeAllows(s, repo, action) }) {
			challenge := fmt.Sprintf(`Bearer realm="%s/token",service="test"`, g.URL)
			if repo != "" {
				challenge += fmt.Sprintf(`,scope="repository:%s:%s"`, repo, map[string]string{"pull": "pull", "push": "pull,push"}[action])
			}
			w.Header().Set("WWW-Authenticate", challenge)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
			return
		}
	}
	g.inner.ServeHTTP(w, req)
}

func scopeAllows(scope, repo, action string) bool {
	parts := strings.Split(scope, ":")
	return len(parts) == 3 && parts[1] == repo && slices.Contains(strings.Split(parts[2], ","), action)
}

// token answers GET and POST alike, as distribution's token servers do.
func (g *guarded) token(w http.ResponseWriter, req *http.Request, named bool) {
	if err := req.ParseForm(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if req.PostForm.Get("grant_type") == "password" {
		if req.PostForm.Get("username") != testUser || req.PostForm.Get("password") != testPassword {
			http.Error(w, "wrong password", http.StatusUnauthorized)
			return
		}
		named = true
	}
	who := "-"
	if named {
		who = testUser
	}
	var scopes []string
	for _, s := range strings.Fields(strings.Join(req.Form["scope"], " ")) {
		g.granted = append(g.granted, who+" "+s)
		if named || strings.HasPrefix(s, "repository:public/") && strings.HasSuffix(s, ":pull") {
			scopes = append(scopes, s)
		}
	}
	token := fmt.Sprintf("token-%s-%d", who, len(g.tokens))
	g.tokens[token] = scopes
	json.NewEncoder(w).Encode(map[string]any{"token": token, "access_token": token, "expires_in": 300})
}

// seen returns what was granted, each once, sorted.
func (g *guarded) seen() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := slices.Clone(g.granted)
	slices.Sort(out)
	return slices.Compact(out)
}

func (g *guarded) set(f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f()
}

// put stores an image past the guard.
func (g *guarded) put(t testing.TB, repo, tag string, img v1.Image) {
	t.Helper()
	open := httptest.NewServer(g.inner)
	defer open.Close()
	ref, err := name.NewTag(strings.TrimPrefix(open.URL, "http://")+"/"+repo+":"+tag, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, img, remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
}

// putIndex stores an index with images of the given platforms, and an attestation beside each, as BuildKit does.
func (g *guarded) putIndex(t testing.TB, repo string, platforms ...string) (v1.ImageIndex, []v1.Image) {
	t.Helper()
	index := v1.ImageIndex(empty.Index)
	var images []v1.Image
	for _, p := range platforms {
		platform, err := v1.ParsePlatform(p)
		if err != nil {
			t.Fatal(err)
		}
		img, proof := randomImage(t), randomImage(t)
		d, err := img.Digest()
		if err != nil {
			t.Fatal(err)
		}
		index = mutate.AppendManifests(index,
			mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: platform}},
			mutate.IndexAddendum{Add: proof, Descriptor: v1.Descriptor{
				Platform:    &v1.Platform{OS: "unknown", Architecture: "unknown"},
				Annotations: map[string]string{attestation: "attestation-manifest", "vnd.docker.reference.digest": d.String()},
			}})
		images = append(images, img)
	}
	open := httptest.NewServer(g.inner)
	defer open.Close()
	d, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.NewDigest(strings.TrimPrefix(open.URL, "http://")+"/"+repo+"@"+d.String(), name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(ref, index, remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
	return index, images
}

func randomImage(t testing.TB) v1.Image {
	t.Helper()
	img, err := random.Image(1000, 2)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func TestSchemeGuard(t *testing.T) {
	g := newGuarded(t, "")
	rs := newRegistries(map[string]Registry{})
	r, err := rs.get(g.host())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.challenge(t.Context()); err == nil || !strings.Contains(err.Error(), "plain HTTP is not allowed") {
		t.Errorf("a registry on loopback was spoken to in the clear, unasked: %v", err)
	}
}

// A registry that is down holds up each build for one question's time, and nobody longer than they want to wait.
func TestManyAskARegistryOnce(t *testing.T) {
	asked, release := make(chan struct{}, 10), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		asked <- struct{}{}
		select {
		case <-release:
		case <-req.Context().Done(): // whoever asked gave up
		}
	}))
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	r, err := newRegistries(map[string]Registry{host: {Insecure: true}}).get(host)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(ctx context.Context) <-chan error {
		done := make(chan error, 1)
		go func() {
			_, err := r.challenge(ctx)
			done <- err
		}()
		return done
	}
	first, giveUp := context.WithCancel(t.Context())
	gone := ask(first)
	<-asked
	others := []<-chan error{ask(t.Context()), ask(t.Context())}
	late, cancel := context.WithCancel(t.Context())
	cancel()
	within := func(what string, done <-chan error) error {
		t.Helper()
		select {
		case err := <-done:
			return err
		case <-time.After(10 * time.Second):
			t.Fatalf("%s is held up by somebody else's question", what)
		}
		return nil
	}
	if err := within("who does not wait", ask(late)); !errors.Is(err, context.Canceled) {
		t.Errorf("who does not wait: %v", err)
	}
	giveUp()
	if err := within("the first", gone); !errors.Is(err, context.Canceled) {
		t.Errorf("the first: %v", err)
	}
	close(release)
	for _, done := range others {
		if err := within("another", done); err != nil {
			t.Errorf("another: %v", err)
		}
	}
	if n := len(asked); n > 0 {
		t.Errorf("asked %d times more, want once in all", n)
	}
}
