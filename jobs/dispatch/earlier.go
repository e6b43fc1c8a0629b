package dispatch

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/slipway-ci/slipway/jobs"
)

// What became of the workflow run of the attempt before.
const (
	earlierTaken = "taken" // it is this job's now
	earlierLeft  = "left"  // a new one is started
)

// resume takes the workflow run of the attempt before over, when it was for the same and did not succeed: what failed in it is run
// again, or, when it still runs, it is followed.
func (s *session) resume(ctx context.Context) error {
	before, _, err := s.Records.Get(ctx, recordKey(s.task.Earlier, s.task.Job))
	switch {
	case errors.Is(err, jobs.ErrNotFound):
		return s.anew(ctx, "")
	case err != nil:
		return fmt.Errorf("read how far the attempt before came: %w", err)
	}
	s.rec.Left = before.ID // until it is taken
	switch {
	case before.ID == 0 || before.Moved != "" || before.Ended == jobs.Success || before.Ended == jobs.Neutral || before.Ended == jobs.Skipped:
		return s.anew(ctx, "")
	case before.Repository.ID != s.rec.Repository.ID || before.Workflow != s.rec.Workflow || before.Ref != s.rec.Ref:
		return s.anew(ctx, "It is started anew, because it is another workflow than the attempt before started.")
	case before.Digest != s.rec.Digest:
		return s.anew(ctx, "It is started anew, because its inputs are others than those of the attempt before.")
	}
	run, err := s.ask(ctx, before.ID)
	var refusal *jobs.Refusal
	if errors.As(err, &refusal) {
		return s.anew(ctx, "It is started anew, because the workflow run of the attempt before can't be read: "+refusal.Sentence)
	}
	if err != nil {
		return err
	}
	if run.Over() && !slices.Contains([]string{"failure", "cancelled", "timed_out"}, run.Conclusion) {
		return s.anew(ctx, "")
	}
	claimed, err := s.claim(ctx, before.ID, s.task.Earlier)
	if err != nil {
		return err
	}
	if !claimed {
		return s.anew(ctx, "It is started anew, because the workflow run of the attempt before is followed by another job.")
	}
	s.rec.ID, s.rec.URL, s.rec.Attempt, s.rec.Claimed = run.ID, run.URL, max(run.Attempt, 1), true
	s.rec.Sent, s.rec.Inputs, s.rec.Mark, s.rec.Earlier = s.Now(), nil, before.Mark, earlierTaken
	s.rec.Left = 0
	s.rec.Again = run.Over() || before.Cancelled // else it was only left alone, and goes on
	fmt.Fprintf(s.task.Log, "going on with the workflow run of the attempt before, %d\n", run.ID)
	return s.save(ctx)
}

// anew has a workflow run of the job's own started; why is for people.
func (s *session) anew(ctx context.Context, why string) error {
	s.rec.Earlier, s.rec.Note = earlierLeft, why
	if why != "" {
		fmt.Fprintln(s.task.Log, why)
	}
	return s.save(ctx)
}

// repeat runs a workflow run that was taken over again, once it is over. GitHub may refuse, such as after 30 days: then the job starts
// one of its own.
func (s *session) repeat(ctx context.Context, run jobs.WorkflowRun) error {
	ran := func(j jobs.WorkflowJob) bool { return !j.Started.IsZero() && bad(j.Conclusion) }
	began := slices.ContainsFunc(run.Jobs, ran)
	if !began { // or it was not heard of
		list, err := s.askJobs(ctx, run.Attempt)
		if err != nil {
			return err
		}
		began = slices.ContainsFunc(list, ran)
	}
	err := s.rerun(ctx, !began)
	var refusal *jobs.Refusal
	if !errors.As(err, &refusal) {
		return err
	}
	fresh := Record{
		Run: s.rec.Run, Job: s.rec.Job, Installation: s.rec.Installation, Repository: s.rec.Repository, Workflow: s.rec.Workflow, Ref: s.rec.Ref,
		Own: s.rec.Own, Earlier: earlierLeft, Left: s.rec.ID, Note: "It is started anew, because the attempt before can't be run again: " + refusal.Sentence,
	}
	s.rec = fresh // stored when it is whole
	file, err := s.file(ctx)
	if err != nil {
		return err
	}
	if err := s.check(file); err != nil {
		return err
	}
	fmt.Fprintln(s.task.Log, s.rec.Note)
	return s.save(ctx)
}

// rerun asks GitHub for another attempt of the workflow run: of the jobs that failed, or of the whole. That it was asked is written
// down first; an answer that does not come is sought in the run's own count of its attempts.
func (s *session) rerun(job context.Context, whole bool) error {
	ctx, cancel := context.WithTimeout(job, sending)
	defer cancel()
	before := s.rec
	s.rec.Want, s.rec.Asked, s.rec.Again = s.rec.Attempt+1, s.Now(), false
	if err := s.save(ctx); err != nil {
		return err
	}
	again, what := s.Control.RerunFailedJobs, "the failed jobs"
	if whole {
		again, what = s.Control.RerunWorkflow, "all jobs"
	}
	fmt.Fprintf(s.task.Log, "running %s of workflow run %d again\n", what, s.rec.ID)
	err := s.prompt(s.rec.Asked)
	if err == nil {
		err = again(ctx, s.rec.Installation, s.rec.Repository, s.rec.ID)
	}
	switch {
	case err == nil:
		return s.begin(job)
	case unclear(ctx, err):
		fmt.Fprintln(s.task.Log, "no clear answer came from GitHub; looking whether there is another attempt")
		return job.Err()
	}
	s.rec = before // surely nothing was done
	if noted := s.save(context.WithoutCancel(job)); noted != nil {
		return noted
	}
	return fmt.Errorf("run %s of workflow run %d again: %w", what, s.rec.ID, err)
}

// begin follows the attempt that was asked for.
func (s *session) begin(ctx context.Context) error {
	s.rec.Attempt, s.rec.Want, s.rec.Told, s.rec.Print, s.rec.Ended = s.rec.Want, 0, nil, "", ""
	s.rec.Heard, s.rec.Quiet = s.Now(), s.Polling.First
	return s.save(ctx)
}

// expect finds out whether an attempt that was asked for came to be. It returns the run as it is now.
func (s *session) expect(ctx context.Context, run jobs.WorkflowRun) (jobs.WorkflowRun, error) {
	if run.Attempt < s.rec.Want {
		asked, err := s.ask(ctx, s.rec.ID)
		if err != nil {
			return run, err
		}
		if run, err = s.learn(ctx, asked); err != nil {
			return run, err
		}
	}
	switch age := s.Now().Sub(s.rec.Asked); {
	case run.Attempt >= s.rec.Want:
		return run, s.begin(ctx)
	case age < s.Search:
		after := min(max(s.Settle/2, 1), s.Search-age)
		return run, s.later(after, fmt.Sprintf("looks whether GitHub runs %s again", s.name(run)), run)
	}
	s.rec.Want = 0
	s.rec.NoRetry = "It is not known whether GitHub was asked to run it again; it was not asked another time."
	return run, s.save(ctx)
}
