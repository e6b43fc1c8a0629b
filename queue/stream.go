package queue

import (
	"context"
	"errors"
	"iter"
	"math"
	"time"

	"github.com/nats-io/nats.go"
)

// What a write is refused with, beside the errors of package jobs.
var (
	// ErrFull means that a limit of the queue is reached and nothing may be dropped to make room.
	ErrFull = errors.New("the queue is full")
	// ErrUnavailable means that the queue did not answer. Whether a write took effect is not known; all writes may
	// be repeated.
	ErrUnavailable = errors.New("the queue is not available")
	// ErrTooLarge means that a record is above MaxRecord.
	ErrTooLarge = errors.New("the record is too large")
	// ErrBadKey means that a name can't be part of a key.
	ErrBadKey = errors.New("the key is malformed")
)

// What a stream answers within this package.
var (
	errNoMessage = errors.New("no such message")
	errMismatch  = errors.New("the subject's newest message is another")
)

// A message is one entry of a stream.
type message struct {
	subject string // without the stream's own prefix
	seq     uint64 // from 1; never comes back
	time    time.Time
	header  nats.Header
	data    []byte // empty when only headers were asked for
}

// A writing is a message to be stored.
type writing struct {
	subject string
	header  nats.Header
	data    []byte
	// expect is the sequence that the subject's newest message must have, 0 for none at all; anySeq if it may be
	// any. Otherwise the answer is errMismatch.
	expect int64
	// ttl, in whole seconds, is how long the message lives; 0 for as long as the stream keeps it.
	ttl time.Duration
}

const anySeq = -1

// A reading selects messages of a stream.
type reading struct {
	from        uint64 // first sequence
	to          uint64 // the sequence to stop before; 0: the end as it is now; caughtUp: the end when it is reached
	filter      string // subject with * and >, without the prefix; "" for all
	headersOnly bool
}

// caughtUp is the end of a reading that also sees what is written while it goes on.
const caughtUp = math.MaxUint64

// A stream is an ordered set of messages, each under a subject: the one thing everything in this package is built on.
type stream interface {
	// write stores a message and returns its sequence once it is as durable as the stream is made to be.
	write(ctx context.Context, w writing) (uint64, error)
	// last returns the subject's newest message, or errNoMessage.
	last(ctx context.Context, subject string) (message, error)
	// get returns the message with the sequence, or errNoMessage.
	get(ctx context.Context, seq uint64) (message, error)
	// read yields the selected messages in order. An error is the last thing it yields.
	read(ctx context.Context, r reading) iter.Seq2[message, error]
	// follow is read without an end: it goes on with the messages to come until ctx is done or it yields an error.
	// Its reading's `to` is not looked at.
	follow(ctx context.Context, r reading) iter.Seq2[message, error]
	// remove deletes one message for good; one that is gone is fine.
	remove(ctx context.Context, seq uint64) error
	// purge deletes all messages with a sequence below.
	purge(ctx context.Context, below uint64) error
	// state tells what the stream holds.
	state(ctx context.Context) (streamState, error)
	// limit is the largest data a message may carry, in bytes.
	limit() int
}

type streamState struct {
	first, last uint64 // last is that of the newest message ever stored, first the oldest still there
	messages    uint64
	bytes       uint64
	created     time.Time // tells this stream from one of the same name that was deleted
}
