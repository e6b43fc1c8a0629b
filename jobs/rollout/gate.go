package rollout

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ci/slipway/deploy"
	"github.com/slipway-ci/slipway/jobs"
)

// maxAwaited bounds how long a rollout waits for the checks that its environments require.
const maxAwaited = 24 * time.Hour

// A Record is what one attempt of a job rolled out before it began to wait for the checks of a further environment. While it waits,
// others may roll out to the environments before, or take them back: what is in here is not done again.
type Record struct {
	Steps []RecordedStep `json:"steps"` // the first of the job's, in its order
}

// A RecordedStep is one release that was rolled out to one cluster.
type RecordedStep struct {
	Environment string         `json:"environment"`
	Cluster     string         `json:"cluster"`
	Namespace   string         `json:"namespace"`
	Release     string         `json:"release"`
	Outcome     deploy.Outcome `json:"outcome"`
}

// gates keep a commit from environments whose required checks it has not passed.
type gates struct {
	*kind
	task     jobs.Task
	required map[string][]string // by environment
	passed   []string            // environments
	before   []done
	revision uint64 // of the record; 0 when there is none
}

// gates reads what the environments of the steps require, and what was rolled out before the job waited.
func (k *kind) gates(ctx context.Context, task jobs.Task, steps []step) (*gates, error) {
	g := &gates{kind: k, task: task, required: map[string][]string{}}
	for _, s := range steps {
		if grant, _ := environment(task.Grant, s.environment); len(grant.RequiredChecks) > 0 {
			g.required[s.environment] = grant.RequiredChecks
		}
	}
	if len(g.required) == 0 {
		return g, nil
	}
	if k.Checks == nil || k.Records == nil {
		return nil, errors.New("environments require checks, and nothing tells how they stand")
	}
	record, revision, err := k.Records.Get(ctx, g.key())
	if err != nil && !errors.Is(err, jobs.ErrNotFound) {
		return nil, fmt.Errorf("read what was rolled out before: %w", err)
	}
	g.revision = revision
	for i, r := range record.Steps {
		if i >= len(steps) || r.Environment != steps[i].environment || r.Cluster != steps[i].cluster ||
			r.Namespace != steps[i].release.Namespace || r.Release != steps[i].release.Name {
			// The operator's clusters changed meanwhile: from here on each release itself tells whether it is there.
			break
		}
		g.before = append(g.before, done{steps[i], r.Outcome})
	}
	return g, nil
}

func (g *gates) key() string {
	return fmt.Sprintf("%s.%s.%d", g.task.Run.ID, g.task.Job, g.task.Attempt)
}

// reached is what need not be done again.
func (g *gates) reached() []done {
	for _, d := range g.before {
		if !slices.Contains(g.passed, d.environment) {
			g.passed = append(g.passed, d.environment)
		}
	}
	return slices.Clone(g.before)
}

// pass lets a commit into an environment, ends the job, or lets it wait. all is what was rolled out so far.
func (g *gates) pass(ctx context.Context, environment string, all []done) (*jobs.Result, error) {
	awaited := g.required[environment]
	if len(awaited) == 0 || slices.Contains(g.passed, environment) {
		return nil, nil
	}
	verdict, err := jobs.LookAtChecks(ctx, g.Checks, g.task, awaited)
	if err != nil {
		return nil, err
	}
	result := jobs.Result{Details: verdict.Table()}
	if len(all) > 0 {
		result.Details += "\n" + details(all)
		result.Outputs = map[string]any{OutputEnvironments: strings.Join(reached(all, environment), ",")}
	}
	waited := time.Duration(0)
	if !g.task.Began.IsZero() {
		waited = g.Now().Sub(g.task.Began)
	}
	switch {
	case verdict.Lost(awaited):
		result.Conclusion = jobs.Failure
		result.Summary = fmt.Sprintf("not rolled out to %s, which requires these checks: %s", environment, verdict.Sentence())
	case !verdict.Open():
		fmt.Fprintf(g.task.Log, "%s: %s, as it requires\n", environment, verdict)
		g.passed = append(g.passed, environment)
		return nil, g.task.Resume(ctx)
	case waited >= maxAwaited:
		result.Conclusion = jobs.TimedOut
		result.Summary = fmt.Sprintf("not rolled out to %s, which requires checks that did not come within a day: %s", environment, verdict)
	default:
		if err := g.remember(ctx, all); err != nil {
			return nil, err
		}
		result.Summary = fmt.Sprintf("%s waits for %s", environment, verdict)
		return nil, &jobs.Later{After: min(g.Polling.After(waited), maxAwaited-waited), Reason: result.Summary, Progress: &result}
	}
	fmt.Fprintln(g.task.Log, result.Summary)
	return &result, nil
}

// remember stores what was rolled out, before the job waits.
func (g *gates) remember(ctx context.Context, all []done) error {
	if len(all) == len(g.before) {
		return nil
	}
	var record Record
	for _, d := range all {
		d.outcome.Notes = jobs.Cut(d.outcome.Notes, maxNotes)
		record.Steps = append(record.Steps, RecordedStep{d.environment, d.cluster, d.release.Namespace, d.release.Name, d.outcome})
	}
	var err error
	if g.revision == 0 {
		_, err = g.Records.Create(ctx, g.key(), record)
	} else {
		_, err = g.Records.Update(ctx, g.key(), record, g.revision)
	}
	if err != nil {
		return fmt.Errorf("note what was rolled out so far: %w", err)
	}
	return nil
}
