package dispatch

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

// maxCandidates bounds the workflow runs that are looked through.
const maxCandidates = 50

// maxShown bounds those that are shown when it stays unclear.
const maxShown = 10

// markForm matches every mark of ours.
var markForm = regexp.MustCompile(`\bslipway-[0-9a-f]{20}\b`)

// find looks for the workflow run that a request without a clear answer started. What others claimed is not it, nor is what was started
// before or long after. A workflow that takes a mark shows it. Of one that takes none the only run left is it, once it stayed the only
// one for a while: dispatches of the same workflow on the same ref wait for each other, so that there is no other of ours on its way.
func (s *session) find(ctx context.Context) (*jobs.Result, error) {
	candidates, sure, err := s.candidates(ctx)
	if err != nil {
		return nil, err
	}
	age, first := s.Now().Sub(s.rec.Sent), false
	if !sure && len(candidates) == 1 {
		first = s.rec.Seen != candidates[0].ID
		sure = !first && age >= s.Settle
		s.rec.Seen = candidates[0].ID
	} else if !sure {
		s.rec.Seen = 0
	}
	switch {
	case sure:
		found, err := s.take(ctx, candidates[0])
		if found || err != nil {
			return nil, err
		}
	case age >= s.Search && !first: // who could not look before looks twice, too
		s.rec.Unknown, s.rec.Inputs, s.rec.Candidates = true, nil, nil
		for _, c := range candidates[:min(len(candidates), maxShown)] {
			s.rec.Candidates = append(s.rec.Candidates, Candidate{c.ID, c.URL, c.Title, c.Created})
		}
		if err := s.save(ctx); err != nil {
			return nil, err
		}
		return s.unknown(), s.leave(ctx)
	}
	if err := s.save(ctx); err != nil {
		return nil, err
	}
	var after time.Duration
	switch {
	case s.rec.Seen != 0 && age < s.Settle:
		after = s.Settle - age
	case age < s.Search:
		after = min(max(s.Settle/2, time.Second), s.Search-age)
	default:
		after = max(s.Settle, time.Second)
	}
	reason := fmt.Sprintf("looks for the workflow run of %s that GitHub was asked for at %s", s.rec.Workflow, s.rec.Sent.UTC().Format(time.TimeOnly))
	return nil, &jobs.Later{After: after, Reason: reason, Progress: &jobs.Result{
		Summary: reason, Details: "GitHub's answer did not name the workflow run. It is looked for, and not started again.\n" + listed(shown(candidates)),
	}}
}

func shown(runs []jobs.WorkflowRun) (list []Candidate) {
	for _, r := range runs[:min(len(runs), maxShown)] {
		list = append(list, Candidate{r.ID, r.URL, r.Title, r.Created})
	}
	return list
}

// candidates are the workflow runs that may be this job's. sure says that the first is.
func (s *session) candidates(ctx context.Context) (list []jobs.WorkflowRun, sure bool, err error) {
	r := s.rec
	login, err := s.Starter.BotLogin(ctx)
	if err != nil {
		return nil, false, fmt.Errorf("ask who we are: %w", err)
	}
	from, to := r.Sent.Add(-s.Skew), r.Sent.Add(s.Search)
	runs, err := s.Runs.WorkflowRuns(ctx, r.Installation, r.Repository, jobs.WorkflowFilter{
		Workflow: r.Workflow, Branch: r.branch(), Event: "workflow_dispatch", Actor: login, Since: from.Truncate(time.Second),
	}, maxCandidates)
	if err != nil {
		return nil, false, fmt.Errorf("look for the workflow run of %s: %w", r.Workflow, err)
	}
	for _, run := range runs {
		if run.ID == r.Left || run.Created.Before(from.Truncate(time.Second)) || run.Created.After(to) || run.Branch != "" && run.Branch != r.branch() {
			continue
		}
		owner, _, err := s.owner(ctx, run.ID)
		switch {
		case err != nil:
			return nil, false, err
		case s.mine(owner), r.Mark != "" && owner == (Lane{}) && strings.Contains(run.Title, r.Mark):
			return []jobs.WorkflowRun{run}, true, nil
		case r.Mark != "" || owner != (Lane{}) || markForm.MatchString(run.Title):
			continue
		}
		list = append(list, run)
	}
	return list, false, nil
}

// take claims a workflow run that was found. Another may have been faster; then it was not ours.
func (s *session) take(ctx context.Context, run jobs.WorkflowRun) (bool, error) {
	claimed, err := s.claim(ctx, run.ID, "")
	if err != nil || !claimed {
		s.rec.Seen = 0
		return false, err
	}
	s.rec.ID, s.rec.URL, s.rec.Attempt, s.rec.Claimed, s.rec.Inputs = run.ID, run.URL, max(run.Attempt, 1), true, nil
	if err := s.save(ctx); err != nil {
		return false, err
	}
	fmt.Fprintf(s.task.Log, "found: workflow run %d\n", run.ID)
	if _, err := s.learn(ctx, run); err != nil {
		return false, err
	}
	return true, s.leave(ctx)
}

// unknown is the end of a job whose request may have been carried out or not.
func (s *session) unknown() *jobs.Result {
	r := s.rec
	return &jobs.Result{
		Conclusion: jobs.Failure,
		Summary: fmt.Sprintf("It is unknown whether %s was started on %s in %s: GitHub's answer did not tell, and no workflow run is surely this one. "+
			"It is not started again; look on GitHub, and run the job again if it is missing.",
			r.Workflow, r.branch(), r.Repository.FullName()),
		Details: "Asked at " + r.Sent.UTC().Format(time.RFC3339) + ".\n" + listed(r.Candidates),
	}
}

// listed shows workflow runs that may be the one.
func listed(candidates []Candidate) string {
	if len(candidates) == 0 {
		return "\nNo workflow run was found that could be it.\n"
	}
	var b strings.Builder
	b.WriteString("\nIt may be one of these:\n\n")
	for _, c := range candidates {
		fmt.Fprintf(&b, "- %s, started %s\n", link(fmt.Sprintf("%s (%d)", c.Title, c.ID), c.URL), c.Created.UTC().Format(time.RFC3339))
	}
	return b.String()
}
