package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

// Leases returns the leases. A time to live counts in whole seconds, rounded up; a lease may be seen as held for up to
// two seconds after it ran out, never less than its time. An embedded queue forgets all leases when it is opened:
// whoever held one was the process before.
func (q *Queue) Leases() jobs.Leases { return leases{table{q.streams[leasesStream]}} }

type leases struct{ table table }

func lease(key, holder string, ttl time.Duration) writing {
	ttl = max((ttl+time.Second-1)/time.Second*time.Second, time.Second)
	return writing{subject: key, data: []byte(holder), ttl: ttl}
}

func (l leases) Acquire(ctx context.Context, key, holder string, ttl time.Duration) (uint64, error) {
	if err := checkKey(key); err != nil {
		return 0, err
	}
	revision, err := l.table.create(ctx, lease(key, holder, ttl))
	if err != nil {
		return 0, fmt.Errorf("acquire lease %s: %w", key, err)
	}
	return revision, nil
}

func (l leases) Renew(ctx context.Context, key, holder string, ttl time.Duration, revision uint64) (uint64, error) {
	if err := checkKey(key); err != nil {
		return 0, err
	}
	revision, err := l.table.update(ctx, lease(key, holder, ttl), revision)
	if err != nil {
		return 0, fmt.Errorf("renew lease %s: %w", key, err)
	}
	return revision, nil
}

// Release removes the very message that is the lease: when it was renewed or taken since, that message is gone
// already, and nothing happens.
func (l leases) Release(ctx context.Context, key string, revision uint64) error {
	if err := checkKey(key); err != nil {
		return err
	}
	m, err := l.table.last(ctx, key)
	if err == nil && m.seq == revision {
		err = l.table.remove(ctx, revision)
	}
	if err != nil && !errors.Is(err, errNoMessage) {
		return fmt.Errorf("release lease %s: %w", key, err)
	}
	return nil
}

func (l leases) Holder(ctx context.Context, key string) (string, error) {
	if err := checkKey(key); err != nil {
		return "", err
	}
	m, err := l.table.get(ctx, key)
	if err != nil {
		return "", fmt.Errorf("ask who holds lease %s: %w", key, err)
	}
	return string(m.data), nil
}
