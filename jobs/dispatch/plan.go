package dispatch

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

// Bounds of a spec.
const (
	defaultTimeout = time.Hour
	maxTimeout     = 24 * time.Hour
	maxRetries     = 5
)

var (
	shaForm  = regexp.MustCompile(`^[0-9a-f]{40}$`)
	idForm   = regexp.MustCompile(`^[0-9]{1,18}$`)
	fileForm = regexp.MustCompile(`^[^/\\\x00-\x1f]{1,200}\.ya?ml$`)
)

func refuse(format string, args ...any) error {
	return &jobs.Refusal{Sentence: fmt.Sprintf(format, args...)}
}

// decode reads a spec. Whole numbers stay whole.
func decode(data []byte) (spec jobs.DispatchSpec, timeout time.Duration, err error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	d.UseNumber() // numbers among the inputs stay as they are written
	if err := d.Decode(&spec); err != nil {
		return spec, 0, &jobs.Refusal{Sentence: "the dispatch spec of this run can't be read", Cause: err}
	}
	if timeout = defaultTimeout; spec.Timeout != "" {
		timeout, err = time.ParseDuration(spec.Timeout)
		if err != nil || timeout <= 0 || timeout > maxTimeout {
			return spec, 0, refuse("the timeout %q of the dispatch is not a duration of at most %s", spec.Timeout, jobs.Duration(maxTimeout))
		}
	}
	if spec.RetryFailedJobs < 0 || spec.RetryFailedJobs > maxRetries {
		return spec, 0, refuse("retry_failed_jobs is %d; it may be 0 to %d", spec.RetryFailedJobs, maxRetries)
	}
	spec.Workflow = strings.TrimPrefix(spec.Workflow, ".github/workflows/")
	if !idForm.MatchString(spec.Workflow) && !fileForm.MatchString(spec.Workflow) {
		return spec, 0, refuse("%q is neither the name of a file below .github/workflows nor a workflow's ID", spec.Workflow)
	}
	if spec.Ref = strings.TrimSpace(spec.Ref); shaForm.MatchString(spec.Ref) {
		return spec, 0, refuse("GitHub dispatches workflows on branches and tags only, not on a commit such as %s; name a branch or tag as ref",
			jobs.Abbreviate(spec.Ref))
	}
	return spec, timeout, nil
}

// prepare works out what is asked for, and stores it.
func (s *session) prepare(ctx context.Context) error {
	run := s.task.Run
	s.rec = Record{Run: run.ID, Job: s.task.Job, Installation: run.Installation, Repository: run.Repository, Ref: s.spec.Ref}
	own := s.spec.Repository == "" || strings.EqualFold(s.spec.Repository, run.Repository.FullName())
	if err := s.trusted(own); err != nil {
		return err
	}
	grant, err := s.grant(s.spec.Repository)
	if err != nil {
		return err
	}
	if !own {
		if s.rec.Installation, s.rec.Repository, err = s.Repositories.Repository(ctx, s.spec.Repository); err != nil {
			return fmt.Errorf("find %s: %w", s.spec.Repository, err)
		}
	}
	switch {
	case s.rec.Ref == "" && own:
		s.rec.Ref = run.DispatchRef()
	case s.rec.Ref == "":
		s.rec.Ref = s.rec.Repository.DefaultBranch
	}
	if s.rec.Own = own && s.rec.branch() == bare(run.DispatchRef()); s.rec.Own && run.Fork {
		return refuse("the branch %s is in a fork, and GitHub dispatches workflows only on branches of the repository itself", s.rec.branch())
	}
	file, err := s.file(ctx)
	if err != nil {
		return err
	}
	s.rec.Workflow = path.Base(cmp.Or(file.Path, s.spec.Workflow))
	if err := s.allowed(grant); err != nil {
		return err
	}
	if err := s.check(file); err != nil {
		return err
	}
	return s.save(ctx)
}

func (s *session) trusted(own bool) error {
	if s.task.Run.Trust.Level != jobs.Trusted {
		return refuse("untrusted runs dispatch no workflows")
	}
	if own && s.spec.Ref == "" && s.task.Run.DispatchRef() == "" {
		return refuse("the run has no branch or tag that a workflow could be dispatched on")
	}
	return nil
}

// grant is what the operator lets the job dispatch in a repository, "" for its own.
func (s *session) grant(repository string) (jobs.WorkflowGrant, error) {
	own := s.task.Run.Repository.FullName()
	if repository == "" {
		repository = own
	}
	for _, g := range s.task.Grant.Workflows {
		if strings.EqualFold(g.Repository, repository) {
			return g, nil
		}
	}
	return jobs.WorkflowGrant{}, refuse("%s may not dispatch workflows of %s; whoever runs Slipway grants it under `workflows`", own, repository)
}

// allowed holds what was worked out against the grant: before anything is sent, each time.
func (s *session) allowed(grant jobs.WorkflowGrant) error {
	own, r := s.task.Run.Repository.FullName(), s.rec
	if !s.any(grant.Files, r.Workflow) {
		return refuse("%s may dispatch %s of %s, not %s; whoever runs Slipway grants it under `workflows`",
			own, strings.Join(grant.Files, ", "), r.Repository.FullName(), r.Workflow)
	}
	if !s.any(grant.Refs, r.branch()) {
		return refuse("%s may dispatch workflows of %s on %s, not on %s; whoever runs Slipway grants it under `workflows`",
			own, r.Repository.FullName(), strings.Join(grant.Refs, ", "), r.branch())
	}
	return nil
}

// any reports whether one of the patterns matches; none stand for all.
func (k *kind) any(patterns []string, name string) bool {
	return len(patterns) == 0 || k.Allows(patterns, name)
}

// file reads the workflow's file where it will be dispatched. On the run's own ref that is the run's commit: planning read it there.
func (s *session) file(ctx context.Context) (jobs.WorkflowFile, error) {
	ref := jobs.WorkflowRef{Workflow: s.spec.Workflow, Ref: s.rec.Ref}
	file := jobs.WorkflowFile{WorkflowRef: ref, Path: ".github/workflows/" + ref.Workflow}
	var err error
	if s.rec.Own && !idForm.MatchString(ref.Workflow) {
		var found bool
		sha := s.task.Run.SHA
		if file.Content, found, err = s.Files.File(ctx, s.rec.Installation, s.rec.Repository, sha, file.Path); err == nil && !found {
			file.Problem = fmt.Sprintf("there is no %s at %s", file.Path, jobs.Abbreviate(sha))
		}
	} else {
		file, err = s.Files.WorkflowFile(ctx, s.rec.Installation, s.rec.Repository, ref)
	}
	if err == nil && file.Problem != "" {
		err = refuse("the workflow %s of %s can't be dispatched on %s: %s", ref.Workflow, s.rec.Repository.FullName(), s.rec.branch(), file.Problem)
	}
	var refusal *jobs.Refusal
	if err != nil && !errors.As(err, &refusal) {
		err = fmt.Errorf("read the workflow %s: %w", ref.Workflow, err)
	}
	return file, err
}

// check holds the inputs against the workflow, once more: what came from other jobs could not be checked when the run was planned.
func (s *session) check(file jobs.WorkflowFile) error {
	inputs := maps.Clone(s.spec.Inputs)
	if inputs == nil {
		inputs = map[string]any{}
	}
	name := s.Marker(file)
	if name != "" {
		s.rec.Mark = "slipway-" + digest(s.task.Run.ID, s.task.Job)
		inputs[name] = s.rec.Mark
	}
	prepared, fault := s.Check(file, inputs)
	if fault != "" {
		return refuse("%s was not dispatched: %s", s.rec.Workflow, fault)
	}
	s.rec.Inputs = prepared
	var texts []string
	for _, key := range slices.Sorted(maps.Keys(prepared)) {
		if key != name {
			texts = append(texts, key, prepared[key])
		}
	}
	s.rec.Digest = digest(texts...)
	return nil
}
