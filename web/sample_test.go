package web

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

// sample is a world as it looks after a busy hour: every kind of end a run can have, and one that is under way.
type sample struct {
	*world
	green, crash, docker, held, pull, superseded, running, queued, tag, matrix jobs.Run
	nothing, observed                                                          string // GUIDs of deliveries without a run
}

var (
	repository = jobs.Repository{ID: 4711, Owner: "acme", Name: "tks-contract", DefaultBranch: "main"}
	shop       = jobs.Repository{ID: 4712, Owner: "acme", Name: "shop", DefaultBranch: "main"}
	mona       = jobs.Actor{ID: 11, Login: "mona", Type: "User"}
	hubert     = jobs.Actor{ID: 12, Login: "hubert-lee", Type: "User"}
	stranger   = jobs.Actor{ID: 99, Login: "drive-by", Type: "User"}
)

const digest = "sha256:9f2b7d1f6f0c4f1a8b6a2a0f3f53a7a0d6a5d1c5c8e9b7412f0a66f4f7a3d0be"

func shaOf(n int) string { return fmt.Sprintf("%07x%s", 0x3f2c9ab+n*7919, strings.Repeat("d41", 11)) }

func push(repo jobs.Repository, n int, branch, message string, by jobs.Actor) jobs.RunInfo {
	return jobs.RunInfo{
		Repository: repo, Event: jobs.EventPush, SHA: shaOf(n), Ref: "refs/heads/" + branch, Branch: branch, Actor: by,
		CommitMessage: message, Trust: jobs.Trust{Level: jobs.Trusted, Reason: "pushed to the repository itself"},
	}
}

func pullRequest(n, number int, branch, message string, by jobs.Actor) jobs.RunInfo {
	i := push(repository, n, branch, message, by)
	i.Event, i.Ref, i.PullRequest, i.BaseBranch = jobs.EventPullRequest, fmt.Sprintf("refs/pull/%d/head", number), number, "main"
	i.Trust.Reason = by.Login + " has write permission and the head is in this repository"
	return i
}

var (
	buildSpec  = json.RawMessage(`{"image":"registry.example.com/acme/tks-contract","context":".","args":{"VERSION":"1.8.2"}}`)
	deploySpec = json.RawMessage(`{"environments":["staging"],"helm":[{"chart":"charts/tks-contract","namespace":"tks","set":{"image.digest":"` + digest + `"}}]}`)
)

func twoJobs(deploy bool) jobs.Plan {
	p := jobs.Plan{Pipeline: ".slipway.yaml at 3f2c9abd41d4", Jobs: []jobs.PlannedJob{
		{Name: "image", Kind: jobs.KindBuild, Planned: true, Reason: "changed files match its paths (cmd/contract/main.go)", Spec: buildSpec, Line: 4},
		{Name: "rollout", Kind: jobs.KindDeploy, Planned: deploy, Needs: []string{"image"}, Line: 9},
	}}
	if deploy {
		p.Jobs[1].Reason, p.Jobs[1].Template = "a push to the default branch", deploySpec
	} else {
		p.Jobs[1].Reason = "only on pushes to main; this is a pull request"
	}
	return p
}

func fillSample(tb testing.TB, w *world, now time.Time) *sample {
	tb.Helper()
	s := &sample{world: w}
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	decide := func(n int, at time.Time, outcome jobs.Outcome, reason string, info jobs.RunInfo, plan jobs.Plan) jobs.Decision {
		return jobs.Decision{Delivery: guid(n), Time: at, Outcome: outcome, Reason: reason, Run: info, Plan: plan, Shown: outcome == jobs.OutcomeHeld || outcome == jobs.OutcomeFault}
	}
	const twoStarted, oneStarted = "2 jobs match this push.", "1 of 2 jobs matches this pull request."

	at := ago(26 * time.Hour)
	d := decide(1, at, jobs.OutcomeRun, "1 of 2 jobs matches this tag.", push(repository, 1, "", "Release 1.8.0", mona), twoJobs(false))
	d.Run.Ref, d.Run.Branch, d.Run.Tag = "refs/tags/v1.8.0", "", "v1.8.0"
	s.tag = w.add(tb, "push", d, func(r *jobs.Run) { w.built(tb, r, at, 71*time.Second) })

	at = ago(3 * time.Hour)
	d = decide(2, at, jobs.OutcomeRun, twoStarted, push(repository, 2, "main", "Start the server before the schema is there\n\nIt waits for it anyway.", hubert), twoJobs(true))
	s.crash = w.add(tb, "push", d, func(r *jobs.Run) {
		end := w.built(tb, r, at, 48*time.Second)
		tail := []string{
			"2026-11-23T02:51:07Z INFO  tks-contract 1.8.1 starting addr=:9110",
			"2026-11-23T02:51:07Z \x1b[31mERROR\x1b[0m open schema: file /var/lib/tks/schema.sql does not exist",
			"panic: contract: no schema",
			"",
			"goroutine 1 [running]:",
			"main.main()",
			"\t/src/cmd/contract/main.go:41 +0x1d4",
			"exit status 2",
		}
		w.finish(tb, r, "rollout", end, 96*time.Second, jobs.Result{
			Conclusion: jobs.Failure,
			Summary:    "Deployment tks/tks-contract did not become ready: container contract crashes on start (exit code 2, 4 restarts). Rolled back to revision 6; fix the start and push again.",
			Details: "**Release** `tks-contract` in namespace `tks` on cluster *staging*\n\n| Object | State | Why |\n|---|---|---|\n| Deployment tks-contract | 0 of 2 ready | CrashLoopBackOff |\n| Job tks-contract-schema | complete | |\n\n" +
				"1. `pre-upgrade` hook ran in 4s\n2. revision 7 was applied\n3. waited 60s, rolled back to revision 6\n\nSee [debugging pods](https://kubernetes.io/docs/tasks/debug/debug-application/debug-pods/).",
			Cause: "helm upgrade: wait: context deadline exceeded (10.42.0.7:6443)",
			Tail:  tail, Outputs: map[string]any{"revision": float64(7), "rolled_back_to": float64(6)},
		}, append([]string{"helm: upgrade tks-contract in tks", "hook tks-contract-schema: \x1b[32mschema is there\x1b[0m", "waiting for Deployment tks/tks-contract: 0 of 2 ready"}, tail...)...)
	})

	at = ago(140 * time.Minute)
	d = decide(3, at, jobs.OutcomeRun, oneStarted, pullRequest(3, 41, "faster-image", "Build in two stages", mona), twoJobs(false))
	s.docker = w.add(tb, "pull_request", d, func(r *jobs.Run) {
		w.finish(tb, r, "image", at.Add(time.Second), 12*time.Second, jobs.Result{
			Conclusion: jobs.Failure,
			Summary:    "Dockerfile line 7: `go build` ended with exit code 1. Fix the compile error below and push again.",
			Details:    "Step `RUN go build -o /out/contract ./cmd/contract` of stage **builder** failed after 3.1s.",
			Annotations: []jobs.Annotation{
				{Path: "Dockerfile", Line: 7, Level: "failure", Title: "exit code 1", Message: "RUN go build -o /out/contract ./cmd/contract"},
				{Path: "cmd/contract/main.go", Line: 23, Level: "warning", Message: "undefined: `contract.Serve`"},
			},
			Tail: []string{"# github.com/acme/tks-contract/cmd/contract", "cmd/contract/main.go:23:11: undefined: contract.Serve"},
		}, "#1 [internal] load build definition from Dockerfile", "#5 [builder 3/4] COPY . .", "#6 [builder 4/4] RUN go build -o /out/contract ./cmd/contract",
			"#6 1.402 # github.com/acme/tks-contract/cmd/contract", "#6 1.402 \x1b[1;31mcmd/contract/main.go:23:11: undefined: contract.Serve\x1b[0m", "#6 ERROR: process did not complete: exit code: 1")
	})

	at = ago(70 * time.Minute)
	d = decide(4, at, jobs.OutcomeHeld, "Held: the pull request comes from a fork (drive-by/tks-contract). Someone with write permission may start it with /ok-to-test "+shaOf(4)[:12]+".", pullRequest(4, 42, "patch-1", "Fix a typo in the README", stranger), twoJobs(false))
	d.Run.Fork, d.Run.Trust = true, jobs.Trust{Level: jobs.Untrusted, Reason: "the pull request comes from a fork (drive-by/tks-contract)"}
	s.held = w.add(tb, "pull_request", d, nil)

	at = ago(55 * time.Minute)
	s.pull = w.add(tb, "pull_request", decide(5, at, jobs.OutcomeRun, oneStarted, pullRequest(5, 43, "retry-migration", "Try the migration again when the database is locked", hubert), twoJobs(false)),
		func(r *jobs.Run) { w.built(tb, r, at, 39*time.Second) })

	at = ago(31 * time.Minute)
	s.superseded = w.add(tb, "pull_request", decide(6, at, jobs.OutcomeRun, oneStarted, pullRequest(6, 44, "shorter-names", "wip", mona), twoJobs(false)), func(r *jobs.Run) {
		r.RequestStop(jobs.Stop{Reason: "superseded by a newer push, " + shaOf(7)[:12], Time: at.Add(20 * time.Second), Superseded: true})
		w.finish(tb, r, "image", at.Add(time.Second), 20*time.Second, jobs.Result{Conclusion: jobs.Cancelled, Summary: r.Stop.Reason}, "#1 [internal] load build definition from Dockerfile")
	})

	at = ago(24 * time.Minute)
	s.green = w.add(tb, "push", decide(7, at, jobs.OutcomeRun, twoStarted, push(repository, 7, "main", "Keep the schema in a file of its own", mona), twoJobs(true)), func(r *jobs.Run) {
		end := w.built(tb, r, at, 52*time.Second)
		w.finish(tb, r, "rollout", end, 31*time.Second, jobs.Result{
			Conclusion: jobs.Success, Summary: "Release tks-contract is at revision 6 in tks on staging; 2 of 2 pods are ready.",
			Details: "tks-contract answers at `http://tks-contract.tks.svc:9110`.",
			Outputs: map[string]any{"revision": float64(6), "status": "deployed", "images": "registry.example.com/acme/tks-contract@" + digest},
		}, "helm: upgrade tks-contract in tks", "hook tks-contract-schema: schema is there", "Deployment tks/tks-contract: 2 of 2 ready")
	})

	s.nothing, s.observed = guid(11), guid(12)
	d = decide(11, ago(12*time.Minute), jobs.OutcomeNothing, "No job matches: only docs/setup.md changed.", push(repository, 11, "main", "Say how to set it up", hubert), twoJobs(false))
	d.Plan.Jobs[0].Planned, d.Plan.Jobs[0].Reason = false, "no changed file matches its paths (cmd/**, Dockerfile)"
	d.Plan.Jobs[1].Reason = "image, which it needs, does not run"
	w.add(tb, "push", d, nil)

	s.matrix = w.add(tb, "push", decide(8, ago(9*time.Minute), jobs.OutcomeRun, "7 of 8 jobs match this push.", push(shop, 8, "main", "Share one client between the services", hubert), matrixPlan()), func(r *jobs.Run) {
		at := r.Created.Add(time.Second)
		for i, name := range []string{"lib", "api", "auth", "billing"} {
			w.finish(tb, r, name, at.Add(time.Duration(i)*time.Second), time.Duration(20+9*i)*time.Second, jobs.Result{Conclusion: jobs.Success, Summary: "Pushed registry.example.com/acme/shop/" + name + ":sha-" + shaOf(8)[:12] + "."}, "#1 [internal] load build definition from Dockerfile")
		}
		w.start(r, "staging", at.Add(50*time.Second))
		r.Job("smoke").Waiting, r.Job("smoke").State = "", jobs.JobWaiting
	})

	w.add(tb, "push", decide(12, ago(8*time.Minute), jobs.OutcomeObserve, "2 jobs match, but repositories.mode is observe for acme/tks-web.", push(jobs.Repository{ID: 5, Owner: "acme", Name: "tks-web", DefaultBranch: "main"}, 12, "main", "Polish", mona), twoJobs(true)), nil)
	w.add(tb, "issues", decide(13, ago(5*time.Minute), jobs.OutcomeIgnored, "Not handled yet: issues (opened).", jobs.RunInfo{}, jobs.Plan{}), nil)
	fault := decide(14, ago(4*time.Minute), jobs.OutcomeFault, ".slipway.yaml has 2 faults; nothing was started.", push(shop, 14, "pipeline", "Deploy twice", hubert), jobs.Plan{Pipeline: ".slipway.yaml at " + shaOf(14)[:12], Faults: []jobs.Fault{
		{Path: ".slipway.yaml", Line: 6, Column: 5, Message: `unknown key "biuld"; did you mean "build"?`},
		{Path: ".slipway.yaml", Line: 11, Column: 13, Job: "release", Message: "needs image, which no job is called"},
	}})
	w.add(tb, "push", fault, nil)

	s.running = w.add(tb, "push", decide(9, ago(41*time.Second), jobs.OutcomeRun, twoStarted, push(repository, 9, "main", "Answer health checks while the schema is prepared", mona), twoJobs(true)), func(r *jobs.Run) {
		w.start(r, "image", ago(38*time.Second))
		w.logs.print(jobs.LogKey{Run: r.ID, Job: "image", Attempt: 1}, false, buildLog[:9]...)
	})
	s.queued = w.add(tb, "pull_request", decide(10, ago(16*time.Second), jobs.OutcomeRun, oneStarted, pullRequest(10, 45, "shorter-names", "Shorten the names of the contract's fields", mona), twoJobs(false)), func(r *jobs.Run) {
		r.Job("image").State, r.Job("image").Waiting = jobs.JobQueued, "acme/tks-contract has 1 of 1 builds running."
	})
	w.add(tb, "push", jobs.Decision{Delivery: guid(15), Time: ago(2 * time.Second)}, nil)
	return s
}

func matrixPlan() jobs.Plan {
	p := jobs.Plan{Pipeline: ".slipway.yaml at 4a01c77d41d4", Notes: []string{"GitHub lists no more than 300 changed files; all files count as changed."}}
	add := func(name string, kind jobs.KindName, reason string, needs ...string) {
		p.Jobs = append(p.Jobs, jobs.PlannedJob{Name: name, Kind: kind, Planned: true, Reason: reason, Needs: needs, Spec: buildSpec})
	}
	add("lib", jobs.KindBuild, "a push to the default branch")
	for _, name := range []string{"api", "auth", "billing"} {
		add(name, jobs.KindBuild, "changed files could not be known", "lib")
	}
	add("staging", jobs.KindDeploy, "a push to the default branch", "api", "auth", "billing")
	add("smoke", jobs.KindBuild, "a push to the default branch", "staging")
	add("notify-the-platform-team", jobs.KindBuild, "a push to the default branch", "smoke", "lib")
	p.Jobs = append(p.Jobs, jobs.PlannedJob{Name: "preview", Kind: jobs.KindDeploy, Reason: "only on pull requests with the label preview"})
	return p
}

// start makes a job run.
func (w *world) start(r *jobs.Run, name string, at time.Time) {
	j := r.Job(name)
	if j.Template != nil {
		j.Spec, j.Template = j.Template, nil
	}
	j.State, j.Started, j.Claims = jobs.JobRunning, at, 1
	j.Claim = &jobs.Claim{Token: "fence-" + name, Worker: "slipway-0", Time: at}
	if r.Started.IsZero() {
		r.Started = at
	}
}

// finish ends a job that took some time, with its log, and the run when it was the last.
func (w *world) finish(tb testing.TB, r *jobs.Run, name string, at time.Time, took time.Duration, result jobs.Result, lines ...string) time.Time {
	tb.Helper()
	w.start(r, name, at)
	end := at.Add(took)
	key := jobs.ResultKey(r.ID, name, 1, 1)
	if err := r.Finish(name, "fence-"+name, result, key, end); err != nil {
		tb.Fatal(err)
	}
	must(tb, w.results, key, result)
	w.logs.print(jobs.LogKey{Run: r.ID, Job: name, Attempt: 1}, true, lines...)
	if _, err := r.Advance(end, func(jobs.Run, jobs.Job) jobs.Resolution { return jobs.Resolution{Spec: deploySpec} }); err != nil {
		tb.Fatal(err)
	}
	return end
}

func (w *world) built(tb testing.TB, r *jobs.Run, at time.Time, took time.Duration) time.Time {
	tb.Helper()
	return w.finish(tb, r, "image", at.Add(time.Second), took, builtResult(r.SHA), buildLog...).Add(time.Second)
}

func builtResult(sha string) jobs.Result {
	return jobs.Result{
		Conclusion: jobs.Success, Summary: "Pushed registry.example.com/acme/tks-contract as latest and sha-" + sha[:12] + "; 7 of 11 steps were cached.",
		Outputs: map[string]any{"image": "registry.example.com/acme/tks-contract", "digest": digest, "size": float64(11403264), "seconds": 47.3, "cached": float64(7)},
	}
}

var buildLog = []string{
	"source: acme/tks-contract, 41 files, 212 KB",
	"#1 [internal] load build definition from Dockerfile",
	"#1 transferring dockerfile: 412B done",
	"#2 [internal] load metadata for docker.io/library/golang:1.26-alpine",
	"#3 [builder 1/4] FROM docker.io/library/golang:1.26-alpine",
	"#3 \x1b[32mCACHED\x1b[0m",
	"#4 [builder 2/4] WORKDIR /src",
	"#4 \x1b[32mCACHED\x1b[0m",
	"#5 [builder 3/4] COPY . .",
	"#5 DONE 0.2s",
	"#6 [builder 4/4] RUN go build -o /out/contract ./cmd/contract",
	"#6 18.31 github.com/acme/tks-contract/contract",
	"#6 DONE 21.4s",
	"#7 exporting to image",
	"#7 pushing layers\r#7 pushing layers 11.4MB / 11.4MB",
	"#7 pushing manifest for registry.example.com/acme/tks-contract:latest@" + digest,
	"#7 DONE 2.2s",
}
