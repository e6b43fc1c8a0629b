package jobs

import (
	"context"
	"fmt"
	"time"
)

// A Follower keeps up with a set of records: it hears of changes as they come, and lists what there is from time to time, since a watch
// may miss some.
type Follower struct {
	Watch   func(context.Context) (<-chan string, error) // a Set's
	Changed func(key string)
	// List goes through all records: when a watch begins, and every Every. Nil when changes alone will do.
	List    func(context.Context) error
	Every   time.Duration
	Trouble func(error) // is told why the watch or List is tried again
}

// Run follows until ctx is done.
func (f Follower) Run(ctx context.Context) {
	for ctx.Err() == nil {
		after := 100 * time.Millisecond
		if err := f.round(ctx); err != nil && ctx.Err() == nil {
			f.Trouble(err)
			after = time.Second
		}
		pause(ctx, after)
	}
}

// round follows one watch until it ends. The next round lists first, so that nothing between two watches is missed.
func (f Follower) round(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	changes, err := f.Watch(ctx)
	if err != nil {
		return fmt.Errorf("watch: %w", err)
	}
	due := time.NewTimer(0)
	defer due.Stop()
	if f.List == nil {
		due.Stop()
	}
	for failures := 0; ; {
		select {
		case key, open := <-changes:
			if !open {
				return nil
			}
			f.Changed(key)
		case <-due.C:
			err := f.List(ctx)
			if err == nil {
				failures = 0
				due.Reset(f.Every)
				continue
			}
			if ctx.Err() == nil {
				f.Trouble(fmt.Errorf("list: %w", err))
			}
			failures++ // a store that is away comes back; a record that can't be read stays
			due.Reset(backoff(failures, time.Second, f.Every))
		}
	}
}
