package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/spf13/cobra"

	"github.com/slipway-ci/slipway/deploy"
	"github.com/slipway-ci/slipway/githubapp"
	"github.com/slipway-ci/slipway/jobs"
	"github.com/slipway-ci/slipway/jobs/rollout"
	"github.com/slipway-ci/slipway/pipeline"
	"github.com/slipway-ci/slipway/queue"
	"github.com/slipway-ci/slipway/web"
)

func serveCommand(wrap func(*stores)) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use: "serve", Short: "Run the server", Args: cobra.NoArgs,
		Long: "Run the server until it is told to stop by SIGTERM or SIGINT. It then takes no more deliveries, hands the jobs it works\non back to the queue at no cost to them, and ends.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := LoadConfig(file)
			if err != nil {
				return err
			}
			return serve(cmd.Context(), c, c.Log.logger(cmd.ErrOrStderr()), wrap)
		},
	}
	cmd.Flags().StringVar(&file, "config", "config.yaml", "the server's configuration")
	return cmd
}

func (l LogConfig) logger(w io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(l.Level)) // validated before
	options := &slog.HandlerOptions{Level: level}
	if l.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// serve runs the server until ctx is done, and then stops it in good order. wrap, when it is not nil, may put wrappers
// around the stores before anything uses them.
func serve(ctx context.Context, c Config, log *slog.Logger, wrap func(*stores)) (err error) {
	log.InfoContext(ctx, "starting", "version", version)
	deploy.RouteLibraryLogs(log)
	s, err := assemble(ctx, c, log, wrap)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.listen(ctx); err != nil {
		return err
	}
	s.warn(ctx)
	return s.run(ctx)
}

// A server is all parts of one replica, put together.
type server struct {
	config  Config
	log     *slog.Logger
	queue   *queue.Queue
	stores  *stores
	app     *githubapp.App
	leader  *jobs.Leader
	runner  *jobs.Runner
	web     *web.Server
	webhook http.Handler
	probes  []probe
	closers []func() error

	servers []*listening
}

// assemble puts the parts together. Nothing runs and nothing listens yet.
func assemble(ctx context.Context, c Config, log *slog.Logger, wrap func(*stores)) (_ *server, err error) {
	s := &server{config: c, log: log}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	rules, err := pipeline.Compile(c.policy(), c.clusterNames())
	if err != nil {
		return nil, err
	}
	secrets, err := readSecrets(c.GitHub.WebhookSecretFiles)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(c.Work.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make work.dir: %w", err)
	}
	if s.queue, err = queue.Open(ctx, c.Queue, log); err != nil {
		return nil, err
	}
	s.closers = append(s.closers, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		return s.queue.Close(ctx)
	})
	metrics := web.NewMetrics(version)
	transport, err := c.Outgoing.github()
	if err != nil {
		return nil, err
	}
	app, err := githubapp.New(c.GitHub, githubapp.Options{Log: log, Transport: transport, Observe: func(call githubapp.Call) {
		metrics.GitHubCall(call.Operation, call.Status)
	}})
	if err != nil {
		return nil, err
	}
	s.app = app
	metrics.RateLimits(app.RateLimits)
	slots, probes, closeKinds, err := kinds(c, app, queue.Set[rollout.Record](s.queue, queue.Rollouts), log)
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, closeKinds)
	s.probes = append([]probe{{"queue", s.queue.Healthy}}, probes...)
	archives, err := githubapp.NewArchives(githubapp.ArchivesConfig{App: app, Dir: checkouts(c), Log: log})
	if err != nil {
		return nil, err
	}
	s.stores = openStores(s.queue, slots)
	if wrap != nil {
		wrap(s.stores)
	}
	parts := parts{c: c, log: log, q: s.queue, stores: s.stores, app: app, rules: rules, metrics: metrics, name: replica(c)}
	parts.addGitHubKinds()
	if s.web, err = parts.web(s.probes); err != nil {
		return nil, err
	}
	s.leader = parts.leader(s.web.Callbacks())
	s.runner = parts.runner(archives, secrets)
	if len(secrets) > 0 { // without one nothing could be told from a stranger's, and deliveries are only fetched
		if s.webhook, err = parts.webhook(secrets); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// replica is this replica's name, unique among those on one queue.
func replica(c Config) string {
	if c.Work.Name != "" {
		return c.Work.Name
	}
	host, err := os.Hostname()
	if err != nil {
		host = "slipway"
	}
	return host + "-" + strings.ToLower(rand.Text()[:6])
}

// readSecrets reads the webhook secrets; white space around them, such as an editor's newline, does not count.
func readSecrets(files []string) ([][]byte, error) {
	var secrets [][]byte
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read a webhook secret: %w", err)
		}
		secret := bytes.TrimSpace(data)
		if len(secret) == 0 {
			return nil, fmt.Errorf("the webhook secret in %s is empty; anybody could sign with it", file)
		}
		secrets = append(secrets, secret)
	}
	return secrets, nil
}

// listening is a server and its open listener.
type listening struct {
	name string
	http *http.Server
	on   net.Listener
}

// listen opens every listener, so that an address in use is said at once.
func (s *server) listen(ctx context.Context) error {
	c := s.config.Server
	admin, err := openSocket(ctx, c.AdminSocket)
	if err != nil {
		return err
	}
	s.add("admin", admin, s.admin(), 0) // the operator's, whose commands may take long
	for _, l := range []struct {
		name, address string
		handler       http.Handler
	}{{"webhook", c.Webhook, s.webhookHandler()}, {"pages", c.Pages, s.web.Pages()}, {"metrics", c.Metrics, s.web.Metrics()}} {
		if l.handler == nil {
			continue
		}
		on, err := new(net.ListenConfig).Listen(ctx, "tcp", l.address)
		if err != nil {
			return fmt.Errorf("server.%s: %w", l.name, err)
		}
		s.add(l.name, on, l.handler, answerTimeout)
		s.log.Info("listening", "for", l.name, "address", on.Addr().String())
	}
	return nil
}

// webhookHandler is what GitHub posts to, or nil when nothing listens for it.
func (s *server) webhookHandler() http.Handler {
	if s.webhook == nil {
		return nil
	}
	handler := echo.New()
	handler.HideBanner, handler.HidePort = true, true
	handler.Any("/webhook", echo.WrapHandler(s.webhook))
	return handler
}

// answerTimeout is for reading a request's body, answering it, and the client's taking of the answer. The pages set longer deadlines
// for what takes longer.
const answerTimeout = 30 * time.Second

// shutdownTimeout is how long answers may take that are under way when the server stops.
const shutdownTimeout = 10 * time.Second

// add has a listener served. A client that asks and never reads is let go after answer; 0 waits for it.
func (s *server) add(name string, on net.Listener, handler http.Handler, answer time.Duration) {
	s.servers = append(s.servers, &listening{name, &http.Server{
		Handler: handler, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: answer, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 32 << 10,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}, on})
}

// warn says what an operator should know at the start.
func (s *server) warn(ctx context.Context) {
	for _, p := range s.probes {
		once, cancel := context.WithTimeout(ctx, 5*time.Second)
		if err := p.ask(once); err != nil {
			s.log.WarnContext(ctx, "can't be reached; what needs it is tried again until it can", "what", p.name, "error", err)
		}
		cancel()
	}
	if r := s.config.Repositories; r.Mode != jobs.ModeRun {
		s.log.InfoContext(ctx, "observing: decisions are made and explained, nothing is started but for repositories.run; `slipway observe report` says what "+
			"would have run; list repositories there, or set repositories.mode to run, when that looks right", "running", r.Run)
	}
	if _, _, err := s.stores.meta.Get(ctx, jobs.StartKey); errors.Is(err, jobs.ErrNotFound) {
		s.log.WarnContext(ctx, "this data folder is new: until `slipway begin` says since when to act, nothing is started")
	}
}

// run serves until ctx is done or a listener breaks. Work ends in this order: no new deliveries, no new claims and jobs
// handed back, the leader's lease given up, pages last.
func (s *server) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var serving, working sync.WaitGroup
	for _, l := range s.servers {
		serving.Go(func() {
			if err := l.http.Serve(l.on); !errors.Is(err, http.ErrServerClosed) {
				cancel(fmt.Errorf("serve %s: %w", l.name, err))
			}
		})
	}
	working.Go(func() { s.runner.Run(ctx) })
	working.Go(func() { s.leader.Run(ctx) })
	s.log.InfoContext(ctx, "ready")
	<-ctx.Done()
	s.log.Info("stopping: running jobs are handed back")
	s.shutdown(ctx, "webhook")
	working.Wait()
	s.web.Close()
	s.shutdown(ctx, "admin", "pages", "metrics")
	serving.Wait()
	s.log.Info("stopped")
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// shutdown lets listeners answer what was asked, for so long at most, and closes them. That ctx is done does not hasten it.
func (s *server) shutdown(ctx context.Context, names ...string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	for _, l := range s.servers {
		for _, name := range names {
			if l.name != name {
				continue
			}
			if err := l.http.Shutdown(ctx); err != nil {
				s.log.WarnContext(ctx, "connections were cut", "listener", name, "error", err)
				_ = l.http.Close()
			}
		}
	}
}

// close lets go of what assemble opened, the last first.
func (s *server) close() error {
	var faults []error
	for _, l := range s.servers {
		_ = l.on.Close() // closed already when the server ran
	}
	for i := len(s.closers) - 1; i >= 0; i-- {
		faults = append(faults, s.closers[i]())
	}
	s.closers = nil
	return errors.Join(faults...)
}
