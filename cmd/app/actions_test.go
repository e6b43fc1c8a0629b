package main

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/slipway-ci/slipway/githubapp/githubtest"
)

// What GitHub Actions do in a script, and other Apps.

// actions play [DELAY]: GitHub's runners take every job from now on. Or: actions old: the server names no run when a
// workflow is dispatched, as GitHub Enterprise Server may not. Or: actions protect OWNER/NAME ENVIRONMENT USER…: jobs for the
// environment wait until one of these let them; our App is named as app. Or: actions by OWNER/NAME FILE USER: somebody else
// starts a workflow.
func cmdActions(ts *testscript.TestScript, _ bool, args []string) {
	w := worldOf(ts)
	switch {
	case len(args) > 0 && args[0] == "play":
		script := githubtest.WorkflowScript{Delay: 20 * time.Millisecond}
		if len(args) == 2 {
			var err error
			script.Delay, err = time.ParseDuration(args[1])
			must(ts, err)
		}
		w.github.RunWorkflows(&script)
	case len(args) == 1 && args[0] == "old":
		w.github.NoRunDetails(true)
	case len(args) > 3 && args[0] == "protect":
		var reviewers []*githubtest.User
		for _, login := range args[3:] {
			if login == "app" {
				reviewers = append(reviewers, w.app.Bot)
			} else {
				reviewers = append(reviewers, w.github.User(login))
			}
		}
		must(ts, w.github.Repository(args[1]).ProtectEnvironment(args[2], reviewers...))
	case len(args) == 4 && args[0] == "by":
		r := w.github.Repository(args[1])
		_, err := r.DispatchWorkflow(args[2], r.DefaultBranch, nil, w.github.User(args[3]))
		must(ts, err)
	default:
		ts.Fatalf("usage: actions play [DELAY], actions old, actions protect OWNER/NAME ENVIRONMENT USER…, actions by OWNER/NAME FILE USER")
	}
}

// workflowRun waits for the Nth run, from 1, of a repository's workflows; "last" is the newest there is.
func workflowRun(ts *testscript.TestScript, repo, n string) (run *githubtest.WorkflowRun) {
	r := worldOf(ts).github.Repository(repo)
	ctx, cancel := patient()
	defer cancel()
	must(ts, wait(ctx, fmt.Sprintf("workflow run %s of %s", n, repo), func() (bool, error) {
		runs := slices.Clone(r.WorkflowRuns())
		slices.SortFunc(runs, func(a, b *githubtest.WorkflowRun) int { return int(a.ID - b.ID) })
		at := len(runs)
		if n != "last" {
			var err error
			if at, err = strconv.Atoi(n); err != nil {
				return false, err
			}
		}
		if at < 1 || at > len(runs) {
			return false, nil
		}
		run = runs[at-1]
		return true, nil
	}))
	return run
}

// workflows OWNER/NAME N: so many runs of workflows there are, at last, and no more.
func cmdWorkflows(ts *testscript.TestScript, _ bool, args []string) {
	arguments(ts, args, 2, 2, "workflows OWNER/NAME N")
	n, err := strconv.Atoi(args[1])
	must(ts, err)
	ctx, cancel := patient()
	defer cancel()
	r := worldOf(ts).github.Repository(args[0])
	err = wait(ctx, "the workflows", func() (bool, error) { return len(r.WorkflowRuns()) >= n, nil })
	if got := len(r.WorkflowRuns()); err != nil || got != n {
		ts.Fatalf("%s has %d workflow runs, want %d: %v", args[0], got, n, err)
	}
}

// workflow OWNER/NAME N WHAT…: something happens to the Nth workflow run, or it is so: start; step JOB PLACE CONCLUSION;
// job JOB CONCLUSION; finish CONCLUSION; log JOB TEXT; annotate JOB PATH LINE TEXT; artifact NAME FILE TEXT; cancel USER;
// review ENVIRONMENT USER; inputs NAME=VALUE…, which are all there are; state STATUS [CONCLUSION [ATTEMPT]], at last.
func cmdWorkflow(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 3 {
		ts.Fatalf("usage: workflow OWNER/NAME N WHAT…")
	}
	w, run, what, rest := worldOf(ts), workflowRun(ts, args[0], args[1]), args[2], args[3:]
	ts.Setenv("WORKFLOW", fmt.Sprint(run.ID))
	want := map[string]int{"start": 0, "step": 3, "job": 2, "finish": 1, "log": 2, "annotate": 4, "artifact": 3, "cancel": 1, "review": 2}
	if n, ok := want[what]; ok && n != len(rest) {
		ts.Fatalf("workflow %s takes %d words, not %q", what, n, rest)
	}
	switch what {
	case "start":
		must(ts, run.Start())
	case "step":
		place, err := strconv.Atoi(rest[1])
		must(ts, err)
		must(ts, run.Step(rest[0], place, rest[2]))
	case "job":
		must(ts, run.FinishJob(rest[0], rest[1]))
	case "finish":
		must(ts, run.Finish(rest[0]))
	case "log":
		must(ts, run.Log(rest[0], strings.ReplaceAll(rest[1], `\n`, "\n")+"\n"))
	case "annotate":
		line, err := strconv.Atoi(rest[2])
		must(ts, err)
		must(ts, run.Annotate(rest[0], githubtest.Annotation{Path: rest[1], StartLine: line, Level: "failure", Message: rest[3]}))
	case "artifact":
		must(ts, run.Artifact(rest[0], map[string][]byte{rest[1]: []byte(rest[2])}))
	case "cancel":
		must(ts, run.Cancel(w.github.User(rest[0])))
	case "review":
		must(ts, run.Review(rest[0], true, w.github.User(rest[1])))
	case "inputs":
		inputs := map[string]string{}
		for _, word := range rest {
			name, value, _ := strings.Cut(word, "=")
			inputs[name] = value
		}
		if got := run.Inputs(); !maps.Equal(got, inputs) {
			ts.Fatalf("the inputs are %q, want %q", got, inputs)
		}
	case "state":
		ctx, cancel := patient()
		defer cancel()
		said := ""
		err := wait(ctx, "the workflow's state", func() (bool, error) {
			attempt, status, conclusion := run.State()
			said = fmt.Sprintf("%s %s %d", status, conclusion, attempt)
			return strings.HasPrefix(said+" ", strings.Join(rest, " ")+" "), nil
		})
		if err != nil {
			ts.Fatalf("%v; it is %s", err, said)
		}
	default:
		ts.Fatalf("nobody knows how to %s a workflow run", what)
	}
}

// status OWNER/NAME CONTEXT STATE: somebody sets a status on $SHA.
func cmdStatus(ts *testscript.TestScript, _ bool, args []string) {
	arguments(ts, args, 3, 3, "status OWNER/NAME CONTEXT STATE")
	w := worldOf(ts)
	w.github.Repository(args[0]).SetStatus(ts.Getenv("SHA"), args[1], args[2], "", w.github.User("robot[bot]"))
}

// shows OWNER/NAME CHECK STATUS [REGEXP]: the newest check of that name on $SHA is queued, in_progress, or has that
// conclusion, and says so, at last.
func cmdShows(ts *testscript.TestScript, _ bool, args []string) {
	arguments(ts, args, 3, 4, "shows OWNER/NAME CHECK STATUS [REGEXP]")
	says := regexp.MustCompile("(?s)" + append(args, "")[3])
	ctx, cancel := patient()
	defer cancel()
	said := ""
	err := wait(ctx, "the check", func() (bool, error) {
		found := checks(ts, args[0], args[1])
		if len(found) == 0 {
			return false, nil
		}
		newest := slices.MaxFunc(found, func(a, b githubtest.CheckRun) int { return int(a.ID - b.ID) })
		state := newest.Status
		if state == "completed" {
			state = newest.Conclusion
		}
		said = state + "\n" + newest.Title + "\n" + newest.Summary + "\n" + newest.Text
		return state == args[2] && says.MatchString(said), nil
	})
	if err != nil {
		ts.Fatalf("%v %s: %q to be %s; it is %s", err, args[1], says, args[2], said)
	}
}
