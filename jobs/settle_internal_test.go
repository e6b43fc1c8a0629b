package jobs

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestOutcome(t *testing.T) {
	var (
		away   = errors.New("connection refused\nmore of it")
		waits  = &Later{After: time.Millisecond, Reason: "another's turn"}
		parks  = &Later{After: time.Hour, Reason: "under way", Progress: &Result{}}
		no     = &Refusal{Sentence: "not granted", Cause: errors.New("policy")}
		stop   = &stopError{"cancelled by alice"}
		ended  = context.Canceled
		worked = Result{Conclusion: Success, Summary: "done"}
	)
	for name, c := range map[string]struct {
		job        Job
		err, cause error
		want       string
	}{
		"a result":                        {Job{}, nil, nil, "ends: success: done"},
		"a result in spite of a stop":     {Job{}, nil, stop, "ends: success: done"},
		"a result in spite of a shutdown": {Job{}, nil, ErrShutdown, "ends: success: done"},
		"a result of a lost claim":        {Job{}, nil, ErrClaimLost, "lost"},
		"a lost claim":                    {Job{}, ended, ErrClaimLost, "lost"},
		"a claim found lost":              {Job{}, ErrClaimLost, nil, "lost"},
		"stopped":                         {Job{}, ended, stop, "ends: cancelled: cancelled by alice"},
		"stopped with work outside":       {Job{Outside: true}, ended, stop, "back: it is being stopped after 0s"},
		"shut down":                       {Job{Troubles: 9}, ended, ErrShutdown, "back: its worker was shut down after 0s"},
		"parked":                          {Job{Outside: true}, parks, nil, "parked"},
		"waits":                           {Job{}, waits, nil, "back: another's turn after 1s, waiting: another's turn"},
		"refused":                         {Job{}, no, nil, "ends: failure: not granted (policy)"},
		"the first trouble": {Job{}, away, nil,
			"trouble, back: internal error in Slipway, retrying after 1s, internal error, retrying in 1s: connection refused"},
		"the ninth trouble": {Job{Troubles: 8}, away, nil,
			"trouble, back: internal error in Slipway, retrying after 4m16s, internal error, retrying in 4m16s: connection refused"},
		"the tenth trouble": {Job{Troubles: 9}, away, nil,
			"trouble, ends: failure: Slipway failed 10 times with internal errors. Retry later, or ask its operator. (connection refused)"},
	} {
		if got := fateText(outcome(c.job, worked, c.err, c.cause)); got != c.want {
			t.Errorf("%s:\n%s, want\n%s", name, got, c.want)
		}
	}
}

func fateText(f fate) string {
	var parts []string
	if f.trouble {
		parts = append(parts, "trouble")
	}
	switch {
	case f.lost:
		parts = append(parts, "lost")
	case f.park != nil:
		parts = append(parts, "parked")
	case f.back != nil:
		parts = append(parts, "back: "+f.back.why+" after "+f.back.after.String())
		if f.back.say != "" {
			parts = append(parts, f.back.say)
		}
	default:
		text := "ends: " + string(f.result.Conclusion) + ": " + f.result.Summary
		if f.result.Cause != "" {
			text += " (" + f.result.Cause + ")"
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, ", ")
}

func TestWhichRunWasEarlier(t *testing.T) {
	began := time.Now()
	for name, c := range map[string]struct {
		before Job
		want   string
	}{
		"it failed in the run before":                    {Job{State: JobFailed, Started: began, Earlier: "r-1"}, "r-2"},
		"the run before only took it over":               {Job{State: JobFailed, Started: began, Reused: true, ReusedFrom: "r-1"}, "r-1"},
		"it never began":                                 {Job{State: JobSkipped}, ""},
		"in the run before it did not begin":             {Job{State: JobSkipped, Earlier: "r-1"}, "r-1"},
		"the run before took over that it did not begin": {Job{State: JobSkipped, Reused: true, ReusedFrom: "r-1", Earlier: "r-0"}, "r-0"},
	} {
		c.before.Name, c.before.Attempt = "x", 2
		d := Decision{Again: &Again{Run: "r-2", Jobs: []string{"x"}}, Run: RunInfo{ID: "r-3"}, Plan: Plan{Jobs: []PlannedJob{{Name: "x", Planned: true}}}}
		r := nextRun(d, Run{RunInfo: RunInfo{ID: "r-2"}, Jobs: []Job{c.before}})
		if j := r.Jobs[0]; j.Earlier != c.want || j.Attempt != 3 || j.Reused || j.ReusedFrom != "" {
			t.Errorf("%s: %+v, want %q", name, j, c.want)
		}
	}
}
