package queue

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"
	"github.com/nats-io/nats.go/jetstream"
)

// ErrInUse means that a process has the data folder open.
var ErrInUse = errors.New("another process uses the data folder")

// Probe tells whether a queue could be opened with c, without opening one or leaving anything behind: a NATS cluster must
// answer and have JetStream; a data folder must be writable, or make-able, and not be in use (ErrInUse).
func Probe(ctx context.Context, c Config) error {
	if err := c.Validate(); err != nil {
		return err
	}
	if c.URL == "" {
		return probeFolder(c.Embedded.Dir)
	}
	q := &Queue{log: slog.New(slog.DiscardHandler)}
	done := make(chan error, 1)
	go func() { done <- q.connect(c) }()
	select {
	case err := <-done:
		if q.conn != nil {
			defer q.conn.Close()
		}
		if err != nil {
			return err
		}
	case <-ctx.Done():
		go func() { // what is still trying is closed when it is done
			if err := <-done; err == nil && q.conn != nil {
				q.conn.Close()
			}
		}()
		return fmt.Errorf("queue.url: NATS at %s: %w", c.URL, ctx.Err())
	}
	js, err := jetstream.New(q.conn)
	if err != nil {
		return fmt.Errorf("queue.url: %w", err)
	}
	if _, err := js.AccountInfo(ctx); err != nil {
		return fmt.Errorf("queue.url: the NATS cluster answers, but has no JetStream for us: %w", err)
	}
	return nil
}

func probeFolder(dir string) error {
	info, err := os.Stat(dir)
	for errors.Is(err, fs.ErrNotExist) { // it is made at the first start, if what lies above lets us
		parent := filepath.Dir(dir)
		if parent == dir {
			break
		}
		dir = parent
		info, err = os.Stat(dir)
	}
	if err != nil {
		return fmt.Errorf("queue.embedded.dir: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("queue.embedded.dir: %s is not a folder", dir)
	}
	f, err := os.CreateTemp(dir, ".probe-")
	if err != nil {
		return fmt.Errorf("queue.embedded.dir: %w", err)
	}
	if err := errors.Join(f.Close(), os.Remove(f.Name())); err != nil {
		return fmt.Errorf("queue.embedded.dir: %w", err)
	}
	file := filepath.Join(dir, "lock")
	if _, err := os.Stat(file); err != nil {
		return nil // nobody has opened it yet
	}
	lock := flock.New(file)
	locked, err := lock.TryLock()
	if err != nil {
		return fmt.Errorf("queue.embedded.dir: the data folder %s can't be locked: %w", dir, err)
	}
	if !locked {
		return fmt.Errorf("%w %s", ErrInUse, dir)
	}
	return lock.Unlock()
}
