package queue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/slipway-ci/slipway/jobs"
)

// A Queue holds all records. It is safe for use by many goroutines, and it is jobs.Deliveries itself.
type Queue struct {
	log        *slog.Logger
	streams    map[string]stream
	shards     []stream
	shardLimit int64 // bytes
	hints      jobs.Hints

	conn     *nats.Conn          // nil in memory
	js       jetstream.JetStream // nil in memory
	embedded *embedded           // nil unless the server is ours
}

var _ jobs.Deliveries = (*Queue)(nil)

// Open starts the embedded queue, or connects to the external one, and makes sure that all streams are there.
// Close it when done.
func Open(ctx context.Context, c Config, log *slog.Logger) (*Queue, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return openQueue(ctx, c, log)
}

func openQueue(ctx context.Context, c Config, log *slog.Logger) (_ *Queue, err error) {
	q := &Queue{log: log, streams: map[string]stream{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, q.Close(context.WithoutCancel(ctx)))
		}
	}()
	if err := q.connect(c); err != nil {
		return nil, err
	}
	if q.js, err = jetstream.New(q.conn, jetstream.WithDefaultTimeout(askTimeout)); err != nil {
		return nil, fmt.Errorf("open JetStream: %w", err)
	}
	replicas := cmp.Or(c.Replicas, 1)
	if err := q.openStreams(ctx, policies(c.Limits), replicas); err != nil {
		return nil, err
	}
	q.hints = &streamHints{
		stream: q.streams[workStream].(*jetStream), log: log, wait: hintWait,
		kinds: map[jobs.KindName]jetstream.Consumer{},
	}
	shards, err := q.shardCount(ctx, c.Shards)
	if err != nil {
		return nil, err
	}
	if err := q.openShards(ctx, shards, c.Limits, replicas); err != nil {
		return nil, err
	}
	if q.embedded != nil {
		// The lock on the folder says that whoever held these leases is gone.
		leases := q.streams[leasesStream]
		state, err := leases.state(ctx)
		if err == nil && state.messages > 0 {
			err = leases.purge(ctx, state.last+1)
		}
		if err != nil {
			return nil, fmt.Errorf("forget the leases of the process before: %w", err)
		}
	}
	return q, nil
}

func (q *Queue) connect(c Config) (err error) {
	if c.URL == "" {
		// What all streams may hold together, and room for what the server keeps beside them.
		store := limitBytes(c.Limits.Deliveries, defaultDeliveries)
		for _, p := range policies(c.Limits) {
			store += p.maxBytes
		}
		if q.embedded, err = startEmbedded(c.Embedded.Dir, store*2, q.log); err != nil {
			return err
		}
		if q.conn, err = q.embedded.connect(); err != nil {
			return fmt.Errorf("connect to the embedded NATS server: %w", err)
		}
		return nil
	}
	opts := []nats.Option{
		nats.Name("slipway"), nats.MaxReconnects(-1), nats.ReconnectWait(time.Second), nats.Timeout(5 * time.Second),
		nats.PingInterval(20 * time.Second),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				q.log.Warn("the connection to NATS broke; trying again", "error", err)
			}
		}),
		nats.ReconnectHandler(func(conn *nats.Conn) {
			q.log.Info("connected to NATS again", "server", conn.ConnectedServerName())
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			q.log.Warn("NATS reports a problem", "error", err)
		}),
	}
	if c.CredentialsFile != "" {
		opts = append(opts, nats.UserCredentials(c.CredentialsFile))
	}
	if c.CAFile != "" {
		opts = append(opts, nats.RootCAs(c.CAFile))
	}
	if q.conn, err = nats.Connect(c.URL, opts...); err != nil {
		return fmt.Errorf("queue.url: connect to NATS at %s: %w", c.URL, err)
	}
	if v := q.conn.ConnectedServerVersion(); !q.conn.HeadersSupported() || older(v, 2, 12) {
		return fmt.Errorf("queue.url: the NATS server is version %s; Slipway needs 2.12 or later", v)
	}
	return nil
}

// older tells whether a version such as "2.15.2" is below major.minor.
func older(version string, major, minor int) bool {
	var haveMajor, haveMinor int
	if _, err := fmt.Sscanf(strings.TrimPrefix(version, "v"), "%d.%d", &haveMajor, &haveMinor); err != nil {
		return false // a build of one's own; the server will say what it can't do
	}
	return haveMajor < major || haveMajor == major && haveMinor < minor
}

func (q *Queue) openStreams(ctx context.Context, policies []policy, replicas int) error {
	opened := make([]*jetStream, len(policies))
	var g errgroup.Group
	g.SetLimit(4)
	for i, p := range policies {
		// An external server may get replicas one day, which such a stream can't have.
		p.async = p.async && q.embedded != nil
		g.Go(func() (err error) {
			opened[i], err = openStream(ctx, q.js, p, replicas)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i, p := range policies {
		q.streams[p.name] = opened[i]
	}
	return nil
}

// shardCount returns over how many streams deliveries are spread, and fixes it when the queue is new.
func (q *Queue) shardCount(ctx context.Context, asked int) (int, error) {
	const key = "shards"
	facts := Set[int](q, factsStream)
	_, err := facts.Create(ctx, key, cmp.Or(asked, defaultShards))
	if err != nil && !errors.Is(err, jobs.ErrExists) {
		return 0, fmt.Errorf("fix the number of shards: %w", err)
	}
	stored, _, err := facts.Get(ctx, key)
	if err != nil {
		return 0, fmt.Errorf("read the number of shards: %w", err)
	}
	if stored < 1 || stored > maxShards || asked != 0 && asked != stored {
		return 0, fmt.Errorf("queue.shards: the queue was created with %d shards, which can't be changed to %d; "+
			"put %[1]d, or leave it out", stored, asked)
	}
	return stored, nil
}

func (q *Queue) openShards(ctx context.Context, n int, l Limits, replicas int) error {
	var ps []policy
	for i := range n {
		ps = append(ps, shardPolicy(i, n, l))
	}
	if err := q.openStreams(ctx, ps, replicas); err != nil {
		return err
	}
	q.setShards(ps)
	return nil
}

func (q *Queue) setShards(ps []policy) {
	for _, p := range ps {
		q.shards = append(q.shards, q.streams[p.name])
		q.shardLimit = p.maxBytes
	}
}

// Memory returns a queue that forgets everything with the process. It needs no Close.
func Memory() *Queue { return memory(Limits{}, slog.New(slog.DiscardHandler)) }

func memory(l Limits, log *slog.Logger) *Queue {
	q := &Queue{log: log, streams: map[string]stream{}, hints: newMemoryHints()}
	var shards []policy
	for i := range defaultShards {
		shards = append(shards, shardPolicy(i, defaultShards, l))
	}
	for _, p := range append(policies(l), shards...) {
		q.streams[p.name] = newMemoryStream(p)
	}
	q.setShards(shards)
	return q
}

// Close ends the connection and, when the server is embedded, stops it and frees its folder. End everything that
// uses the queue before.
func (q *Queue) Close(ctx context.Context) error {
	if q.conn != nil {
		q.conn.Close()
	}
	if q.embedded == nil {
		return nil
	}
	stopped := make(chan error, 1)
	go func() { stopped <- q.embedded.stop() }()
	select {
	case err := <-stopped:
		return err
	case <-ctx.Done():
		return fmt.Errorf("stop the embedded NATS server: %w", ctx.Err())
	}
}

// Healthy tells why the queue can't be used now, or nil.
func (q *Queue) Healthy(ctx context.Context) error {
	if e := q.embedded; e != nil && !e.server.JetStreamEnabled() {
		return fmt.Errorf("%w: the embedded server switched its storage off; the log tells why, most often a full disk",
			ErrUnavailable)
	}
	for _, s := range append([]stream{q.streams[string(Meta)]}, q.shards...) {
		if _, err := s.state(ctx); err != nil {
			return err
		}
	}
	return nil
}

// tail is the stream's follow that goes on after errors, until ctx is done.
func (q *Queue) tail(ctx context.Context, s stream, r reading) iter.Seq[message] {
	return func(yield func(message) bool) {
		for wait := time.Second; ctx.Err() == nil; wait = min(2*wait, 30*time.Second) {
			for m, err := range s.follow(ctx, r) {
				if err != nil {
					q.log.Warn("reading a stream was interrupted and goes on", "error", err, "again_in", wait)
					break
				}
				r.from, wait = m.seq+1, time.Second
				if !yield(m) {
					return
				}
			}
			select {
			case <-time.After(wait):
			case <-ctx.Done():
			}
		}
	}
}
