package githubapp

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/githubapp/githubtest"
	"github.com/slipway-ci/slipway/jobs"
)

// named gives a run an ID of its own.
func named(id string, run jobs.Run) jobs.Run {
	run.ID = id
	return run
}

// entry is what an installation may still ask.
func (w *world) entry(installation int64) jobs.RateLimitState {
	w.t.Helper()
	for _, e := range w.app.RateLimits() {
		if e.Installation == installation {
			return e
		}
	}
	w.t.Fatalf("RateLimits lacks installation %d", installation)
	return jobs.RateLimitState{}
}

// TestAfterALimitFinalStatesComeFirst holds the order in which several runs are shown when GitHub takes calls again.
func TestAfterALimitFinalStatesComeFirst(t *testing.T) {
	d := newDesk(t)
	for name, failure := range map[string]githubtest.Failure{
		"secondary 403": {Kind: githubtest.SecondaryLimit, RetryAfter: time.Minute},
		"secondary 429": {Kind: githubtest.SecondaryLimit, Status: 429, RetryAfter: time.Minute},
		"primary 403":   {Kind: githubtest.PrimaryLimit, RetryAfter: time.Minute},
		"primary 429":   {Kind: githubtest.PrimaryLimit, Status: 429, RetryAfter: time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			id := strings.ReplaceAll(name, " ", "-")
			ends, goes, begins := d.of(named(id+"-ends", push(jobs.RunActive, image(jobs.JobQueued)))),
				d.of(named(id+"-goes", push(jobs.RunActive, image(jobs.JobQueued)))), d.of(named(id+"-begins", push(jobs.RunActive, image(jobs.JobQueued))))
			for _, run := range []jobs.Run{ends, goes} {
				d.settle(run)
			}
			d.clock.advance(progressEvery)
			ends = d.of(named(ends.ID, push(jobs.RunSucceeded, image(jobs.JobSucceeded))))
			goes = d.of(named(goes.ID, push(jobs.RunActive, image(jobs.JobRunning))))
			failure.Installation = d.inst.ID
			d.Fail(failure)
			all := []jobs.Run{goes, begins, ends} // the least important first
			report := func() (shown []string) {
				t.Helper()
				for _, run := range all {
					again, err := d.Report(t.Context(), run)
					var later *jobs.Later
					switch {
					case errors.As(err, &later) || err == nil && again > 0:
					case err != nil:
						t.Fatal(err)
					default:
						shown = append(shown, strings.TrimPrefix(run.ID, id+"-"))
					}
				}
				return shown
			}
			from := d.CountRequests(nil)
			report()
			if e := d.entry(d.inst.ID); !e.Limited() || e.Account != "acme" || e.Waiting != 3 || !strings.Contains(e.Reason, "rate limit") {
				t.Errorf("RateLimits says %+v", e)
			}
			if got := report(); got != nil {
				t.Errorf("while limited, %q are shown", got)
			}
			if n := d.CountRequests(nil) - from; n != 1 {
				t.Errorf("%d requests while limited", n)
			}
			var order []string
			for range 600 { // a minute and a bit, in steps of 250 ms
				for _, run := range report() {
					if !strings.Contains(strings.Join(order, " "), run) {
						order = append(order, run)
					}
				}
				d.clock.advance(250 * time.Millisecond)
			}
			if strings.Join(order, " ") != "ends begins goes" {
				t.Errorf("shown in the order %q", order)
			}
			if e := d.entry(d.inst.ID); e.Limited() || e.Waiting != 0 {
				t.Errorf("in the end RateLimits says %+v", e)
			}
		})
	}
}

// TestALimitSlowsNoOtherInstallation holds that what one installation may not ask keeps nobody else waiting.
func TestALimitSlowsNoOtherInstallation(t *testing.T) {
	d := newDesk(t)
	beside, sha := d.another("elsewhere/shop", githubtest.RepositoryOptions{})
	neighbour := d.gh.Install("elsewhere")
	other := d.of(named("other", push(jobs.RunSucceeded, image(jobs.JobSucceeded))))
	other.Installation, other.Repository, other.SHA = neighbour.ID, described(beside), sha
	ok(t, ended(d.Report(t.Context(), other)))

	d.Fail(githubtest.Failure{Kind: githubtest.SecondaryLimit, RetryAfter: 10 * time.Minute, Installation: d.inst.ID, Times: -1})
	for i := range 15 {
		_, err := d.Report(t.Context(), d.of(named(fmt.Sprint("mine-", i), push(jobs.RunSucceeded, image(jobs.JobSucceeded)))))
		var later *jobs.Later
		if !errors.As(err, &later) {
			t.Fatalf("got %v", err)
		}
		other.ID = fmt.Sprint("other-", i)
		ok(t, ended(d.Report(t.Context(), other)))
	}
	entries := d.app.RateLimits()
	if e := entries[0]; e.Installation != d.inst.ID || !e.Limited() || e.Waiting != 15 {
		t.Errorf("held back: %+v", e)
	}
	if e := d.entry(neighbour.ID); e.Limited() || e.Waiting != 0 || e.Account != "elsewhere" {
		t.Errorf("not held back: %+v", e)
	}
	if e := d.entry(0); e.Limited() || e.Limit == 0 {
		t.Errorf("the App itself: %+v", e)
	}
}

// ended is the error of a report that is to be complete.
func ended(again time.Duration, err error) error {
	if err == nil && again > 0 {
		return fmt.Errorf("not shown yet: again in %s", again)
	}
	return err
}

// TestAStormKeepsTheLimits shows many runs at once to a GitHub that enforces its secondary limits: it never has to refuse,
// what waits costs it nothing, and in the end all is shown.
func TestAStormKeepsTheLimits(t *testing.T) {
	d := newDesk(t, func(o *githubtest.Options) { o.SecondaryLimits = true })
	const runs = 240
	list := make([]jobs.Run, runs)
	for i := range list {
		list[i] = d.of(named(fmt.Sprint("r-", i), push(jobs.RunSucceeded, image(jobs.JobSucceeded))))
		if i%2 == 0 { // half of them are known to GitHub, under way
			d.settle(d.of(named(list[i].ID, push(jobs.RunActive, image(jobs.JobRunning)))))
		}
	}
	from, before := d.clock.Now(), d.CountRequests(nil)
	due := map[int]time.Time{} // as the leader's loop calls: when it was told to
	for i := range list {
		due[i] = from
	}
	for len(due) > 0 {
		next := from.Add(3 * time.Hour)
		for i := range list {
			at, open := due[i]
			if open && !at.After(d.clock.Now()) {
				again, err := d.Report(t.Context(), list[i])
				var later *jobs.Later
				switch {
				case errors.As(err, &later):
					again = max(later.After, time.Second)
				case err != nil:
					t.Fatal(err)
				case again == 0:
					delete(due, i)
					continue
				}
				at = d.clock.Now().Add(again)
				due[i] = at
			}
			if open && at.Before(next) {
				next = at
			}
		}
		if d.clock.Now().Sub(from) >= 2*time.Hour {
			t.Fatalf("%d of %d runs are not shown", len(due), runs)
		}
		if len(due) > 0 {
			d.clock.advance(next.Sub(d.clock.Now()))
		}
	}
	for _, call := range d.calls.all() {
		if call.Status == 403 || call.Status == 429 {
			t.Fatalf("GitHub refused %s with %d", call.Operation, call.Status)
		}
	}
	tokens := d.count("apps/create-installation-access-token")
	if n := d.CountRequests(nil) - before; n > runs+tokens {
		t.Errorf("%d requests for %d changes", n, runs)
	}
	t.Logf("%d runs took %s by the clock", runs, d.clock.Now().Sub(from))
}
