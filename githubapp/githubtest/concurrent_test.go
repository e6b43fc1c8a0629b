package githubtest_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-github/v50/github"

	"github.com/slipway-ci/slipway/githubapp/githubtest"
)

// Everything at once: pushes, pull requests, checks, reads and looks from outside. The race detector does the judging.
func TestEverythingAtOnce(t *testing.T) {
	w := newWorld(t)
	ctx, client := t.Context(), w.client()
	const people, rounds = 6, 4
	var together sync.WaitGroup
	for person := range people {
		together.Go(func() {
			for round := range rounds {
				branch := fmt.Sprintf("topic-%d-%d", person, round)
				sha, err := w.repo.Commit(branch, "Topic", map[string]string{branch: "1"}, w.alice)
				if err != nil {
					t.Error(err)
					return
				}
				p, err := w.repo.OpenPull(githubtest.PullOptions{Head: branch, User: w.alice})
				if err != nil {
					t.Error(err)
					return
				}
				run, _, err := client.Checks.CreateCheckRun(ctx, "acme", "shop", github.CreateCheckRunOptions{Name: branch, HeadSHA: sha})
				if err != nil {
					t.Error(err)
					return
				}
				for _, try := range []func() error{
					func() error {
						_, _, err := client.Checks.UpdateCheckRun(ctx, "acme", "shop", run.GetID(), github.UpdateCheckRunOptions{Name: branch, Conclusion: github.String("success")})
						return err
					},
					func() error { _, _, err := client.PullRequests.Get(ctx, "acme", "shop", p.Number); return err },
					func() error {
						_, _, err := client.PullRequests.ListFiles(ctx, "acme", "shop", p.Number, nil)
						return err
					},
					func() error { _, err := p.Comment(w.alice, "hello"); return err },
				} {
					if err := try(); err != nil {
						t.Error(err)
					}
				}
				w.repo.CheckRuns("")
				w.Deliveries()
				w.Requests()
			}
		})
	}
	within, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	check(t, w.WaitFor(within, func() bool {
		done := 0
		for _, run := range w.repo.CheckRuns("") {
			if run.Conclusion == "success" {
				done++
			}
		}
		return done == people*rounds
	}))
	together.Wait()
	if got := w.CountRequests(func(r githubtest.Request) bool { return r.Operation == "checks/update" && r.Installation == w.inst.ID }); got != people*rounds {
		t.Errorf("%d updates were counted", got)
	}
	w.idle()
	for _, d := range w.Deliveries() {
		if d.Status != "OK" {
			t.Errorf("%s %s: %s", d.Event, d.Action, d.Status)
		}
	}
}
