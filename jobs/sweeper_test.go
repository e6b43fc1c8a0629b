package jobs_test

import (
	"testing"
	"time"

	"github.com/slipway-ci/slipway/jobs"
	"github.com/slipway-ci/slipway/queue"
)

// Perhaps it is the job that kills its workers: each death counts, and costs a little more time than the one before.
func TestADeadWorkerIsTrouble(t *testing.T) {
	for name, c := range map[string]struct {
		job     jobs.Job
		state   jobs.JobState
		after   time.Duration
		summary string
	}{
		"the first":               {jobs.Job{}, jobs.JobQueued, time.Second, ""},
		"the fourth":              {jobs.Job{Troubles: 3}, jobs.JobQueued, 8 * time.Second, ""},
		"the ninth":               {jobs.Job{Troubles: 8}, jobs.JobQueued, 256 * time.Second, ""},
		"the tenth":               {jobs.Job{Troubles: 9}, jobs.JobFailed, 0, dead},
		"the tenth, stopped":      {jobs.Job{Troubles: 9, Stop: &jobs.Stop{}}, jobs.JobQueued, 5 * time.Minute, ""}, // and cancelled then
		"with work outside":       {jobs.Job{Parked: true, Outside: true, ResultKey: "progress"}, jobs.JobQueued, time.Second, ""},
		"the tenth, work outside": {jobs.Job{Parked: true, Outside: true, ResultKey: "progress", Troubles: 9}, jobs.JobFailed, 0, dead},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTown(t)
			runs := queue.Set[jobs.Run](w.q, queue.Runs)
			stop := c.job.Stop
			c.job.Stop = nil
			run := offered(c.job)
			if err := run.Claim("image", jobs.Claim{Token: "dead", Worker: "gone", Time: noon}); err != nil {
				t.Fatal(err)
			}
			run.Jobs[0].Stop = stop // asked for while it worked
			if _, err := runs.Create(t.Context(), run.ID, run); err != nil {
				t.Fatal(err)
			}
			now := noon.Add(time.Minute)
			s := &jobs.Sweeper{Runs: runs, Leases: w.q.Leases(), Hints: w.q.Hints(), Now: func() time.Time { return now }, Log: w.log}
			for range 2 { // the second time nothing is left to do
				if err := s.Sweep(t.Context(), func(string) {}); err != nil {
					t.Fatal(err)
				}
			}
			got, _, err := runs.Get(t.Context(), run.ID)
			if err != nil {
				t.Fatal(err)
			}
			j := got.Jobs[0]
			if j.State != c.state || j.Summary != c.summary || j.Claim != nil || j.Parked != c.job.Parked || j.Outside != c.job.Outside {
				t.Errorf("%+v", j)
			}
			if c.state == jobs.JobFailed {
				if j.ResultKey != c.job.ResultKey || !j.NotBefore.IsZero() || j.Finished != now {
					t.Errorf("%+v", j)
				}
			} else if after := j.NotBefore.Sub(now); after < c.after/2 || after >= c.after*3/2 || j.Troubles != c.job.Troubles+1 || j.Waiting != "its worker gone died" || j.ResultKey != c.job.ResultKey {
				t.Errorf("after %s: %+v", j.NotBefore.Sub(now), j)
			}
		})
	}
}

const dead = "its worker died while it ran, the last of 10 internal errors in Slipway. Retry later, or ask its operator: it may need more memory."
