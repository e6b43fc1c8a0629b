package queue

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/slipway-ci/slipway/jobs"
)

// MaxRecord is the largest record in bytes of JSON.
const MaxRecord = 512 << 10

// compressFrom is the size in bytes from which data is compressed.
const compressFrom = 64 << 10

// Headers of stored messages. The operation's name and value are those of NATS key-value buckets, so that the usual
// tools understand a deletion.
const (
	headerOperation = "KV-Operation"
	operationDelete = "DEL"
	headerEncoding  = "Content-Encoding"
	encodingGzip    = "gzip"
)

// markerTTL is how long the mark of a deletion stays, for watchers to see.
const markerTTL = time.Hour

// Set returns the bucket's records as values of type T, which must encode as JSON. Everyone who uses a bucket must
// use it with one type.
func Set[T any](q *Queue, b Bucket) jobs.Set[T] {
	s, ok := q.streams[string(b)]
	if !ok {
		panic(fmt.Sprintf("queue: no bucket %q", b)) // a bug in the caller: buckets are constants
	}
	return set[T]{table: table{s}, q: q}
}

type set[T any] struct {
	table table
	q     *Queue
}

func (s set[T]) Get(ctx context.Context, key string) (value T, revision uint64, err error) {
	if err := checkKey(key); err != nil {
		return value, 0, err
	}
	m, err := s.table.get(ctx, key)
	if err != nil {
		return value, 0, fmt.Errorf("get %s: %w", key, err)
	}
	if err := decode(m, &value); err != nil {
		return value, 0, fmt.Errorf("get %s: %w", key, err)
	}
	return value, m.seq, nil
}

func (s set[T]) Create(ctx context.Context, key string, value T) (uint64, error) {
	w, err := encode(key, value)
	if err != nil {
		return 0, fmt.Errorf("create %s: %w", key, err)
	}
	revision, err := s.table.create(ctx, w)
	if err != nil {
		return 0, fmt.Errorf("create %s: %w", key, err)
	}
	return revision, nil
}

func (s set[T]) Update(ctx context.Context, key string, value T, revision uint64) (uint64, error) {
	w, err := encode(key, value)
	if err != nil {
		return 0, fmt.Errorf("update %s: %w", key, err)
	}
	revision, err = s.table.update(ctx, w, revision)
	if err != nil {
		return 0, fmt.Errorf("update %s: %w", key, err)
	}
	return revision, nil
}

func (s set[T]) Delete(ctx context.Context, key string, revision uint64) error {
	if err := checkKey(key); err != nil {
		return err
	}
	if err := s.table.delete(ctx, key, revision); err != nil {
		return fmt.Errorf("delete %s: %w", key, err)
	}
	return nil
}

// All may hand over a record twice when it changes meanwhile. A record that can't be decoded is left out, and the
// error at the end names it.
func (s set[T]) All(ctx context.Context, each func(key string, value T, revision uint64) error) error {
	// A record that changes meanwhile moves to the stream's end, so it is read to where the end is then.
	var bad []error
	for m, err := range s.table.read(ctx, reading{from: 1, to: caughtUp}) {
		if err != nil {
			return fmt.Errorf("read all records: %w", err)
		}
		if deleted(m) {
			continue
		}
		var value T
		if err := decode(m, &value); err != nil {
			bad = append(bad, fmt.Errorf("read %s: %w", m.subject, err)) // one must not hide the others
			continue
		}
		if err := each(m.subject, value, m.seq); err != nil {
			return err
		}
	}
	return errors.Join(append(bad, ctx.Err())...)
}

func (s set[T]) Watch(ctx context.Context) (<-chan string, error) {
	state, err := s.table.state(ctx)
	if err != nil {
		return nil, fmt.Errorf("watch records: %w", err)
	}
	keys := make(chan string, 64)
	go func() {
		defer close(keys)
		for m := range s.q.tail(ctx, s.table.stream, reading{from: state.last + 1, headersOnly: true}) {
			select {
			case keys <- m.subject:
			case <-ctx.Done():
				return
			}
		}
	}()
	return keys, nil
}

// A table is a stream that keeps one message per subject, used as a map with revisions.
type table struct{ stream }

func deleted(m message) bool { return m.header.Get(headerOperation) != "" }

func (t table) get(ctx context.Context, key string) (message, error) {
	m, err := t.last(ctx, key)
	if errors.Is(err, errNoMessage) || err == nil && deleted(m) {
		return message{}, jobs.ErrNotFound
	}
	return m, err
}

// create stores w under a key that holds nothing, or only the mark of a deletion.
func (t table) create(ctx context.Context, w writing) (uint64, error) {
	w.expect = 0
	for {
		seq, err := t.write(ctx, w)
		if !errors.Is(err, errMismatch) {
			return seq, err
		}
		m, err := t.last(ctx, w.subject)
		switch {
		case errors.Is(err, errNoMessage): // gone in between
			w.expect = 0
		case err != nil:
			return 0, err
		case !deleted(m):
			return 0, jobs.ErrExists
		default:
			w.expect = int64(m.seq)
		}
	}
}

func (t table) update(ctx context.Context, w writing, revision uint64) (uint64, error) {
	if revision == 0 {
		return 0, jobs.ErrConflict
	}
	w.expect = int64(revision)
	seq, err := t.write(ctx, w)
	if errors.Is(err, errMismatch) {
		return 0, jobs.ErrConflict
	}
	return seq, err
}

func (t table) delete(ctx context.Context, key string, revision uint64) error {
	if revision != 0 {
		_, err := t.write(ctx, writing{
			subject: key, expect: int64(revision), ttl: markerTTL,
			header: nats.Header{headerOperation: {operationDelete}},
		})
		if !errors.Is(err, errMismatch) {
			return err
		}
	}
	switch _, err := t.get(ctx, key); {
	case errors.Is(err, jobs.ErrNotFound):
		return nil
	case err != nil:
		return err
	}
	return jobs.ErrConflict
}

// encode makes a value the message to be stored under the key.
func encode(key string, value any) (writing, error) {
	if err := checkKey(key); err != nil {
		return writing{}, err
	}
	data, err := json.Marshal(value)
	if err != nil {
		return writing{}, fmt.Errorf("encode: %w", err)
	}
	if len(data) > MaxRecord {
		return writing{}, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(data), MaxRecord)
	}
	w := writing{subject: key, data: data, expect: anySeq}
	if len(data) > compressFrom {
		w.data = compress(data)
		w.header = nats.Header{headerEncoding: {encodingGzip}}
	}
	return w, nil
}

func decode(m message, value any) error {
	data := m.data
	if m.header.Get(headerEncoding) == encodingGzip {
		var err error
		if data, err = decompress(data, MaxRecord); err != nil {
			return fmt.Errorf("decompress: %w", err)
		}
	}
	if err := json.Unmarshal(data, value); err != nil {
		return fmt.Errorf("decode: %w", err)
	}
	return nil
}

func compress(data []byte) []byte {
	var b bytes.Buffer
	b.Grow(len(data) / 4)
	w, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err == nil {
		_, err = w.Write(data)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		panic(err) // a buffer takes everything, and the level is a constant
	}
	return b.Bytes()
}

// decompress undoes compress and refuses to return more than limit bytes.
func decompress(data []byte, limit int) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	out, err := io.ReadAll(io.LimitReader(r, int64(limit)+1))
	if err != nil {
		return nil, err
	}
	if len(out) > limit {
		return nil, fmt.Errorf("more than %d bytes", limit)
	}
	return out, nil
}
