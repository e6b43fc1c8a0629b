package jobs_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

func TestAFollowerListsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		watches, lists := 0, 0
		var ended atomic.Int32
		var told, troubles []string
		follower := jobs.Follower{
			Watch: func(ctx context.Context) (<-chan string, error) {
				if watches++; watches == 1 {
					return nil, errors.New("no watch")
				}
				changes := make(chan string)
				go func() {
					defer close(changes)
					select {
					case changes <- "a":
						<-ctx.Done()
					case <-ctx.Done():
					}
					ended.Add(1)
				}()
				return changes, nil
			},
			List: func(context.Context) error {
				if lists++; lists == 1 || lists == 3 {
					return errors.New("no list")
				}
				return nil
			},
			Every: time.Minute, Changed: func(key string) { told = append(told, key) },
			Trouble: func(err error) { troubles = append(troubles, err.Error()) },
		}
		done := make(chan struct{})
		go func() { follower.Run(ctx); close(done) }()
		// The watch, the list, and after a minute the list again, fail once.
		time.Sleep(150 * time.Second) //nolint:forbidigo // the bubble's time
		synctest.Wait()
		if watches != 2 || lists != 5 || ended.Load() != 0 {
			t.Errorf("%d watches of which %d ended, %d lists; want 2, none and 5", watches, ended.Load(), lists)
		}
		if want := []string{"watch: no watch", "list: no list", "list: no list"}; !slices.Equal(troubles, want) {
			t.Errorf("troubles: %q, want %q", troubles, want)
		}
		if !slices.Equal(told, []string{"a"}) {
			t.Errorf("told of %q", told)
		}
		cancel()
		<-done // also when no list is due and nothing changes
		synctest.Wait()
		if ended.Load() != 1 {
			t.Error("the watch goes on")
		}
	})
}

func TestAFollowerEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	follower := jobs.Follower{
		Watch:   func(context.Context) (<-chan string, error) { cancel(); return nil, errors.New("no watch") },
		Changed: func(string) {}, Trouble: func(error) {},
	}
	follower.Run(ctx) // returns
}
