package dispatch_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/jobs"
	"github.com/slipway-ci/slipway/jobs/dispatch"
	"github.com/slipway-ci/slipway/pipeline"
	"github.com/slipway-ci/slipway/queue"
)

const sha = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

// world is GitHub, a store, a clock and jobs that any worker may be called about.
type world struct {
	*testing.T
	clock     time.Time
	github    *github
	records   jobs.Set[dispatch.Record]
	lanes     jobs.Set[dispatch.Lane]
	workflows jobs.Set[jobs.WorkflowRun]
	reviews   dispatch.Reviews // the github's, unless a test has others
	deaf      bool             // no delivery comes
	log       bytes.Buffer
}

func newWorld(t *testing.T) *world {
	w := &world{T: t, clock: time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)}
	w.github = newGitHub(t, func() time.Time { return w.clock })
	w.reviews = w.github
	q := queue.Memory()
	trap := func(point string) { w.github.trap(point) }
	w.records = store[dispatch.Record]{queue.Set[dispatch.Record](q, queue.Dispatches), "record", trap}
	w.lanes = store[dispatch.Lane]{queue.Set[dispatch.Lane](q, queue.Dispatches), "lane", trap}
	w.workflows = store[jobs.WorkflowRun]{queue.Set[jobs.WorkflowRun](q, queue.Workflows), "workflow", trap}
	return w
}

// store is records with a trap before and after each write.
type store[T any] struct {
	jobs.Set[T]
	name string
	trap func(string)
}

func (s store[T]) Create(ctx context.Context, key string, value T) (stored uint64, err error) {
	defer catch(&err)
	s.trap("create " + s.name)
	stored, err = s.Set.Create(ctx, key, value)
	s.trap("created " + s.name)
	return stored, err
}

func (s store[T]) Update(ctx context.Context, key string, value T, revision uint64) (stored uint64, err error) {
	defer catch(&err)
	s.trap("update " + s.name)
	stored, err = s.Set.Update(ctx, key, value, revision)
	s.trap("updated " + s.name)
	return stored, err
}

func (s store[T]) Delete(ctx context.Context, key string, revision uint64) (err error) {
	defer catch(&err)
	s.trap("delete " + s.name)
	err = s.Set.Delete(ctx, key, revision)
	s.trap("deleted " + s.name)
	return err
}

// kind is what a worker calls: it has no memory of its own.
func (w *world) kind() jobs.Stopper {
	g := w.github
	return dispatch.New(dispatch.Options{
		Repositories: g, Files: g, Starter: g, Runs: g, Control: g, Reviews: w.reviews, Reports: g, Artifacts: g,
		Records: w.records, Lanes: w.lanes, Workflows: w.workflows,
		Allows: pipeline.Allows,
		Check: func(file jobs.WorkflowFile, inputs map[string]any) (map[string]string, string) {
			prepared := map[string]string{}
			for name, value := range inputs {
				if name == "wrong" {
					return nil, "hello.yaml takes no input wrong"
				}
				prepared[name] = fmt.Sprint(value)
			}
			return prepared, ""
		},
		Marker: func(file jobs.WorkflowFile) string {
			if strings.Contains(string(file.Content), "slipway_run") {
				return "slipway_run"
			}
			return ""
		},
		Page: func(repo jobs.Repository, run int64) string {
			return fmt.Sprintf("https://github.example/runs/%d", run)
		},
		Now: func() time.Time { return w.clock },
	}).(jobs.Stopper)
}

// task is the task of a job of run r-1 that greets in its name.
func (w *world) task(job, spec string) jobs.Task {
	return jobs.Task{
		Run: jobs.RunInfo{ID: "r-1", Installation: 3, Repository: jobs.Repository{ID: 5, Owner: "acme", Name: "shop", DefaultBranch: "main"},
			Event: jobs.EventPush, SHA: sha, Ref: "refs/heads/main", Branch: "main", Trust: jobs.Trust{Level: jobs.Trusted}},
		Job: job, Attempt: 1, Claim: "token", Spec: json.RawMessage(spec), Log: &w.log, Began: w.clock,
		Grant:  jobs.Grant{Workflows: []jobs.WorkflowGrant{{Repository: "acme/shop"}, {Repository: "acme/infra", Files: []string{"hello*"}, Refs: []string{"trunk"}}}},
		Newest: func(context.Context) (bool, string, error) { return true, "", nil },
		Watch:  func(context.Context, string, ...string) error { return nil },
	}
}

func hello(job string) string {
	return fmt.Sprintf(`{"workflow": "hello.yaml", "inputs": {"who": %q}}`, job)
}

// hear lets the deliveries about all workflow runs arrive.
func (w *world) hear() {
	w.Helper()
	if w.deaf {
		return
	}
	for _, run := range w.github.runs {
		news, key := w.github.state(run), jobs.WorkflowKey(run.repo, run.id)
		known, revision, err := w.workflows.Get(w.Context(), key)
		known.Learn(news)
		set := w.workflows.(store[jobs.WorkflowRun]).Set
		if errors.Is(err, jobs.ErrNotFound) {
			_, err = set.Create(w.Context(), key, known)
		} else if err == nil {
			_, err = set.Update(w.Context(), key, known, revision)
		}
		if err != nil {
			w.Fatal(err)
		}
	}
}

// errCrash is what a worker dies of.
var errCrash = errors.New("crash")

// call calls the kind once; a crash in it is an error.
func (w *world) call(task jobs.Task, stop *jobs.Stop) (result jobs.Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			died, ok := p.(error)
			if !ok || !errors.Is(died, errCrash) {
				panic(p)
			}
			err = errCrash
		}
	}()
	w.hear()
	if stop != nil {
		return w.kind().Stop(w.Context(), task, *stop)
	}
	return w.kind().Run(w.Context(), task)
}

// step calls it once, and lets the time pass that it wants to wait, of which deliveries leave at most ten seconds.
func (w *world) step(task jobs.Task) (*jobs.Result, *jobs.Later, error) {
	result, err := w.call(task, nil)
	var later *jobs.Later
	var refusal *jobs.Refusal
	switch {
	case err == nil:
		return &result, nil, nil
	case errors.As(err, &later):
		after := max(later.After, time.Second)
		if !w.deaf {
			after = min(after, 10*time.Second)
		}
		w.clock = w.clock.Add(after)
		return nil, later, nil
	case errors.As(err, &refusal):
		return &jobs.Result{Conclusion: jobs.Failure, Summary: refusal.Sentence}, nil, nil
	}
	w.clock = w.clock.Add(time.Second)
	return nil, nil, err
}

// finish calls a job until it has a result.
func (w *world) finish(task jobs.Task) jobs.Result {
	w.Helper()
	var last error
	for range 2000 {
		result, later, err := w.step(task)
		if result != nil {
			return *result
		}
		if later != nil {
			last = later
		} else {
			last = err
		}
	}
	w.Fatalf("%s does not end: %v", task.Job, last)
	return jobs.Result{}
}

// until calls a job until it waits for a reason that has the text, and returns how it waits.
func (w *world) until(task jobs.Task, text string) *jobs.Later {
	w.Helper()
	var said []string
	for range 400 {
		result, later, err := w.step(task)
		if result != nil {
			w.Fatalf("ended: %+v, want to wait: %q", result, text)
		}
		if later != nil && strings.Contains(later.Reason, text) {
			return later
		}
		said = append(said, fmt.Sprint(later, err))
	}
	w.Fatalf("never waits for %q but %q", text, said[len(said)-3:])
	return nil
}

// record is what is stored about a job.
func (w *world) record(task jobs.Task) dispatch.Record {
	w.Helper()
	r, _, err := w.records.Get(w.Context(), "job."+task.Run.ID+"."+task.Job)
	if err != nil && !errors.Is(err, jobs.ErrNotFound) {
		w.Fatal(err)
	}
	return r
}

// want fails the test unless a result is as expected.
func (w *world) want(result jobs.Result, conclusion jobs.Conclusion, summary string) {
	w.Helper()
	if result.Conclusion != conclusion || !strings.Contains(result.Summary, summary) {
		w.Errorf("%s: %q, want %s: %q\n%s\nlog:\n%s", result.Conclusion, result.Summary, conclusion, summary, result.Details, &w.log)
	}
}
