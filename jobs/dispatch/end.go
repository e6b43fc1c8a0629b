package dispatch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/slipway-ci/slipway/jobs"
)

// Bounds of what is shown of a workflow run that has ended.
const (
	maxEnd         = 4 << 10 // bytes of its jobs and steps; artifacts and the like come on top
	maxExplained   = 3       // failed jobs whose annotations are carried over
	maxArtifacts   = 20      // shown
	maxArtifactIDs = 500     // bytes of the output that names them
)

// conclusions maps how a workflow run ended to how the job does. What is not in it is a failure.
var conclusions = map[string]jobs.Conclusion{
	"success": jobs.Success, "neutral": jobs.Neutral, "skipped": jobs.Skipped, "cancelled": jobs.Cancelled, "timed_out": jobs.TimedOut,
}

// identity are the outputs that say which workflow run it is.
func (s *session) identity() map[string]any {
	return map[string]any{OutputRunID: s.rec.ID, OutputRunURL: s.rec.URL}
}

// started ends a job that does not wait for the workflow run.
func (s *session) started(ctx context.Context, run jobs.WorkflowRun) (*jobs.Result, error) {
	result := jobs.Result{
		Conclusion: jobs.Success, Summary: fmt.Sprintf("%s was started on %s; nobody waits for its end", s.name(run), s.rec.branch()),
		Details: s.details(run, maxEnd), Outputs: s.identity(),
	}
	return s.ended(ctx, result)
}

// ended notes the end.
func (s *session) ended(ctx context.Context, result jobs.Result) (*jobs.Result, error) {
	if s.rec.Ended != result.Conclusion {
		s.rec.Ended = result.Conclusion
		if err := s.save(ctx); err != nil {
			return nil, err
		}
	}
	return &result, nil
}

// end turns the outcome of the workflow run into the job's.
func (s *session) end(ctx context.Context, run jobs.WorkflowRun) (*jobs.Result, error) {
	conclusion, ok := conclusions[run.Conclusion]
	if !ok {
		conclusion = jobs.Failure
	}
	failed := conclusion == jobs.Failure || conclusion == jobs.TimedOut
	if failed && !slices.ContainsFunc(run.Jobs, culprit) { // the run's end was heard of before its jobs'
		list, err := s.askJobs(ctx, run.Attempt)
		if err != nil {
			return nil, err
		}
		news := run
		news.Jobs = list
		if run, err = s.learn(ctx, news); err != nil {
			return nil, err
		}
	}
	result := jobs.Result{Conclusion: conclusion, Summary: s.sentence(run), Outputs: s.identity()}
	result.Outputs[OutputConclusion] = run.Conclusion
	var extra strings.Builder
	if failed {
		if err := s.explain(ctx, run, &result, &extra); err != nil {
			return nil, err
		}
	}
	if err := s.gather(ctx, &result, &extra); err != nil {
		return nil, err
	}
	result.Details = s.details(run, maxEnd) + extra.String()
	return s.ended(ctx, result)
}

// culprit reports whether a job spoiled its run. One that was cancelled is so only when there is no other.
func culprit(j jobs.WorkflowJob) bool { return bad(j.Conclusion) && j.Conclusion != "cancelled" }

// sentence says how the workflow run ended, and where.
func (s *session) sentence(run jobs.WorkflowRun) string {
	name := s.name(run)
	switch run.Conclusion {
	case "success":
		return name + " succeeded" + s.numbered()
	case "neutral":
		return name + " ended as neutral" + s.numbered()
	case "skipped":
		return name + " was skipped: none of its jobs were to run"
	case "cancelled":
		return name + " was cancelled on GitHub"
	}
	text := name + " failed"
	switch run.Conclusion {
	case "timed_out":
		text = name + " took longer than GitHub lets it"
	case "startup_failure":
		text = name + " could not be started by GitHub; is its file right?"
	case "action_required":
		text = name + " was not carried out: GitHub asks somebody to approve it first"
	case "stale":
		text = name + " was given up by GitHub, because it made no progress for two weeks"
	}
	var names []string
	for _, j := range run.Jobs {
		if culprit(j) {
			names = append(names, jobs.Cut(line(j.Name), maxName))
		}
	}
	if len(names) > 0 {
		text += ": job " + names[0]
		if step := failedStep(run.Jobs); step != "" {
			text += " in step " + step
		}
		if len(names) > 1 {
			text += ", and " + plural(len(names)-1, "more job")
		}
	}
	return text + s.numbered() + "; see " + cmp.Or(run.URL, s.where())
}

// numbered names the attempt when it is not the first.
func (s *session) numbered() string {
	if s.rec.Attempt > 1 {
		return fmt.Sprintf(" (attempt %d)", s.rec.Attempt)
	}
	return ""
}

// failedStep is the first failed step of the first failed job.
func failedStep(list []jobs.WorkflowJob) string {
	at := slices.IndexFunc(list, culprit)
	if at < 0 {
		return ""
	}
	for _, step := range list[at].Steps {
		if bad(step.Conclusion) {
			return jobs.Cut(line(step.Name), maxName)
		}
	}
	return ""
}

// explain adds the end of the first failed job's log, and what failed jobs said about files. What can't be read is told, and no
// reason to keep the outcome back.
func (s *session) explain(ctx context.Context, run jobs.WorkflowRun, result *jobs.Result, extra *strings.Builder) error {
	explained := 0
	for _, j := range run.Jobs {
		if !culprit(j) || explained == maxExplained {
			continue
		}
		if explained++; explained == 1 {
			tail, err := s.Reports.WorkflowLog(ctx, s.rec.Installation, s.rec.Repository, j.ID, jobs.MaxTail)
			if err = mild(ctx, err); err != nil {
				return err
			}
			result.Tail = tail
			for _, l := range tail {
				fmt.Fprintf(s.task.Log, "  | %s\n", line(l))
			}
			if len(tail) == 0 {
				fmt.Fprintf(extra, "\nThe log of %s can't be read from here; it is on GitHub.\n", text(jobs.Cut(j.Name, maxName)))
			}
		}
		if !s.rec.Own || len(result.Annotations) >= jobs.MaxAnnotations {
			continue // those of elsewhere are about other files
		}
		list, err := s.Reports.WorkflowAnnotations(ctx, s.rec.Installation, s.rec.Repository, j.ID)
		if err = mild(ctx, err); err != nil {
			return err
		}
		for _, a := range list {
			if len(result.Annotations) < jobs.MaxAnnotations {
				a.Title = cmp.Or(a.Title, jobs.Cut(j.Name, maxName))
				result.Annotations = append(result.Annotations, a)
			}
		}
	}
	return nil
}

// mild lets an error pass that only makes the explanation poorer. Waiting for GitHub's limits is worth it, and so is a shutdown's handing on.
func mild(ctx context.Context, err error) error {
	var later *jobs.Later
	if errors.As(err, &later) {
		return err
	}
	return ctx.Err()
}

// gather lists the artifacts, and takes the outputs from theirs.
func (s *session) gather(ctx context.Context, result *jobs.Result, extra *strings.Builder) error {
	artifacts, err := s.Artifacts.WorkflowArtifacts(ctx, s.rec.Installation, s.rec.Repository, s.rec.ID)
	var refusal *jobs.Refusal
	if errors.As(err, &refusal) {
		fmt.Fprintf(extra, "\nIts artifacts can't be listed: %s\n", text(refusal.Sentence))
		return nil
	}
	if err != nil {
		return fmt.Errorf("list the artifacts of workflow run %d: %w", s.rec.ID, err)
	}
	var names []string
	var left *jobs.WorkflowArtifact // the newest that holds outputs: an attempt before may have left one, too
	for i, a := range artifacts {
		if a.Name == OutputsArtifact && !a.Expired && (left == nil || !a.Created.Before(left.Created)) {
			left = &artifacts[i]
		}
		if slices.Contains(names, a.Name) {
			continue
		}
		switch names = append(names, a.Name); {
		case len(names) == 1:
			extra.WriteString("\nArtifacts:\n\n")
			fallthrough
		case len(names) <= maxArtifacts:
			fmt.Fprintf(extra, "- %s (%s)\n", text(jobs.Cut(a.Name, maxName)), bytesOf(a.Size))
		}
	}
	if more := len(names) - maxArtifacts; more > 0 {
		fmt.Fprintf(extra, "- and %d more\n", more)
	}
	slices.Sort(names)
	result.Outputs[OutputArtifacts] = jobs.Cut(strings.Join(names, ","), maxArtifactIDs)
	if left == nil {
		return nil
	}
	_, content, err := s.Artifacts.ArtifactFile(ctx, s.rec.Installation, s.rec.Repository, left.ID)
	var faults []string
	switch {
	case errors.As(err, &refusal):
		faults = []string{refusal.Sentence}
	case err != nil:
		return fmt.Errorf("read the artifact %s of workflow run %d: %w", OutputsArtifact, s.rec.ID, err)
	default:
		var theirs map[string]any
		var without []string
		theirs, faults = parseOutputs(content)
		result.Outputs, without = together(result.Outputs, theirs)
		faults = append(faults, without...)
	}
	extra.WriteString(untaken(faults))
	return nil
}

// bytesOf writes a size as people do.
func bytesOf(n int64) string {
	switch {
	case n < 1<<10:
		return plural(int(n), "byte")
	case n < 1<<20:
		return fmt.Sprintf("%.1f KB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%.1f MB", float64(n)/(1<<20))
}
