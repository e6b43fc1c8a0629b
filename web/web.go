package web

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/slipway-ci/slipway/jobs"
)

// A Reader looks up one record by its key, as jobs.Records does.
type Reader[T any] interface {
	Get(ctx context.Context, key string) (T, uint64, error)
}

// ActiveRuns are the runs that are not over yet; a jobs.Set[jobs.Run] is one.
type ActiveRuns interface {
	Reader[jobs.Run]
	All(ctx context.Context, each func(key string, run jobs.Run, revision uint64) error) error
	Watch(ctx context.Context) (<-chan string, error)
}

// Index lists all runs there are, finished ones too.
type Index interface {
	// Runs returns up to n entries, newest first, older than before (0 for the newest), of one repository
	// ("owner/name") or of all (""). next is what to ask with for the following page, 0 when there is none.
	Runs(ctx context.Context, before uint64, n int, repository string) (entries []jobs.RunEntry, next uint64, err error)
}

// Deliveries lists the webhook deliveries that are stored. Bodies are not looked at and may be left out.
type Deliveries interface {
	// Deliveries returns up to n deliveries, newest first. before is "" for the newest, then the next that the call
	// before returned; next is "" at the end. A before that is none of those is answered with jobs.ErrNotFound.
	Deliveries(ctx context.Context, before string, n int) (list []jobs.Delivery, next string, err error)
	// Delivery returns one of them, or jobs.ErrNotFound.
	Delivery(ctx context.Context, guid string) (jobs.Delivery, error)
}

// Logs are read, never written; a jobs.Logs is one.
type Logs interface {
	Read(ctx context.Context, key jobs.LogKey, what jobs.LogRange, each func(jobs.LogChunk) error) error
}

// Options are what a Server is made of. Fields without a note are needed.
type Options struct {
	Runs       ActiveRuns            // looked into first
	Archive    Reader[jobs.Run]      // then here: finished runs
	Index      Index                 // of both
	Decisions  Reader[jobs.Decision] // by delivery GUID
	Results    Reader[jobs.Result]   // by jobs.ResultKey
	Logs       Logs
	Deliveries Deliveries

	// URL is server.url: where people reach the pages, such as https://slipway.example.com. Its host is accepted in
	// Host headers. Optional.
	URL string
	// Hosts are further names accepted in Host headers: the host parts of the addresses the pages listen on.
	// Loopback names and the address a connection came in at are always accepted. Optional.
	Hosts []string
	// GitHubURL is where links to repositories, commits and pull requests point. Default: https://github.com.
	GitHubURL string
	// Public opens the pages to requests that don't come from this machine. Until there is sign-in, whoever reaches the
	// pages reads everything on them. The API always takes a token from elsewhere.
	Public bool
	// Version is shown in the pages' footer and in slipway_build_info.
	Version string
	Checks  []Check // asked by /readyz; optional
	// RateLimits tells what may still be asked of GitHub, what is held back first. Optional.
	RateLimits func() []jobs.RateLimitState
	Metrics    *Metrics // what /metrics shows; default: a new set
	// MaxStreams bounds how many live connections are open at once. Machines that wait get no more than half of them. Default 256.
	MaxStreams int
	// Submissions is what the API takes requests for runs with. Optional: without it, the API only reads.
	Submissions *Submissions
	Log         *slog.Logger     // default: none
	Now         func() time.Time // default: time.Now
}

// A Server answers for everything this package shows. It is made by New and safe for concurrent use.
type Server struct {
	o         Options
	hosts     map[string]bool
	base      string // of Options.GitHubURL, without a slash at its end
	templates map[string]*template.Template
	assets    assetSet
	hub       *hub
	streams   atomic.Int64
	closing   context.Context
	close     context.CancelFunc
	health    health
	pace      pace
	failures  *throttle[netip.Prefix] // of authentication, by address
	asks      *throttle[string]       // for runs, by token
	waits     waits
	observing sync.Mutex // held while a report of what was observed is made
	describes []byte     // openapi.yaml as JSON
}

// Limits of what one answer holds.
const (
	pageSize    = 30  // entries of a list
	scanLimit   = 300 // entries looked at for a filtered list
	maxActive   = 200 // runs shown as active at once
	maxLogLines = 5000
	pageTimeout = 15 * time.Second // for making an answer that is no stream; as long again for the client to take it
	streamLife  = time.Hour        // a client connects again by itself
)

// pace is how long things take on a connection. A test is in more of a hurry.
type pace struct {
	sweep  time.Duration // of a stream: between looks at the record, in case nobody told of a change
	beat   time.Duration // between signs of life, so that nothing on the way gives up
	settle time.Duration // between a change and the next look: changes come close together
	write  time.Duration // for the client to take a piece of a stream
	answer time.Duration // for any other answer, until the client has taken all of it
}

// New makes a Server. It fails when a URL is malformed or a store is missing.
func New(o Options) (*Server, error) {
	if o.Runs == nil || o.Archive == nil || o.Index == nil || o.Decisions == nil || o.Results == nil || o.Logs == nil || o.Deliveries == nil {
		return nil, errors.New("web: a store is missing")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics(o.Version)
	}
	if o.MaxStreams == 0 {
		o.MaxStreams = 256
	}
	if o.GitHubURL == "" {
		o.GitHubURL = "https://github.com"
	}
	s := &Server{
		o: o, base: strings.TrimRight(o.GitHubURL, "/"), hosts: map[string]bool{"localhost": true},
		pace: pace{sweep: 5 * time.Second, beat: 20 * time.Second, settle: 500 * time.Millisecond, write: 10 * time.Second, answer: 2 * pageTimeout},
	}
	if o.URL != "" {
		u, err := url.Parse(o.URL)
		if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			return nil, fmt.Errorf("server.url: %q is not a URL such as https://slipway.example.com", o.URL)
		}
		s.hosts[hostKey(u.Hostname())] = true
	}
	if u, err := url.Parse(s.base); err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("%q is not the URL of a GitHub", o.GitHubURL)
	}
	for _, h := range o.Hosts {
		if name, _, err := net.SplitHostPort(h); err == nil {
			h = name
		}
		if h != "" {
			s.hosts[hostKey(h)] = true
		}
	}
	s.failures = newThrottle[netip.Prefix](failAddresses, failBurst, failEvery)
	s.asks = newThrottle[string](maxTokens, askBurst, askEvery)
	var err error
	if s.describes, err = description(); err != nil {
		return nil, err
	}
	if s.assets, err = loadAssets(); err != nil {
		return nil, err
	}
	if s.templates, err = s.parseTemplates(); err != nil {
		return nil, err
	}
	s.hub = &hub{watch: o.Runs.Watch, log: o.Log, retry: time.Second}
	s.closing, s.close = context.WithCancel(context.Background())
	return s, nil
}

// Close ends all live connections, so that an http.Server can shut down (give it to RegisterOnShutdown). Browsers
// connect again by themselves.
func (s *Server) Close() { s.close() }

// Pages serves people's browsers, and the JSON API under /api/v1/.
func (s *Server) Pages() http.Handler {
	e := s.echo()
	get(e, "/", s.listRuns)
	get(e, "/live", s.liveRuns)
	get(e, "/runs", s.toRuns)
	get(e, "/runs/", s.toRuns)
	get(e, "/runs/:id", s.orDelivery(s.showRun))
	get(e, "/runs/:id/live", s.liveRun)
	get(e, "/runs/:id/jobs/:job/log", s.showLog)
	get(e, "/runs/:id/jobs/:job/log/live", s.liveLog)
	get(e, "/runs/:id/jobs/:job/log.txt", s.downloadLog)
	get(e, "/deliveries", s.listDeliveries)
	get(e, "/deliveries/:guid", s.showDelivery)
	get(e, "/assets/:name", s.asset)
	get(e, "/favicon.ico", s.favicon)
	api{Server: s}.mount(e)
	return s.guard(e, true)
}

// API serves the JSON API alone and tells causes too. It has no guard of its own against strangers: it is for a Unix
// socket that only the operator can open.
func (s *Server) API() http.Handler {
	e := s.echo()
	api{Server: s, operator: true}.mount(e)
	return s.guard(e, false)
}

// Metrics serves /metrics in Prometheus' text format, /healthz and /readyz. It belongs on a listener that only
// monitoring reaches.
func (s *Server) Metrics() http.Handler {
	e := s.echo()
	get(e, "/metrics", echo.WrapHandler(s.o.Metrics.handler()))
	get(e, "/healthz", s.healthz)
	get(e, "/readyz", s.readyz)
	return s.guard(e, false)
}

func get(e *echo.Echo, path string, h echo.HandlerFunc) {
	e.Match([]string{http.MethodGet, http.MethodHead}, path, h)
}
