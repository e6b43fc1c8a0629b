package await

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

// Bounds of a spec.
const (
	defaultTimeout = time.Hour
	maxTimeout     = 24 * time.Hour
	maxChecks      = 50
)

// Options are what the kind works with.
type Options struct {
	Checks  jobs.CommitChecks // a *githubapp.App is one
	Now     func() time.Time
	Polling jobs.Polling
}

// New returns the kind.
func New(o Options) jobs.Kind {
	o.Polling = o.Polling.OrDefault()
	if o.Now == nil {
		o.Now = time.Now
	}
	return &kind{o}
}

type kind struct{ Options }

// Run looks once how the checks stand, and ends or waits for news.
func (k *kind) Run(ctx context.Context, task jobs.Task) (jobs.Result, error) {
	spec, timeout, err := decode(task.Spec)
	if err != nil {
		return jobs.Result{}, err
	}
	run := task.Run
	verdict, err := jobs.LookAtChecks(ctx, k.Checks, task, spec.Checks)
	if err != nil {
		return jobs.Result{}, err
	}
	began, now := task.Began, k.Now()
	if began.IsZero() {
		began = now
	}
	result := jobs.Result{Summary: fmt.Sprintf("%s on %s", verdict, jobs.Abbreviate(run.SHA)), Details: verdict.Table()}
	left := began.Add(timeout).Sub(now)
	switch {
	case verdict.Lost(spec.Checks):
		result.Conclusion, result.Summary = jobs.Failure, verdict.Sentence()
	case !verdict.Open():
		result.Conclusion = jobs.Success
	case left <= 0:
		result.Conclusion = jobs.TimedOut
		result.Summary = fmt.Sprintf("waited %s: %s on %s", jobs.Duration(timeout), verdict, jobs.Abbreviate(run.SHA))
	default:
		reason := "waits for " + verdict.String()
		result.Summary = reason
		return jobs.Result{}, &jobs.Later{After: min(k.Polling.After(now.Sub(began)), left), Reason: reason, Progress: &result}
	}
	fmt.Fprintln(task.Log, result.Summary)
	return result, nil
}

func decode(data []byte) (spec jobs.AwaitSpec, timeout time.Duration, err error) {
	refuse := func(format string, args ...any) (jobs.AwaitSpec, time.Duration, error) {
		return spec, 0, &jobs.Refusal{Sentence: fmt.Sprintf(format, args...), Cause: err}
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err = d.Decode(&spec); err != nil {
		return refuse("the await spec of this run can't be read")
	}
	if len(spec.Checks) == 0 || len(spec.Checks) > maxChecks {
		return refuse("await names %d checks; it may name 1 to %d", len(spec.Checks), maxChecks)
	}
	if timeout = defaultTimeout; spec.Timeout != "" {
		timeout, err = time.ParseDuration(spec.Timeout)
		if err != nil || timeout <= 0 || timeout > maxTimeout {
			return refuse("the timeout %q of await is not a duration of at most %s", spec.Timeout, jobs.Duration(maxTimeout))
		}
	}
	return spec, timeout, nil
}
