package githubapp_test

import (
	"fmt"
	"time"

	"github.com/slipway-ci/slipway/githubapp"
	"github.com/slipway-ci/slipway/jobs"
)

// What GitHub is to show for a run follows from the run alone.
func ExampleChecksOf() {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	run := jobs.Run{
		RunInfo: jobs.RunInfo{ID: "r-1", SHA: "3f2c0a1b2c3d4e5f60718293a4b5c6d7e8f90123", Branch: "main"},
		Outcome: jobs.OutcomeRun, State: jobs.RunActive, Created: at, Started: at,
		Jobs: []jobs.Job{
			{Name: "image", State: jobs.JobSucceeded, Started: at, Finished: at.Add(12 * time.Second), Summary: "Built and pushed 2 tags."},
			{Name: "release", State: jobs.JobRunning, Started: at.Add(13 * time.Second), Needs: []string{"image"}},
		},
	}
	for _, check := range githubapp.ChecksOf(run, nil) {
		fmt.Printf("%s: %s\n", check.Name, check.Title)
	}
	// Output:
	// slipway: 1 of 2 jobs done, running: release
	// slipway / image: Built and pushed 2 tags.
	// slipway / release: Running
}
