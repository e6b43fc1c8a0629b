package queue

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// askTimeout bounds every request to the server.
const askTimeout = 10 * time.Second

// jetStream is a stream on a NATS server.
type jetStream struct {
	js      jetstream.JetStream
	handle  jetstream.Stream
	subject string // what all its subjects start with, and a dot
	policy  policy
}

// stream returns the stream's name on the server, and what its subjects start with. Keyed streams are named as key-value buckets, so that tools show them so.
func (p policy) stream() (name, subject string) {
	if p.keyed && !p.work {
		return "KV_slipway_" + p.name, "$KV.slipway_" + p.name + "."
	}
	return "slipway_" + p.name, "slipway." + p.name + "."
}

// config is the stream as the server should have it.
func (p policy) config(replicas int) jetstream.StreamConfig {
	name, subject := p.stream()
	c := jetstream.StreamConfig{
		Name:        name,
		Subjects:    []string{subject + ">"},
		Storage:     jetstream.FileStorage,
		Replicas:    replicas,
		MaxAge:      p.maxAge,
		MaxBytes:    p.maxBytes,
		Discard:     jetstream.DiscardNew,
		AllowMsgTTL: true,
		// With several replicas a direct read may be answered by one that lags behind.
		AllowDirect: replicas == 1,
		Duplicates:  2 * time.Minute,
		MaxMsgs:     -1, MaxMsgSize: -1, MaxConsumers: -1, MaxMsgsPerSubject: -1,
	}
	if p.keyed {
		c.MaxMsgsPerSubject = 1
	}
	if p.dropOld {
		c.Discard = jetstream.DiscardOld
	}
	if p.work {
		c.Retention = jetstream.WorkQueuePolicy
	}
	if p.async {
		c.PersistMode = jetstream.AsyncPersistMode
	}
	return c
}

// openStream makes sure that the stream exists as its policy says. Limits are brought up to date; what would change
// how data is kept is refused.
func openStream(ctx context.Context, js jetstream.JetStream, p policy, replicas int) (*jetStream, error) {
	want := p.config(replicas)
	handle, err := js.CreateStream(ctx, want)
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		handle, err = updateStream(ctx, js, want)
	}
	if err != nil {
		return nil, fmt.Errorf("set up stream %s: %w", want.Name, err)
	}
	_, subject := p.stream()
	return &jetStream{js: js, handle: handle, subject: subject, policy: p}, nil
}

func updateStream(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig) (jetstream.Stream, error) {
	handle, err := js.Stream(ctx, want.Name)
	if err != nil {
		return nil, err
	}
	have := handle.CachedInfo().Config
	if have.Storage != want.Storage || have.Retention != want.Retention || have.MaxMsgsPerSubject != want.MaxMsgsPerSubject ||
		len(have.Subjects) != 1 || have.Subjects[0] != want.Subjects[0] {
		return nil, errors.New("a stream of this name exists and is not Slipway's, or keeps its data in another way; " +
			"use a NATS account of its own for Slipway, or move the stream away")
	}
	want.PersistMode = have.PersistMode // can't be changed
	return js.UpdateStream(ctx, want)
}

func (s *jetStream) write(ctx context.Context, w writing) (uint64, error) {
	m := &nats.Msg{Subject: s.subject + w.subject, Data: w.data, Header: maps.Clone(w.header)}
	opts := make([]jetstream.PublishOpt, 0, 3)
	if w.expect != anySeq {
		opts = append(opts, jetstream.WithExpectLastSequencePerSubject(uint64(w.expect)))
	}
	if w.ttl > 0 {
		opts = append(opts, jetstream.WithMsgTTL(w.ttl))
	}
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	ack, err := s.js.PublishMsg(ctx, m, opts...)
	if err != nil {
		return 0, s.explain(err)
	}
	return ack.Sequence, nil
}

func (s *jetStream) last(ctx context.Context, subject string) (message, error) {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	m, err := s.handle.GetLastMsgForSubject(ctx, s.subject+subject)
	return s.raw(m, err)
}

func (s *jetStream) get(ctx context.Context, seq uint64) (message, error) {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	m, err := s.handle.GetMsg(ctx, seq)
	return s.raw(m, err)
}

func (s *jetStream) raw(m *jetstream.RawStreamMsg, err error) (message, error) {
	if err != nil {
		return message{}, s.explain(err)
	}
	return message{
		subject: strings.TrimPrefix(m.Subject, s.subject), seq: m.Sequence, time: m.Time, header: m.Header, data: m.Data,
	}, nil
}

// heartbeat is how often the server shows that it still has our consumer; two missing ones end a follow.
const heartbeat = 2 * time.Second

// How many messages are asked for at once.
const (
	batchHeaders = 256
	batchBodies  = 32
)

func (r reading) batch() int {
	if r.headersOnly {
		return batchHeaders
	}
	return batchBodies
}

// consumer creates what the server needs to answer a reading: short-lived, in its memory, without acknowledgements.
func (s *jetStream) consumer(ctx context.Context, r reading) (jetstream.Consumer, func(), error) {
	filter := r.filter
	if filter == "" {
		filter = ">"
	}
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	c, err := s.js.CreateConsumer(ctx, s.handle.CachedInfo().Config.Name, jetstream.ConsumerConfig{
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       max(r.from, 1),
		FilterSubject:     s.subject + filter,
		AckPolicy:         jetstream.AckNonePolicy,
		HeadersOnly:       r.headersOnly,
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: 5 * time.Minute,
	})
	if err != nil {
		return nil, nil, s.explain(err)
	}
	info := c.CachedInfo()
	remove := func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		// When this does not get through, the server removes the consumer by itself.
		_ = s.js.DeleteConsumer(ctx, info.Stream, info.Name)
	}
	return c, remove, nil
}

func (s *jetStream) read(ctx context.Context, r reading) iter.Seq2[message, error] {
	return func(yield func(message, error) bool) {
		state, err := s.state(ctx)
		if err != nil {
			yield(message{}, err)
			return
		}
		if r.to == 0 {
			r.to = state.last + 1
		}
		if r.from = max(r.from, state.first); r.from >= r.to || state.messages == 0 {
			return
		}
		c, remove, err := s.consumer(ctx, r)
		if err != nil {
			yield(message{}, err)
			return
		}
		defer remove()
		s.drain(ctx, c, r, yield)
	}
}

// drain yields what the consumer has up to the reading's end.
func (s *jetStream) drain(ctx context.Context, c jetstream.Consumer, r reading, yield func(message, error) bool) {
	pending, received := c.CachedInfo().NumPending, uint64(0)
	for pending > 0 {
		if err := ctx.Err(); err != nil {
			yield(message{}, err)
			return
		}
		batch, err := c.FetchNoWait(r.batch())
		if err != nil {
			yield(message{}, s.explain(err))
			return
		}
		before := received
		for m := range batch.Messages() {
			msg, meta, err := s.message(m)
			if received++; err == nil && meta.Sequence.Consumer != received {
				err = fmt.Errorf("%w: messages were lost on the way", ErrUnavailable)
			}
			if err != nil {
				yield(message{}, err)
				return
			}
			if pending = meta.NumPending; msg.seq >= r.to || !yield(msg, nil) {
				return
			}
		}
		if err := batch.Error(); err != nil {
			yield(message{}, s.explain(err))
			return
		}
		if received == before { // what was pending has gone, or the server is slow
			ask, cancel := withTimeout(ctx)
			info, err := c.Info(ask)
			cancel()
			if err == nil && info.Delivered.Consumer != received {
				err = fmt.Errorf("%w: messages were lost on the way", ErrUnavailable)
			}
			if err != nil {
				yield(message{}, s.explain(err))
				return
			}
			pending = info.NumPending
		}
	}
}

func (s *jetStream) follow(ctx context.Context, r reading) iter.Seq2[message, error] {
	return func(yield func(message, error) bool) {
		c, remove, err := s.consumer(ctx, r)
		if err != nil {
			yield(message{}, err)
			return
		}
		defer remove()
		messages, err := c.Messages(jetstream.PullMaxMessages(r.batch()), jetstream.PullHeartbeat(heartbeat),
			jetstream.WithMessagesErrOnMissingHeartbeat(true))
		if err != nil {
			yield(message{}, s.explain(err))
			return
		}
		defer messages.Stop()
		for received := uint64(1); ; received++ {
			m, err := messages.Next(jetstream.NextContext(ctx))
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				yield(message{}, s.explain(err))
				return
			}
			msg, meta, err := s.message(m)
			if err == nil && meta.Sequence.Consumer != received {
				err = fmt.Errorf("%w: messages were lost on the way", ErrUnavailable)
			}
			if err != nil {
				yield(message{}, err)
				return
			}
			if !yield(msg, nil) {
				return
			}
		}
	}
}

func (s *jetStream) message(m jetstream.Msg) (message, *jetstream.MsgMetadata, error) {
	meta, err := m.Metadata()
	if err != nil {
		return message{}, nil, fmt.Errorf("read a message's place: %w", err)
	}
	return message{
		subject: strings.TrimPrefix(m.Subject(), s.subject), seq: meta.Sequence.Stream, time: meta.Timestamp,
		header: m.Headers(), data: m.Data(),
	}, meta, nil
}

func (s *jetStream) remove(ctx context.Context, seq uint64) error {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	err := s.explain(s.handle.DeleteMsg(ctx, seq))
	if errors.Is(err, errNoMessage) {
		return nil
	}
	return err
}

func (s *jetStream) purge(ctx context.Context, below uint64) error {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	return s.explain(s.handle.Purge(ctx, jetstream.WithPurgeSequence(below)))
}

func (s *jetStream) state(ctx context.Context) (streamState, error) {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	info, err := s.handle.Info(ctx)
	if err != nil {
		return streamState{}, s.explain(err)
	}
	return streamState{
		first: info.State.FirstSeq, last: info.State.LastSeq, messages: info.State.Msgs, bytes: info.State.Bytes,
		created: info.Created,
	}, nil
}

// limit leaves room for headers, and for a body to come back in base64 within the server's largest payload.
func (s *jetStream) limit() int {
	return int(s.js.Conn().MaxPayload())/4*3 - 16<<10
}

// Codes of JetStream's API errors (nats-server, server/errors.json).
const (
	codeInsufficientResources = 10023
	codeStorageExceeded       = 10047
	codeMessageNotDeleted     = 10057
	codeStoreFailed           = 10077
)

// explain turns the server's and the client's errors into this package's.
func (s *jetStream) explain(err error) error {
	var api *jetstream.APIError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled), errors.Is(err, ErrUnavailable):
		return err
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return errNoMessage
	case errors.As(err, &api):
		switch api.ErrorCode {
		case jetstream.JSErrCodeStreamWrongLastSequence, jetstream.JSErrCodeStreamWrongLastSequenceConstant:
			return errMismatch
		case codeMessageNotDeleted:
			if strings.Contains(api.Description, "no message found") || strings.Contains(api.Description, "deleted") {
				return errNoMessage
			}
		case codeInsufficientResources, codeStorageExceeded:
			return fmt.Errorf("%w: stream %s: %s", ErrFull, s.policy.name, api.Description)
		case codeStoreFailed:
			if strings.HasPrefix(api.Description, "maximum ") {
				return fmt.Errorf("%w: stream %s: %s", ErrFull, s.policy.name, api.Description)
			}
		}
	}
	return fmt.Errorf("%w: stream %s: %w", ErrUnavailable, s.policy.name, err)
}

func withTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, askTimeout)
}
