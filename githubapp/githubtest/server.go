package githubtest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Options say how a stand-in GitHub is started. Dir is the only one that must be given.
type Options struct {
	Dir    string           // folder for the bare repositories, made when missing
	Listen string           // TCP address; empty: a free port of 127.0.0.1
	Log    *slog.Logger     // nil: nothing is logged
	Clock  func() time.Time // what GitHub thinks the time is (clients sign their JWTs by their own clock); nil: time.Now

	// RateLimit is the primary budget of each installation, in requests per hour; 0 means 5000.
	RateLimit int
	// SecondaryLimits makes the server enforce GitHub's secondary limits: 100 requests at once, 900 points a minute,
	// 80 content-creating requests a minute and 500 an hour, per installation.
	SecondaryLimits bool
	// SecondaryStatus is what a secondary limit is answered with: 403, or 429 as GitHub also does; 0 means 403.
	SecondaryStatus int
	// MaxPayload is the size in bytes above which a webhook is never sent; 0 means GitHub's 25 MB.
	MaxPayload int
	// WebhookTimeout is how long GitHub waits for the receiver of a webhook; 0 means GitHub's 10 seconds.
	WebhookTimeout time.Duration
}

// Server is a GitHub that remembers. Its methods may be called from any goroutine.
type Server struct {
	URL string // base of the REST API, ending in a slash; /api/v3/ below it answers too

	options  Options
	log      *slog.Logger
	contract *contract
	http     *http.Server
	stop     context.CancelFunc
	done     context.Context // ends when the server closes
	serving  sync.WaitGroup

	// mu guards everything below and every exported type's unexported fields. Unexported methods expect it held unless
	// their name ends in Unlocked.
	mu           sync.Mutex
	lastID       int64
	users        map[string]*User       // by lower-case login; organizations too
	repositories map[string]*Repository // by lower-case full name
	moved        map[string]*Repository // by a lower-case full name of old
	apps         map[int64]*App
	teams        map[string]*Team // by lower-case "organization/slug"
	tokens       map[string]*token
	budgets      map[string]*budget
	requests     []Request
	violations   []string
	waived       map[int]int
	codes        map[string]manifestCode
	failures     []*Failure
	noRunDetails bool
	actions      *App // whose the checks of workflows are; made when first needed
	storage      map[string]stored
	player       *player // nil: nobody plays runs of workflows
	down         bool
	hooks        hooks
	busy         int           // requests and pushes in progress that may still cause events
	idle         chan struct{} // closed and replaced whenever something comes to rest
}

// Start serves a new, empty GitHub. Close it when done.
func Start(options Options) (*Server, error) {
	if options.Dir == "" {
		return nil, errors.New("githubtest: Options.Dir is empty; it is where the repositories live")
	}
	dir, err := filepath.Abs(options.Dir)
	if err != nil {
		return nil, fmt.Errorf("githubtest: %w", err)
	}
	options.Dir = dir
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("githubtest: %w", err)
	}
	if options.Listen == "" {
		options.Listen = "127.0.0.1:0"
	}
	if options.Log == nil {
		options.Log = slog.New(slog.DiscardHandler)
	}
	if options.Clock == nil {
		options.Clock = time.Now
	}
	if options.RateLimit == 0 {
		options.RateLimit = 5000
	}
	if options.SecondaryStatus == 0 {
		options.SecondaryStatus = http.StatusForbidden
	}
	if options.MaxPayload == 0 {
		options.MaxPayload = maxPayload
	}
	if options.WebhookTimeout == 0 {
		options.WebhookTimeout = 10 * time.Second
	}
	description, err := loadContract()
	if err != nil {
		return nil, fmt.Errorf("githubtest: %w", err)
	}
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", options.Listen)
	if err != nil {
		return nil, fmt.Errorf("githubtest: %w", err)
	}
	s := &Server{
		URL: "http://" + listener.Addr().String() + "/", options: options, log: options.Log, contract: description,
		users: map[string]*User{}, repositories: map[string]*Repository{}, moved: map[string]*Repository{}, apps: map[int64]*App{}, teams: map[string]*Team{}, codes: map[string]manifestCode{}, tokens: map[string]*token{},
		budgets: map[string]*budget{}, waived: map[int]int{}, idle: make(chan struct{}), lastID: 1000,
	}
	s.done, s.stop = context.WithCancel(context.Background())
	s.hooks.start(s)
	s.http = &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return s.done },
		ErrorLog: slog.NewLogLogger(options.Log.Handler(), slog.LevelDebug)}
	s.serving.Go(func() { _ = s.http.Serve(listener) })
	return s, nil
}

// Close stops serving and delivering. It returns when everything the server started has ended.
func (s *Server) Close() error {
	s.stop()
	err := s.http.Close()
	s.serving.Wait()
	// Handlers that were cut off may still have a git process at work in the folder.
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return errors.Join(err, s.wait(ctx, func() bool { return s.busy == 0 && (s.player == nil || s.player.playing == 0) }))
}

// ServeHTTP serves the REST API at the root and below /api/v3/, git over HTTP at OWNER/REPO.git (also below /git/), and
// the archives, logs and artifacts that the API redirects to below /_codeload/ and /_storage/. Of GitHub's web site it has
// the form that makes an App from a manifest.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	done := s.busyUnlocked()
	defer done()
	s.mu.Lock()
	down := s.down
	s.mu.Unlock()
	if down {
		s.record(Request{Method: r.Method, Path: r.URL.Path, Failed: "down"})
		hangUp(w)
		return
	}
	path := r.URL.EscapedPath()
	switch {
	case gitPath.MatchString(r.URL.Path):
		s.serveGit(w, r)
	case r.Method == http.MethodPost && newAppPath.MatchString(r.URL.Path):
		s.serveNewApp(w, r)
	case strings.HasPrefix(path, "/_codeload/"):
		s.serveArchive(w, r)
	case strings.HasPrefix(path, "/_storage/"):
		s.serveStorage(w, r)
	default:
		s.serveAPI(w, r, s.byNameUnlocked(strings.TrimPrefix(path, "/api/v3")))
	}
}

// hangUp closes the connection without an answer.
func hangUp(w http.ResponseWriter) {
	if hijacker, ok := w.(http.Hijacker); ok {
		if conn, _, err := hijacker.Hijack(); err == nil {
			_ = conn.Close()
			return
		}
	}
	panic(http.ErrAbortHandler)
}

// Down makes GitHub unreachable (true) or reachable again (false). While it is down connections are closed unanswered and
// webhooks wait; they are sent, late, when it is back.
func (s *Server) Down(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
	s.hooks.wake()
}

// WaitIdle waits until no request is being served and every webhook that is not held has been delivered, or ctx ends.
func (s *Server) WaitIdle(ctx context.Context) error {
	if err := s.wait(ctx, func() bool { return s.busy == 0 && s.hooks.pending() == 0 }); err != nil {
		return fmt.Errorf("wait for GitHub to be idle: %w", err)
	}
	return nil
}

// WaitFor waits until condition holds, or ctx ends. It looks again after every request, push and delivery.
func (s *Server) WaitFor(ctx context.Context, condition func() bool) error {
	for {
		s.mu.Lock()
		changed := s.idle
		s.mu.Unlock()
		if condition() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for a condition on GitHub: %w", ctx.Err())
		}
	}
}

// wait is WaitFor with a condition that expects the lock.
func (s *Server) wait(ctx context.Context, condition func() bool) error {
	return s.WaitFor(ctx, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return condition()
	})
}

// busyUnlocked keeps WaitIdle waiting until done is called.
func (s *Server) busyUnlocked() (done func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy++
	return s.restUnlocked
}

func (s *Server) restUnlocked() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy--
	s.settled()
}

// later does something as soon as the lock is free; WaitIdle and Close wait for it.
func (s *Server) later(do func()) {
	s.busy++
	go func() {
		defer s.restUnlocked()
		do()
	}()
}

// settled tells WaitIdle to look again.
func (s *Server) settled() {
	close(s.idle)
	s.idle = make(chan struct{})
}

func (s *Server) now() time.Time { return s.options.Clock().UTC().Truncate(time.Second) }

func (s *Server) nextID() int64 {
	s.lastID++
	return s.lastID
}

// Request is one request the server got, as its journal keeps it.
type Request struct {
	Time         time.Time
	Method       string
	Path         string // as sent, without the query
	Query        string
	Operation    string // operationId of GitHub's description; "git", "archive", "storage" and "manifest" for what the description doesn't hold
	Status       int    // 0 when the connection was closed without an answer
	Installation int64  // whose token was used; 0 for none
	App          int64  // whose JWT or token was used; 0 for none
	Failed       string // why it was made to fail, when it was
	Body         string // the request's JSON, cut at 64 KB; empty for git and for what makes or carries secrets
}

// keptRequests bounds the journal; the oldest go first.
const keptRequests = 100_000

func (s *Server) record(request Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	request.Time = s.now()
	if len(s.requests) >= keptRequests {
		s.requests = append(s.requests[:0], s.requests[keptRequests/2:]...)
		s.log.Warn("the journal of requests is full, its older half is forgotten", "kept", len(s.requests))
	}
	s.requests = append(s.requests, request)
}

// Requests returns the journal, oldest first. It holds the newest 50,000 to 100,000 requests.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request(nil), s.requests...)
}

// CountRequests counts the journal's requests that match says yes to; nil counts all.
func (s *Server) CountRequests(match func(Request) bool) int {
	count := 0
	for _, request := range s.Requests() {
		if match == nil || match(request) {
			count++
		}
	}
	return count
}

// ResetRequests empties the journal, so that a later count starts at zero.
func (s *Server) ResetRequests() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = nil
}

// Violations returns what broke GitHub's description so far: requests of the client, and answers and webhooks of this
// server. A test should end by failing when there are any.
func (s *Server) Violations() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.violations...)
}

func (s *Server) violated(found []Violation) {
	for _, violation := range found {
		if i := waiverFor(violation); i >= 0 {
			s.waived[i]++
			continue
		}
		if len(s.violations) < 1000 {
			s.violations = append(s.violations, violation.String())
			s.log.Warn("GitHub's description was broken", "violation", violation.String())
		}
	}
}

// TakeViolations is Violations, and forgets them: for tests that break the description on purpose.
func (s *Server) TakeViolations() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	taken := s.violations
	s.violations = nil
	return taken
}
