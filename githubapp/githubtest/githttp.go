package githubtest

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cgi"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
)

// maxPush bounds the body of one git request.
const maxPush = 512 << 20

// httpBackend finds the program that serves git over HTTP, which comes with git.
var httpBackend = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		return "", fmt.Errorf("find git: %w", err)
	}
	path := filepath.Join(strings.TrimSpace(string(out)), "git-http-backend")
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("git has no http-backend: %w", err)
	}
	return path, nil
})

// serveGit serves git's smart HTTP protocol. Who asks is the user name of basic authentication: a login with any password,
// or x-access-token with an installation token.
func (s *Server) serveGit(w http.ResponseWriter, r *http.Request) {
	entry := Request{Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery, Operation: "git"}
	repo, rest := s.gitTarget(r.URL.Path)
	writing := rest == "/git-receive-pack" || r.URL.Query().Get("service") == "git-receive-pack"
	user, who, status := s.gitCaller(r, repo, writing)
	entry.Installation, entry.App = who.ids()

	s.mu.Lock()
	failure := s.failureFor("git", r.URL.Path, entry.Installation)
	s.mu.Unlock()
	if failure != nil && failure.When == Before {
		s.failGit(w, r, entry, failure)
		return
	}
	if status != http.StatusOK {
		if status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", `Basic realm="GitHub"`)
		}
		entry.Status = status
		s.record(entry)
		http.Error(w, map[int]string{http.StatusUnauthorized: "Authentication required.", http.StatusForbidden: "Permission to " + r.URL.Path + " denied.",
			http.StatusNotFound: "Repository not found."}[status], status)
		return
	}
	output := w
	if failure != nil {
		output = discard{header: http.Header{}}
	} else {
		entry.Status = http.StatusOK
		s.record(entry)
	}
	serve := func() error { return s.runBackend(output, r, repo, rest, user) }
	var err error
	if rest == "/git-receive-pack" {
		err = repo.push(user, serve)
	} else {
		err = serve()
	}
	if err != nil {
		s.log.Warn("git over HTTP", "path", r.URL.Path, "error", err)
	}
	if failure != nil {
		s.failGit(w, r, entry, failure)
	}
}

// gitPath are the addresses of git's smart protocol. The suffix .git may be left out, as on GitHub.
var gitPath = regexp.MustCompile(`^/(?:git/)?([^/]+/[^/]+?)(?:\.git)?(/info/refs|/git-upload-pack|/git-receive-pack)$`)

// gitTarget splits /git/OWNER/REPO.git/rest.
func (s *Server) gitTarget(path string) (*Repository, string) {
	parts := gitPath.FindStringSubmatch(path)
	s.mu.Lock()
	defer s.mu.Unlock()
	repo := s.repository(parts[1])
	if repo == nil {
		repo = s.movedTo(parts[1]) // GitHub redirects git too, whose credentials would then have to be asked for again
	}
	return repo, parts[2]
}

func (s *Server) gitCaller(r *http.Request, repo *Repository, writing bool) (*User, caller, int) {
	login, password, given := r.BasicAuth()
	s.mu.Lock()
	defer s.mu.Unlock()
	if login == "x-access-token" {
		who, refusal := s.authenticate("token " + password)
		level := "read"
		if writing {
			level = "write"
		}
		switch {
		case refusal != nil || who.token == nil:
			return nil, caller{}, http.StatusUnauthorized
		case repo == nil || !who.token.sees(repo):
			return nil, who, http.StatusNotFound
		case !who.token.allows("contents", level) || writing && !who.token.covers(repo):
			return nil, who, http.StatusForbidden
		}
		return who.token.installation.App.Bot, who, http.StatusOK
	}
	user := s.users[strings.ToLower(login)]
	switch {
	case given && user == nil:
		return nil, caller{}, http.StatusUnauthorized
	case user == nil && (writing || repo == nil || repo.private):
		return nil, caller{}, http.StatusUnauthorized // GitHub asks before it says that there is nothing
	case repo == nil || user != nil && repo.role(user) == "none":
		return nil, caller{}, http.StatusNotFound
	case writing && !repo.mayPush(user):
		return nil, caller{}, http.StatusForbidden
	}
	return user, caller{}, http.StatusOK
}

func (s *Server) runBackend(w http.ResponseWriter, r *http.Request, repo *Repository, rest string, user *User) error {
	backend, err := httpBackend()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return err
	}
	inner := r.Clone(r.Context())
	inner.URL = &url.URL{Path: rest, RawQuery: r.URL.RawQuery}
	inner.RequestURI = ""
	inner.Header.Del("Authorization")
	inner.Body = http.MaxBytesReader(w, r.Body, maxPush)
	if r.ContentLength < 0 {
		// git sends big packs in chunks of unknown total, which CGI has no word for.
		spool, err := os.CreateTemp("", "githubtest-push-*")
		if err != nil {
			return err
		}
		defer os.Remove(spool.Name())
		defer spool.Close()
		size, err := io.Copy(spool, inner.Body)
		if err != nil {
			return errors.Join(errors.New("read the pushed pack"), err)
		}
		if _, err := spool.Seek(0, io.SeekStart); err != nil {
			return err
		}
		inner.Body, inner.ContentLength, inner.TransferEncoding = spool, size, nil
	}
	remote := ""
	if user != nil {
		remote = user.Login
	}
	handler := &cgi.Handler{Path: backend, Dir: repo.git.path, Stderr: io.Discard,
		Env: append(gitEnvironment(), "GIT_PROJECT_ROOT="+repo.git.path, "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER="+remote)}
	handler.ServeHTTP(w, inner)
	return nil
}

func (s *Server) failGit(w http.ResponseWriter, r *http.Request, entry Request, failure *Failure) {
	entry.Failed = failure.String()
	given, answered := failure.answer(s.now())
	if !answered {
		s.record(entry)
		s.keepSilent(w, r, failure)
		return
	}
	entry.Status = given.status
	s.record(entry)
	http.Error(w, http.StatusText(given.status), given.status)
}

// discard swallows an answer that is not to reach the client.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}
