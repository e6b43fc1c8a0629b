package dispatch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

// A Record is how far one attempt of a dispatch job has come: what is to be asked of GitHub is in it before it is asked.
type Record struct {
	Run string `json:"run"` // of ours, with Job
	Job string `json:"job"`

	// What is asked for.
	Installation int64             `json:"installation"`
	Repository   jobs.Repository   `json:"repository"`
	Workflow     string            `json:"workflow"` // file name
	Ref          string            `json:"ref"`      // as it is sent: a branch or tag
	Own          bool              `json:"own,omitempty"`
	Inputs       map[string]string `json:"inputs,omitempty"` // until the workflow run is known
	Digest       string            `json:"digest"`           // of the inputs, without the mark
	Mark         string            `json:"mark,omitempty"`   // among the inputs; "" when the workflow offers no place for one
	// Earlier says what became of the workflow run of the attempt before: "taken", or that it was left: "left".
	Earlier string `json:"earlier,omitempty"`
	Note    string `json:"note,omitempty"` // a sentence about it for people
	Left    int64  `json:"left,omitempty"` // the workflow run that was left: it is not the one that is started then

	// The one request.
	Sent       time.Time   `json:"sent,omitzero"` // when it was about to be sent; zero while it surely was not
	Seen       int64       `json:"seen,omitempty"`
	Unknown    bool        `json:"unknown,omitempty"` // for good
	Candidates []Candidate `json:"candidates,omitempty"`

	// The workflow run.
	ID      int64  `json:"id,omitempty"`
	URL     string `json:"url,omitempty"`
	Claimed bool   `json:"claimed,omitempty"`
	Attempt int    `json:"attempt,omitempty"` // that is followed
	// Another attempt that was asked for, and when. It is 0 once GitHub has answered.
	Want    int       `json:"want,omitempty"`
	Asked   time.Time `json:"asked,omitzero"`
	Retries int       `json:"retries,omitempty"`
	Again   bool      `json:"again,omitempty"` // it is to be run again as soon as it is over
	NoRetry string    `json:"no_retry,omitempty"`

	// How it is followed.
	Print    string         `json:"print,omitempty"` // of what was known last
	Heard    time.Time      `json:"heard,omitzero"`  // when something new was known, or GitHub was asked
	Quiet    time.Duration  `json:"quiet,omitempty"` // how long nothing may be heard from then on
	Told     map[int64]Told `json:"told,omitempty"`  // what is in the log, by the ID of the workflow's job
	Waits    []Wait         `json:"waits,omitempty"`
	Reviewed string         `json:"reviewed,omitempty"` // Print when they were asked for
	Orders   []string       `json:"orders,omitempty"`   // causes of those that were carried out, or were about to be
	Answer   string         `json:"answer,omitempty"`   // about the last of them

	// How it ends.
	Moved     string          `json:"moved,omitempty"` // the commit that the workflow run is on, when that is not the job's
	Overdue   bool            `json:"overdue,omitempty"`
	Cancelled bool            `json:"cancelled,omitempty"` // by us, or that was tried
	Became    string          `json:"became,omitempty"`    // what the workflow run became by it
	Ended     jobs.Conclusion `json:"ended,omitempty"`
	Why       string          `json:"why,omitempty"` // it ended without having started anything: the summary
}

// A Candidate is a workflow run that may be the one that was asked for.
type Candidate struct {
	ID      int64     `json:"id"`
	URL     string    `json:"url"`
	Title   string    `json:"title"`
	Created time.Time `json:"created"`
}

// Told is what the log says of a workflow's job.
type Told struct {
	Stands string `json:"stands"`
	Steps  int    `json:"steps,omitempty"` // that have ended
}

// A Wait is an environment that the workflow run waits to be let into.
type Wait struct {
	ID    int64     `json:"id"`
	Name  string    `json:"name"`
	Since time.Time `json:"since"` // when it was shown: nobody can have meant it before
}

// recordKey is the key of the Record of a job. A further attempt of a job is in a run of its own.
func recordKey(run, job string) string { return "job." + run + "." + job }

// settled reports whether the job needs its lane no more.
func (r Record) settled() bool { return r.Unknown || r.ID != 0 && r.Claimed || r.Ended != "" }

// branch is the name of the branch or tag.
func (r Record) branch() string { return bare(r.Ref) }

// bare is a ref's name as GitHub's lists have it.
func bare(ref string) string {
	for _, prefix := range []string{"refs/heads/", "refs/tags/"} {
		if name, ok := strings.CutPrefix(ref, prefix); ok {
			return name
		}
	}
	return ref
}

// last is what is known of the workflow run from the record alone.
func (r Record) last() jobs.WorkflowRun {
	return jobs.WorkflowRun{ID: r.ID, Attempt: r.Attempt, URL: r.URL, Status: "queued"}
}

func (r Record) deadline(timeout time.Duration) time.Time { return r.Sent.Add(timeout) }

// errOvertaken means that the job is at two places at once, for a moment: the other one goes on.
var errOvertaken = errors.New("another worker goes on with the job")

// open reads what a call goes by.
func (k *kind) open(ctx context.Context, task jobs.Task) (*session, error) {
	s := &session{kind: k, task: task}
	var err error
	if s.spec, s.timeout, err = decode(task.Spec); err != nil {
		return nil, err
	}
	s.rec, s.revision, err = k.Records.Get(ctx, recordKey(task.Run.ID, task.Job))
	if err != nil && !errors.Is(err, jobs.ErrNotFound) {
		return nil, fmt.Errorf("read how far the dispatch has come: %w", err)
	}
	return s, nil
}

// save stores the record. Whoever can't must not go on.
func (s *session) save(ctx context.Context) error {
	key := recordKey(s.task.Run.ID, s.task.Job)
	var revision uint64
	var err error
	if s.revision == 0 {
		revision, err = s.Records.Create(ctx, key, s.rec)
	} else {
		revision, err = s.Records.Update(ctx, key, s.rec, s.revision)
	}
	if errors.Is(err, jobs.ErrExists) || errors.Is(err, jobs.ErrConflict) {
		return fmt.Errorf("note how far the dispatch has come: %w", errOvertaken)
	}
	if err != nil {
		return fmt.Errorf("note how far the dispatch has come: %w", err)
	}
	s.revision = revision
	return nil
}

// digest makes a short name of texts.
func digest(texts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(texts, "\x00")))
	return hex.EncodeToString(sum[:10])
}
