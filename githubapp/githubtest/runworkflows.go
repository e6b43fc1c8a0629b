package githubtest

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// WorkflowScript says how jobs of workflows are played. Its functions are called without any lock, from other goroutines;
// nil ones have nothing to say.
type WorkflowScript struct {
	Delay    time.Duration                                  // before a runner takes a job, before each step, and before the job is done
	Sleep    float64                                        // which part of a step's sleep is really slept: 1 is all of it, 0 nothing
	Hold     func(run *WorkflowRun, job WorkflowJob) bool   // whether to leave a queued job to the test
	Conclude func(run *WorkflowRun, job WorkflowJob) string // how the job ends, whatever its steps do; empty: as they do
}

// player plays jobs.
type player struct {
	script  *WorkflowScript // nil: not any more
	playing int             // jobs in progress, which Close waits for
}

// RunWorkflows plays every job from now on, and those that are queued, as a runner does; nil stops taking jobs. WaitIdle
// doesn't wait for them, but WaitFor looks again after each of their changes.
//
// Steps that are scripts run in an interpreter of bash that starts no programs: its builtins, cat, sleep and mkdir are all
// there is, in an empty folder of their own. Values reach them as in Actions: by env, with the inputs and the plain github
// values in ${{ }}, and by GITHUB_ variables. ::error::, ::warning:: and ::notice:: become annotations.
// actions/checkout brings the files of the run's commit, actions/upload-artifact keeps the files of its path, and every other
// action succeeds without doing anything.
func (s *Server) RunWorkflows(script *WorkflowScript) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.player == nil {
		s.player = &player{}
	}
	s.player.script = script
	for _, r := range s.repositories {
		for _, run := range r.workflowRuns {
			for _, j := range run.latest().jobs {
				if j.status == "queued" && j.stop == nil {
					s.playJob(j)
				}
			}
		}
	}
}

// playJob plays a queued job if somebody plays at all. It returns at once.
func (s *Server) playJob(j *job) {
	if s.player == nil || s.player.script == nil || s.done.Err() != nil {
		return
	}
	ctx, stop := context.WithCancel(s.done)
	j.stop = stop
	s.player.playing++
	script := *s.player.script
	go func() {
		defer func() {
			stop()
			s.mu.Lock()
			defer s.mu.Unlock()
			s.player.playing--
			s.settled()
		}()
		if err := s.playUnlocked(ctx, j, script); err != nil && ctx.Err() == nil {
			s.log.Error("play a job of a workflow", "repository", j.attempt.run.Repo.FullName(), "run", j.attempt.run.ID, "job", j.spec.key, "error", err)
		}
	}()
}

// changeUnlocked does something to a job while it has a status, and reports whether it had.
func (j *job) changeUnlocked(status string, do func()) bool {
	s := j.attempt.run.Repo.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if j.status != status {
		return false
	}
	do()
	return true
}

func (s *Server) playUnlocked(ctx context.Context, j *job, script WorkflowScript) error {
	var shown WorkflowJob
	j.changeUnlocked("queued", func() { shown = j.view() })
	if script.Hold != nil && script.Hold(j.attempt.run, shown) {
		j.changeUnlocked("queued", func() { j.stop = nil }) // so that another script may take it
		return nil
	}
	dir, err := os.MkdirTemp("", "workflow-job-")
	if err != nil {
		return fmt.Errorf("make a workspace: %w", err)
	}
	defer os.RemoveAll(dir)
	box, err := newSandbox(dir, script.Sleep)
	if err != nil {
		return err
	}
	defer box.Close()
	known := map[string]string{}
	var runner, shared []variable
	pause(ctx, script.Delay)
	if !j.changeUnlocked("queued", func() {
		j.begin()
		known = j.attempt.run.known()
		runner = j.attempt.run.runnerVariables(known, j, dir)
		shared = slices.Concat(j.attempt.run.file.env, j.spec.env)
	}) {
		return nil
	}
	failed := false
	for i, step := range j.spec.steps {
		pause(ctx, script.Delay)
		conclusion := "skipped"
		if conditionHolds(step.condition, failed, false, false) {
			conclusion = j.playStep(ctx, box, step, runner, slices.Concat(shared, step.env), known)
		}
		failed = failed || conclusion == "failure"
		if !j.changeUnlocked("in_progress", func() { j.endStep(i+1, conclusion) }) {
			return nil
		}
	}
	pause(ctx, script.Delay)
	conclusion := map[bool]string{false: "success", true: "failure"}[failed]
	if script.Conclude != nil {
		conclusion = cmp.Or(script.Conclude(j.attempt.run, shown), conclusion)
	}
	j.changeUnlocked("in_progress", func() {
		j.end(conclusion)
		j.attempt.advance()
	})
	return nil
}

// pause waits for a while, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// runnerVariables are the variables of every job, from GitHub's page "Variables reference".
func (w *WorkflowRun) runnerVariables(known map[string]string, j *job, dir string) []variable {
	list := []variable{{"CI", "true"}, {"HOME", dir}, {"GITHUB_ACTIONS", "true"}, {"GITHUB_JOB", j.spec.key}, {"GITHUB_WORKSPACE", filepath.Join(dir, "work")}, {"RUNNER_OS", "Linux"},
		{"RUNNER_TEMP", filepath.Join(dir, "temp")}, {"GITHUB_API_URL", strings.TrimSuffix(w.Repo.s.URL, "/")}}
	for _, name := range []string{"actor", "event_name", "ref", "ref_name", "repository", "repository_owner", "run_attempt", "run_id", "run_number", "server_url", "sha", "triggering_actor", "workflow"} {
		list = append(list, variable{"GITHUB_" + strings.ToUpper(name), known["github."+name]})
	}
	for _, name := range []string{"OUTPUT", "ENV", "STEP_SUMMARY", "PATH"} {
		list = append(list, variable{"GITHUB_" + name, filepath.Join(dir, "temp", strings.ToLower(name))})
	}
	return list
}

// playStep does what a step says and returns how it ended. Of the variables env are those of the file.
func (j *job) playStep(ctx context.Context, box *sandbox, step stepSpec, runner, env []variable, known map[string]string) string {
	values := maps.Clone(known)
	set := slices.Clone(runner)
	for _, v := range env { // later ones win, and may use the earlier
		values["env."+v.name] = evaluate(v.value, values)
		set = append(set, variable{v.name, values["env."+v.name]})
	}
	if step.uses != "" {
		return j.playAction(ctx, box, step, values)
	}
	text := evaluate(step.run, values)
	output := &stepOutput{job: j}
	output.print("##[group]Run " + strings.TrimRight(text, "\n") + "\nshell: /usr/bin/bash -e {0}\n" + listed("env", set[len(runner):], nil) + "##[endgroup]\n")
	status, err := box.run(ctx, text, path.Join("work", evaluate(step.dir, values)), set, output)
	output.flush()
	switch {
	case err != nil:
		output.print("##[error]" + err.Error() + "\n")
	case status != 0:
		output.print("##[error]Process completed with exit code " + strconv.Itoa(status) + ".\n")
	default:
		return "success"
	}
	j.changeUnlocked("in_progress", func() {
		j.annotate(Annotation{Message: fmt.Sprintf("Process completed with exit code %d.", max(status, 1))})
	})
	return "failure"
}

// listed shows variables as Actions does at the head of a step's log.
func listed(title string, list []variable, values map[string]string) string {
	if len(list) == 0 {
		return ""
	}
	text := title + ":\n"
	for _, v := range list {
		text += "  " + v.name + ": " + evaluate(v.value, values) + "\n"
	}
	return text
}

// playAction knows actions/checkout and actions/upload-artifact, and lets the others succeed.
func (j *job) playAction(ctx context.Context, box *sandbox, step stepSpec, values map[string]string) string {
	output := &stepOutput{job: j}
	output.print("##[group]Run " + step.uses + "\n" + listed("with", step.with, values) + "##[endgroup]\n")
	switch action, _, _ := strings.Cut(step.uses, "@"); action {
	case "actions/checkout":
		if err := box.checkout(ctx, j.attempt.run.Repo.git, j.attempt.run.HeadSHA); err != nil {
			output.print("##[error]" + err.Error() + "\n")
			return "failure"
		}
		return "success"
	case "actions/upload-artifact":
		return j.upload(box, step, values, output)
	}
	return "success"
}

// upload is actions/upload-artifact.
func (j *job) upload(box *sandbox, step stepSpec, values map[string]string, output *stepOutput) string {
	with := map[string]string{"name": "artifact", "if-no-files-found": "warn"}
	for _, v := range step.with {
		with[v.name] = evaluate(v.value, values)
	}
	files, err := box.collect(strings.Fields(with["path"]))
	switch {
	case err != nil:
		output.print("##[error]" + err.Error() + "\n")
		return "failure"
	case len(files) == 0:
		output.print("##[" + map[bool]string{true: "error", false: "warning"}[with["if-no-files-found"] == "error"] + "]No files were found with the provided path: " + with["path"] + ". No artifacts will be uploaded.\n")
		return map[bool]string{true: "failure", false: "success"}[with["if-no-files-found"] == "error"]
	}
	if !j.changeUnlocked("in_progress", func() { err = j.attempt.run.leave(with["name"], files) }) {
		return "cancelled"
	}
	if err != nil {
		output.print("##[error]" + err.Error() + "\n")
		return "failure"
	}
	output.print(fmt.Sprintf("Artifact %s has been successfully uploaded!\n", with["name"]))
	return "success"
}
