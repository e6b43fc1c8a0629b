package jobs

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// What a record store answers when it is not simply done. Everything else is trouble of the store's.
var (
	ErrNotFound = errors.New("no such record")
	ErrExists   = errors.New("record exists already")
	ErrConflict = errors.New("record was changed by another")
)

// Records is a keyed set of records that change only by create-once and compare-and-swap (invariant 3).
// A key is made of letters, digits, '-', '_' and '.'.
type Records[T any] interface {
	// Get returns the record and its revision, or ErrNotFound.
	Get(ctx context.Context, key string) (T, uint64, error)
	// Create stores a record that must not exist yet, or answers ErrExists. It returns when the record is on disk.
	Create(ctx context.Context, key string, value T) (revision uint64, err error)
	// Update replaces the record if revision is still its newest, or answers ErrConflict.
	Update(ctx context.Context, key string, value T, revision uint64) (uint64, error)
}

// A Set is Records that can also be listed, watched and removed.
type Set[T any] interface {
	Records[T]
	// Delete removes the record if revision is still its newest, or answers ErrConflict. A missing record is fine.
	Delete(ctx context.Context, key string, revision uint64) error
	// All calls each for every record, in no order, until each returns an error, which All then returns. A record that
	// changes meanwhile may come twice; one that can't be read is named in the error, after all others came.
	All(ctx context.Context, each func(key string, value T, revision uint64) error) error
	// Watch sends the key of every record that is created, changed or removed from now on, until ctx is done; then
	// the channel is closed. It may send a key more than once and may miss some while the store is out of reach:
	// whoever watches also sweeps.
	Watch(ctx context.Context) (<-chan string, error)
}

// Change applies edit to the record and stores it, again from the newest revision when another was faster. edit must
// be repeatable. When edit returns ErrUnchanged nothing is stored and Change succeeds.
func Change[T any](ctx context.Context, records Records[T], key string, edit func(*T) error) (T, error) {
	for {
		value, revision, err := records.Get(ctx, key)
		if err != nil {
			return value, err
		}
		if err := edit(&value); errors.Is(err, ErrUnchanged) {
			return value, nil
		} else if err != nil {
			return value, err
		}
		_, err = records.Update(ctx, key, value, revision)
		if errors.Is(err, ErrConflict) {
			continue
		}
		if err != nil {
			return value, fmt.Errorf("store %s: %w", key, err)
		}
		return value, nil
	}
}

// Upsert is Change for a record that may not exist yet: edit is given the zero value then. edit must not return ErrNotFound.
func Upsert[T any](ctx context.Context, records Records[T], key string, edit func(*T) error) (T, error) {
	for {
		value, err := Change(ctx, records, key, edit)
		if !errors.Is(err, ErrNotFound) {
			return value, err
		}
		var made T
		if err := edit(&made); errors.Is(err, ErrUnchanged) {
			return made, nil
		} else if err != nil {
			return made, err
		}
		if _, err = records.Create(ctx, key, made); !errors.Is(err, ErrExists) {
			if err != nil {
				err = fmt.Errorf("store %s: %w", key, err)
			}
			return made, err
		}
	}
}

// ErrUnchanged is what an edit returns to Change and Upsert when the record is right as it is.
var ErrUnchanged = errors.New("unchanged")

// Leases are keys with a time to live that one holder keeps by renewing.
type Leases interface {
	// Acquire takes the lease if nobody holds it, or answers ErrExists. The revision fences the holder: it grows
	// with every change of hands.
	Acquire(ctx context.Context, key, holder string, ttl time.Duration) (revision uint64, err error)
	// Renew extends a lease still held at revision, or answers ErrConflict: it is lost.
	Renew(ctx context.Context, key, holder string, ttl time.Duration, revision uint64) (uint64, error)
	// Release gives the lease up if it is still held at revision.
	Release(ctx context.Context, key string, revision uint64) error
	// Holder tells who holds the lease, or ErrNotFound.
	Holder(ctx context.Context, key string) (string, error)
}

// A Hint says that a job may be ready. It carries no state: the receiver reads the run.
type Hint struct {
	Kind KindName `json:"kind"`
	Run  string   `json:"run"`
	Job  string   `json:"job"`
}

// Hints carry work to workers. Losing or doubling one costs time, never truth.
type Hints interface {
	// Offer makes a hint available; one that lies there already is replaced.
	Offer(ctx context.Context, hint Hint) error
	// Take waits for a hint of the kind. The receiver calls ack once it has claimed the job or seen that there is
	// nothing to claim; a hint never acked is offered again after a while. When the store is out of reach it errs at once.
	Take(ctx context.Context, kind KindName) (hint Hint, ack func(context.Context) error, err error)
}

// Deliveries are the stored webhook requests as the planner reads them.
type Deliveries interface {
	// Follow calls handle for every delivery that is not yet known to be decided, and for new ones as they come,
	// until ctx is done. Several run at once; order is not promised. When handle returns nil the delivery is done
	// and will not be seen again, unless the process dies soon after. On an error it is handed over again later.
	Follow(ctx context.Context, handle func(context.Context, Delivery) error) error
}

// LogKey names the log of one attempt of one job.
type LogKey struct {
	Run     string
	Job     string
	Attempt int
}

// A LogChunk is a piece of a job's log, whole lines only.
type LogChunk struct {
	Seq   uint64    `json:"seq"`   // grows within a log
	First int       `json:"first"` // number of the chunk's first line, from 1
	Time  time.Time `json:"time"`
	Lines []string  `json:"lines"`
	Last  bool      `json:"last,omitempty"` // nothing follows
}

// A LogRange says what to read of a log. The zero value is all that is stored.
type LogRange struct {
	// Tail begins with the last so many of the stored lines; the chunk that has the first of them is cut. 0 begins
	// with the first line.
	Tail int
	// Follow goes on with the chunks to come, until one marked Last.
	Follow bool
}

// Logs keep what jobs print.
type Logs interface {
	// Append adds a chunk. It may return before the chunk is on disk.
	Append(ctx context.Context, key LogKey, chunk LogChunk) error
	// Read calls each with the chunks in order, until ctx's end or an error from each, which it then returns.
	Read(ctx context.Context, key LogKey, what LogRange, each func(LogChunk) error) error
}
