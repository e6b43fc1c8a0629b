package githubapp

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/slipway-ci/slipway/jobs"
)

var update = flag.Bool("update", false, "write the golden files anew")

var began = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func at(seconds float64) time.Time { return began.Add(time.Duration(seconds * float64(time.Second))) }

// push is a run of a push to main with the given jobs.
func push(state jobs.RunState, list ...jobs.Job) jobs.Run {
	r := jobs.Run{
		RunInfo: jobs.RunInfo{
			ID: "r-abc123", Installation: 1, Repository: jobs.Repository{ID: 7, Owner: "acme", Name: "shop", DefaultBranch: "main"},
			Event: jobs.EventPush, SHA: testSHA, Ref: "refs/heads/main", Branch: "main", URL: "https://slipway.example.com/runs/r-abc123",
		},
		Outcome: jobs.OutcomeRun, Reason: "2 jobs for main", Pipeline: ".slipway.yaml at 0123456789ab", State: state, Created: began, Jobs: list,
	}
	for _, j := range list {
		if !j.Started.IsZero() && (r.Started.IsZero() || j.Started.Before(r.Started)) {
			r.Started = j.Started
		}
		if state.Over() && j.Finished.After(r.Finished) {
			r.Finished = j.Finished
		}
	}
	return r
}

func image(state jobs.JobState) jobs.Job {
	j := jobs.Job{Name: "image", Kind: jobs.KindBuild, State: state, Attempt: 1}
	switch state {
	case jobs.JobSucceeded:
		j.Started, j.Finished, j.Summary = at(1), at(13.4), "Built and pushed registry.example.com/acme/shop with 2 tags; 9 of 11 steps were cached."
		j.Outputs = map[string]any{"image": "registry.example.com/acme/shop", "digest": "sha256:" + strings.Repeat("ab", 32), "size": int64(12_345_678)}
		j.ResultKey = "k"
	case jobs.JobFailed:
		j.Started, j.Finished, j.Summary = at(1), at(4), "Dockerfile line 7: go build exited with 1. Mend the compile error that its last lines show."
		j.ResultKey = "k"
	case jobs.JobRunning:
		j.Started = at(1)
	}
	return j
}

func release(state jobs.JobState) jobs.Job {
	j := jobs.Job{Name: "release", Kind: jobs.KindDeploy, Needs: []string{"image"}, State: state, Attempt: 1}
	switch state {
	case jobs.JobSucceeded:
		j.Started, j.Finished, j.Summary = at(14), at(95), "Rolled out tks/shop to staging."
		j.Outputs = map[string]any{"release": "shop", "namespace": "tks", "revision": 3, "status": "deployed"}
	case jobs.JobSkipped:
		j.Finished, j.Summary = at(4), "it needs image, which was not successful"
	case jobs.JobRunning:
		j.Started = at(14)
	}
	return j
}

// toProduction is a job that rolls out to staging and then to production.
func toProduction(state jobs.JobState) jobs.Job {
	j := release(state)
	j.Spec = []byte(`{"environments":["staging","production"],"helm":[{"chart":"charts/shop"}]}`)
	switch state {
	case jobs.JobHeld:
		j.Finished, j.Summary, j.Approvals = at(14), "waits for approval of production by acme/sre", []string{"production"}
	case jobs.JobFailed:
		j.Started, j.Finished, j.Summary = at(14), at(50), "pods of tks/shop did not become ready in production"
	case jobs.JobQueued:
		j.Waiting = "release tks/shop is being rolled out by run r-other"
	}
	return j
}

var buildFailure = jobs.Result{
	Conclusion: jobs.Failure, Summary: "Dockerfile line 7: go build exited with 1.",
	Details:     "Step `RUN go build ./...` failed after 2 s. Ask @alice <b>now</b>.",
	Annotations: []jobs.Annotation{{Path: "Dockerfile", Line: 7, Level: "failure", Title: "RUN go build", Message: "exit code 1"}},
	Tail:        []string{"./main.go:3:2: undefined: x", "```", "@acme/everyone <img src=x>"},
}

func projections() map[string]struct {
	run     jobs.Run
	results map[string]jobs.Result
} {
	type p = struct {
		run     jobs.Run
		results map[string]jobs.Result
	}
	held := push(jobs.RunHeld, jobs.Job{Name: "image", State: jobs.JobSkipped, Summary: "the pull request comes from a fork (mallory/shop)", Finished: began})
	held.Outcome, held.Reason, held.Finished = jobs.OutcomeHeld, "the pull request comes from a fork (mallory/shop)", began
	held.PullRequest, held.Fork, held.Branch, held.Event = 7, true, "main", jobs.EventPullRequest
	proxy := held
	proxy.Fork, proxy.Reason = false, "bob has no write permission on acme/shop"
	nothing := push(jobs.RunNothing,
		jobs.Job{Name: "docs", State: jobs.JobSkipped, Summary: "no changed file matches docs/**", Finished: began},
		jobs.Job{Name: "image", State: jobs.JobSkipped, Summary: "it runs on pushes only", Finished: began})
	nothing.Outcome, nothing.Reason, nothing.Finished = jobs.OutcomeNothing, "none of the 2 jobs of .slipway.yaml is for this", began
	nothing.PullRequest, nothing.Event = 8, jobs.EventPullRequest
	nothing.Notes = []string{"changed files could not be known, so all count as changed"}
	fault := push(jobs.RunFailed)
	fault.Outcome, fault.Reason, fault.Finished = jobs.OutcomeFault, ".slipway.yaml has 2 faults", began
	fault.Faults = []jobs.Fault{{Line: 3, Column: 5, Message: `unknown key "biuld"; did you mean "build"?`}, {Path: ".slipway.yaml", Line: 9, Job: "release", Message: "needs image, which does not exist"}}
	half := push(jobs.RunFailed, image(jobs.JobSucceeded), jobs.Job{Name: "release", State: jobs.JobFailed, Summary: "helm[0]: chart is missing", Finished: began})
	half.Faults = []jobs.Fault{{Path: ".slipway.yaml", Line: 12, Job: "release", Message: "helm[0]: chart is missing"}}
	stopped := push(jobs.RunCancelled, image(jobs.JobCancelled), release(jobs.JobCancelled))
	stopped.Stop = &jobs.Stop{Reason: "superseded by a newer push, 3f2c0a1b2c3d"}
	for i := range stopped.Jobs {
		stopped.Jobs[i].Summary, stopped.Jobs[i].Finished = stopped.Stop.Reason, at(5)
	}
	stopped.Finished = at(5)
	stopping := push(jobs.RunActive, image(jobs.JobRunning), release(jobs.JobWaiting))
	stopping.Stop = stopped.Stop
	waiting := push(jobs.RunActive, image(jobs.JobSucceeded), release(jobs.JobQueued))
	waiting.Jobs[1].Waiting = "release tks/shop is being rolled out by run r-other"
	late := push(jobs.RunFailed, image(jobs.JobFailed))
	late.Jobs[0].Summary = "the build was stopped after 30 min"
	nasty := push(jobs.RunFailed, image(jobs.JobFailed), jobs.Job{Name: "a|b", State: jobs.JobSkipped, Finished: at(4), Summary: "x | y\n<script>alert(1)</script> @everyone `code` [link](http://x) ![i](http://x) **b**"})
	nasty.Jobs[0].Summary = "</td></tr> | @octocat `rm` \x1b[31mred\x1b[0m \u202ereversed"

	// A push whose rollout waits for an approval, and what needs it with it.
	waits := push(jobs.RunWaits, image(jobs.JobSucceeded), toProduction(jobs.JobHeld),
		jobs.Job{Name: "smoke", Kind: jobs.KindDeploy, State: jobs.JobHeld, Needs: []string{"release"}, Summary: "it needs release, which waits for approval", Finished: at(14)})
	waitsInPull := waits
	waitsInPull.Event, waitsInPull.Ref, waitsInPull.PullRequest, waitsInPull.Branch = jobs.EventPullRequest, "refs/pull/7/head", 7, "feat"
	// The approved continuation of it.
	went := push(jobs.RunSucceeded, image(jobs.JobSucceeded), toProduction(jobs.JobSucceeded))
	went.ID, went.Root, went.Attempt, went.Approved = "r-abc124", "r-abc123", 2, []string{"production"}
	went.Reason = "attempt 2, asked for by alice: 1 job"
	went.Jobs[0].Reused = true
	approved := push(jobs.RunSucceeded, image(jobs.JobSucceeded))
	approved.Event, approved.PullRequest, approved.Fork, approved.Branch = jobs.EventPullRequest, 7, true, "main"
	approved.Trust = jobs.Trust{Level: jobs.Approved, Reason: "the pull request comes from a fork (mallory/shop), but alice approved this commit"}
	asked := push(jobs.RunFailed, toProduction(jobs.JobFailed))
	asked.Event, asked.PullRequest, asked.Branch = jobs.EventPullRequest, 7, "feat"
	asked.Asked = &jobs.Asked{By: jobs.Actor{ID: 5, Login: "alice"}, Command: "/deploy production", URL: "https://github.com/acme/shop/pull/7#issuecomment-1"}
	asked.Notes = []string{"changed files are not looked at"}
	strange := asked
	strange.Asked = &jobs.Asked{By: jobs.Actor{ID: 5, Login: "alice"}, Command: "/say `` @bob <b> ](http://evil)", URL: "javascript:alert(1)"}
	queue := nothing
	queue.Event, queue.PullRequest, queue.Branch, queue.BaseBranch, queue.Ref = jobs.EventMergeGroup, 0, "", "main", "refs/heads/gh-readonly-queue/main/pr-7-x"
	queue.Notes = nil

	all := map[string]p{
		"rolled-out":      {push(jobs.RunSucceeded, image(jobs.JobSucceeded), toProduction(jobs.JobSucceeded)), nil},
		"waits":           {waits, nil},
		"waits-in-a-pull": {waitsInPull, nil},
		"approved-rest":   {went, nil},
		"approved-commit": {approved, nil},
		"asked":           {asked, nil},
		"asked-strangely": {strange, nil},
		"merge-queue":     {queue, nil},
		"queued":          {push(jobs.RunActive, image(jobs.JobQueued), release(jobs.JobWaiting)), nil},
		"running":         {push(jobs.RunActive, image(jobs.JobRunning), release(jobs.JobWaiting)), nil},
		"waiting":         {waiting, nil},
		"succeeded":       {push(jobs.RunSucceeded, image(jobs.JobSucceeded), release(jobs.JobSucceeded)), map[string]jobs.Result{"release": {Details: "Pods: 2 of 2 ready.\n\n```\nunclosed"}}},
		"failed":          {push(jobs.RunFailed, image(jobs.JobFailed), release(jobs.JobSkipped)), map[string]jobs.Result{"image": buildFailure}},
		"single":          {push(jobs.RunSucceeded, image(jobs.JobSucceeded)), nil},
		"single-failed":   {push(jobs.RunFailed, image(jobs.JobFailed)), map[string]jobs.Result{"image": buildFailure}},
		"single-timeout":  {late, map[string]jobs.Result{"image": {Conclusion: jobs.TimedOut}}},
		"superseded":      {stopped, nil},
		"stopping":        {stopping, nil},
		"held-fork":       {held, nil},
		"held-proxy":      {proxy, nil},
		"nothing":         {nothing, nil},
		"fault":           {fault, nil},
		"fault-in-a-job":  {half, nil},
		"hostile-text":    {nasty, map[string]jobs.Result{"image": buildFailure}},
		"without-a-page":  {func() jobs.Run { r := push(jobs.RunSucceeded, image(jobs.JobSucceeded)); r.URL = ""; return r }(), nil},
		"job-without-sum": {push(jobs.RunSucceeded, jobs.Job{Name: "a", State: jobs.JobSucceeded, Started: at(0), Finished: at(3700)}, jobs.Job{Name: "b", State: jobs.JobSkipped, Finished: at(0), Summary: "no file of it changed"}), nil},
	}
	for name, o := range outside() {
		all["outside-"+name] = o
	}
	return all
}

func TestChecksOf(t *testing.T) {
	for name, p := range projections() {
		t.Run(name, func(t *testing.T) {
			checks := ChecksOf(p.run, p.results)
			var b strings.Builder
			for _, c := range checks {
				fmt.Fprintf(&b, "===== %s =====\nstate: %s %s\ntitle: %s\nurl:   %s\ntimes: %s – %s\n", c.id(), c.Status, c.Conclusion, c.Title, c.URL, clockTime(c.Started), clockTime(c.Completed))
				for _, button := range c.Buttons {
					fmt.Fprintf(&b, "press: %s [%s] %s\n", button.Label, button.Identifier, button.Description)
				}
				for _, a := range c.Annotations {
					fmt.Fprintf(&b, "note:  %s:%d-%d %s %q %q\n", a.Path, a.Line, a.EndLine, a.Level, a.Title, a.Message)
				}
				fmt.Fprintf(&b, "-----\n%s", c.Summary)
				conforms(t, c)
			}
			golden(t, name, b.String())
		})
	}
}

func clockTime(t time.Time) string {
	if t.IsZero() {
		return "none"
	}
	return t.Format("15:04:05")
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", "checkview", name+".md")
	if *update {
		ok(t, os.MkdirAll(filepath.Dir(file), 0o755))
		ok(t, os.WriteFile(file, []byte(got), 0o644))
	}
	want, err := os.ReadFile(file)
	ok(t, err)
	if string(want) != got {
		t.Errorf("%s has changed; look at it and run with -update:\n%s", file, got)
	}
}

// conforms holds GitHub's limits and the rules that hold for every check.
func conforms(t *testing.T, c Check) {
	t.Helper()
	if c.Title == "" || len(c.Title) > 255 || strings.Contains(c.Title, "\n") || c.Summary == "" || len(c.Summary) > 65_535 || len(c.Annotations) > maxAnnotations {
		t.Errorf("%s: title of %d bytes, summary of %d, %d annotations", c.Name, len(c.Title), len(c.Summary), len(c.Annotations))
	}
	if len(c.Buttons) > 3 || len(c.Buttons) > 0 && c.Status != "completed" {
		t.Errorf("%s: %s with %d buttons", c.Name, c.Status, len(c.Buttons))
	}
	for _, b := range c.Buttons {
		if n := utf8.RuneCountInString(b.Label); n == 0 || n > 20 || utf8.RuneCountInString(b.Description) > 40 || b.Identifier == "" || len(b.Identifier) > 20 {
			t.Errorf("%s: button %+v", c.Name, b)
		}
	}
	if !utf8.ValidString(c.Summary) || !utf8.ValidString(c.Title) {
		t.Errorf("%s: not UTF-8", c.Name)
	}
	if (c.Conclusion != "") != (c.Status == "completed") || c.Completed.IsZero() != (c.Status != "completed" || c.open) || c.Started.IsZero() {
		t.Errorf("%s: %s %q from %s to %s", c.Name, c.Status, c.Conclusion, c.Started, c.Completed)
	}
	if c.open && (c.Status != "completed" || c.Conclusion != "action_required" || len(c.Annotations) > 0) {
		t.Errorf("%s: %s %s while it goes on", c.Name, c.Status, c.Conclusion)
	}
	if c.Status == "completed" && !c.open && c.Completed.Before(c.Started) {
		t.Errorf("%s ended before it began", c.Name)
	}
	for _, a := range c.Annotations {
		if a.Path == "" || a.Line < 1 || a.EndLine < a.Line || a.Message == "" || len(a.Message) > 64<<10 || len(a.Title) > 255 {
			t.Errorf("%s: annotation %+v", c.Name, a)
		}
	}
	text, html := rendered(t, c.Summary)
	if len(html) > 0 {
		t.Errorf("%s: HTML got through: %q", c.Name, html)
	}
	for _, bad := range []string{"\x1b", "\u202e"} {
		if strings.Contains(text, bad) || strings.Contains(c.Title, bad) {
			t.Errorf("%s: %q got through", c.Name, bad)
		}
	}
	if found := mention.FindString(text); found != "" {
		t.Errorf("%s: somebody would be called: %q", c.Name, found)
	}
}

func TestChecksAreCutToGitHubsLimits(t *testing.T) {
	run := push(jobs.RunFailed)
	results := map[string]jobs.Result{}
	for i := range 100 {
		j := image(jobs.JobFailed)
		j.Name = fmt.Sprintf("job-%d", i)
		j.Summary = strings.Repeat("ä", 250)
		run.Jobs = append(run.Jobs, j)
		r := jobs.Result{Conclusion: jobs.Failure, Details: strings.Repeat("`é` @x <y>\n", 500)}
		for range 20 {
			r.Tail = append(r.Tail, strings.Repeat("`", 200))
		}
		results[j.Name] = r
	}
	run.Finished = at(10)
	for i := range 700 {
		run.Faults = append(run.Faults, jobs.Fault{Line: i, Message: strings.Repeat("m", 100_000)})
	}
	checks := ChecksOf(run, results)
	if len(checks) != 101 {
		t.Fatalf("%d checks", len(checks))
	}
	for _, c := range checks {
		conforms(t, c)
	}
	whole := checks[0]
	if len(whole.Annotations) != maxAnnotations || !strings.Contains(whole.Summary, "700 annotations") || !strings.Contains(whole.Summary, "The rest is cut") {
		t.Errorf("%d annotations; the summary begins %.100q and ends %q", len(whole.Annotations), whole.Summary, whole.Summary[len(whole.Summary)-200:])
	}
	// A code block that was cut through is closed, so that the note can be read.
	if text, _ := rendered(t, whole.Summary); !strings.Contains(text, "The rest is cut") {
		t.Error("the note lies within a code block")
	}
}

// BenchmarkChecksOf makes the checks of a run of 20 finished jobs.
func BenchmarkChecksOf(b *testing.B) {
	run := push(jobs.RunFailed)
	results := map[string]jobs.Result{}
	for i := range 20 {
		j := image(jobs.JobFailed)
		j.Name = fmt.Sprintf("job-%d", i)
		run.Jobs = append(run.Jobs, j)
		results[j.Name] = buildFailure
	}
	run.Finished = at(10)
	b.ReportAllocs()
	for b.Loop() {
		ChecksOf(run, results)
	}
}
