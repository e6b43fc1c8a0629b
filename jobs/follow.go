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
	// List looks at all there is: once the watch stands, and every so often. Nil: somebody else does.
	List    func(context.Context) error
	Every   time.Duration
	Trouble func(error) // is told why the watch or List begins anew after a second
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

// round lasts as long as its watch. Another's begins with a list, so that nothing is missed between two.
func (f Follower) round(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	changes, err := f.Watch(ctx)
	if err != nil {
		return fmt.Errorf("watch: %w", err)
	}
	var due <-chan time.Time
	if f.List != nil {
		again := time.NewTicker(f.Every)
		defer again.Stop()
		due = again.C
		if err := f.List(ctx); err != nil {
			return fmt.Errorf("list: %w", err)
		}
	}
	for {
		select {
		case key, open := <-changes:
			if !open {
				return nil
			}
			f.Changed(key)
		case <-due:
			if err := f.List(ctx); err != nil {
				return fmt.Errorf("list: %w", err)
			}
		}
	}
}
