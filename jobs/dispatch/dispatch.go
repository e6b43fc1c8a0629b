package dispatch

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

// Files reads workflow files.
type Files interface {
	// File reads a file at a full SHA; found is false when there is none.
	File(ctx context.Context, installation int64, repo jobs.Repository, sha, path string) (data []byte, found bool, err error)
	// WorkflowFile reads a workflow's file at a branch or tag. What is not there is the file's Problem, not an error.
	WorkflowFile(ctx context.Context, installation int64, repo jobs.Repository, ref jobs.WorkflowRef) (jobs.WorkflowFile, error)
}

// A Starter starts workflows.
type Starter interface {
	// Dispatch starts a workflow and returns the ID of its run, or 0 when the server names none. A *jobs.Refusal and a *jobs.Later
	// mean that nothing was started; jobs.ErrUnclear that it may have been; any other error that it surely was not.
	Dispatch(ctx context.Context, installation int64, repo jobs.Repository, workflow, ref string, inputs map[string]string) (run int64, err error)
	// BotLogin is who GitHub says started what Dispatch did.
	BotLogin(ctx context.Context) (string, error)
}

// Runs tells how workflow runs stand.
type Runs interface {
	// WorkflowRuns lists runs, newest first.
	WorkflowRuns(ctx context.Context, installation int64, repo jobs.Repository, filter jobs.WorkflowFilter, limit int) ([]jobs.WorkflowRun, error)
	// WorkflowRun is a run as it is now, without its jobs. There being none is a *jobs.Refusal.
	WorkflowRun(ctx context.Context, installation int64, repo jobs.Repository, id int64) (jobs.WorkflowRun, error)
	WorkflowJobs(ctx context.Context, installation int64, repo jobs.Repository, run int64, attempt int) ([]jobs.WorkflowJob, error)
}

// A Control stops workflow runs and runs them again.
type Control interface {
	// CancelWorkflowRun asks for a run's end. That it is over already is a *jobs.Refusal.
	CancelWorkflowRun(ctx context.Context, installation int64, repo jobs.Repository, run int64) error
	RerunFailedJobs(ctx context.Context, installation int64, repo jobs.Repository, run int64) error
	RerunWorkflow(ctx context.Context, installation int64, repo jobs.Repository, run int64) error
}

// Reviews are the approvals that workflow runs wait for.
type Reviews interface {
	PendingDeployments(ctx context.Context, installation int64, repo jobs.Repository, run int64) ([]jobs.PendingDeployment, error)
	ApproveDeployments(ctx context.Context, installation int64, repo jobs.Repository, run int64, environments []int64, comment string) error
}

// Reports are what jobs of workflows say about their failure.
type Reports interface {
	// WorkflowLog returns the last lines of a job's log.
	WorkflowLog(ctx context.Context, installation int64, repo jobs.Repository, job int64, lines int) ([]string, error)
	WorkflowAnnotations(ctx context.Context, installation int64, repo jobs.Repository, check int64) ([]jobs.Annotation, error)
}

// Artifacts are the files that workflow runs leave behind.
type Artifacts interface {
	WorkflowArtifacts(ctx context.Context, installation int64, repo jobs.Repository, run int64) ([]jobs.WorkflowArtifact, error)
	// ArtifactFile returns the one file in an artifact. That there is not exactly one, or that it is too large, is a *jobs.Refusal.
	ArtifactFile(ctx context.Context, installation int64, repo jobs.Repository, artifact int64) (name string, content []byte, err error)
}

// Options are what the kind works with. A *githubapp.App is everything in the first block.
type Options struct {
	Repositories jobs.RepositoryFinder
	Files        Files
	Starter      Starter
	Runs         Runs
	Control      Control
	Reviews      Reviews
	Reports      Reports
	Artifacts    Artifacts

	Records   jobs.Records[Record]
	Lanes     jobs.Set[Lane]
	Workflows jobs.Records[jobs.WorkflowRun] // what deliveries told, under jobs.WorkflowKey

	// Allows reports whether a list of a grant's patterns allows a name.
	Allows func(patterns []string, name string) bool
	// Check holds inputs against what a workflow takes, and returns them as GitHub is sent them; the defaults of those that are
	// missing are GitHub's to fill in. A fault is a sentence.
	Check func(file jobs.WorkflowFile, inputs map[string]any) (prepared map[string]string, fault string)
	// Marker is the name of the input that a workflow offers for a mark by which its run is known again, or "".
	Marker func(file jobs.WorkflowFile) (input string)

	// Page is where people see a workflow run that GitHub has told nothing of yet but its ID; may be nil.
	Page func(repo jobs.Repository, run int64) string

	Polling jobs.Polling // of a workflow run that no delivery tells of
	// How long a workflow run without an ID is looked for, and when at the soonest the only one found counts.
	Search, Settle time.Duration // 0: 3 minutes, 20 seconds
	// Skew is how far GitHub's clock may be behind ours.
	Skew time.Duration // 0: 30 seconds
	Now  func() time.Time
}

// New returns the kind.
func New(o Options) jobs.Kind {
	o.Polling = o.Polling.OrDefault()
	o.Search, o.Settle, o.Skew = cmp.Or(o.Search, 3*time.Minute), cmp.Or(o.Settle, 20*time.Second), cmp.Or(o.Skew, 30*time.Second)
	if o.Now == nil {
		o.Now = time.Now
	}
	return &kind{o}
}

type kind struct{ Options }

var _ jobs.Stopper = (*kind)(nil)

// A session is one call about one job.
type session struct {
	*kind
	task     jobs.Task
	spec     jobs.DispatchSpec
	timeout  time.Duration
	rec      Record
	revision uint64    // of rec; 0 when it is not stored yet
	turn     time.Time // since when this call has the turn to dispatch
}

// Run takes the job's next step.
func (k *kind) Run(ctx context.Context, task jobs.Task) (jobs.Result, error) {
	s, err := k.open(ctx, task)
	if err != nil {
		return jobs.Result{}, err
	}
	result, err := s.advance(ctx)
	if err != nil {
		return jobs.Result{}, s.underway(err)
	}
	return *result, nil
}

// advance goes on until the job has a result, or an error says that it must wait or can't.
func (s *session) advance(ctx context.Context) (*jobs.Result, error) {
	for {
		var result *jobs.Result
		var err error
		switch {
		case s.rec.Unknown:
			return s.unknown(), nil
		case s.rec.ID != 0:
			result, err = s.follow(ctx)
		case !s.rec.Sent.IsZero():
			result, err = s.find(ctx)
		default:
			result, err = s.start(ctx)
		}
		if result != nil || err != nil {
			return result, err
		}
	}
}

// underway makes waiting for GitHub's limits look like what it is: a job that goes on outside.
func (s *session) underway(err error) error {
	var later *jobs.Later
	if !errors.As(err, &later) || later.Progress != nil || s.rec.ID == 0 {
		return err
	}
	return s.later(later.After, later.Reason, s.rec.last())
}
