package jobs_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/jobs"
	"github.com/slipway-ci/slipway/queue"
)

// handOver has a planner handle an event that was delivered some time ago.
func (w *town) handOver(p *jobs.Planner, guid string, e jobs.Event, ago time.Duration) error {
	w.t.Helper()
	e.Installation, e.Delivery, e.Repository = 3, guid, jobs.Repository{ID: 5, Owner: "acme", Name: "shop", DefaultBranch: "main"}
	if e.Sender.ID == 0 {
		e.Sender = alice
	}
	body, err := json.Marshal(e)
	if err != nil {
		w.t.Fatal(err)
	}
	return p.Handle(w.t.Context(), jobs.Delivery{GUID: guid, Event: string(e.Kind), Received: time.Now().Add(-ago), Body: body})
}

// TestOneBadRunStopsNobody holds that a run whose records crash us ends with a failed job, and that the leader goes on with the others.
func TestOneBadRunStopsNobody(t *testing.T) {
	w := newTown(t)
	w.resolve = func(run jobs.Run, _ jobs.Job) jobs.Resolution {
		if run.SHA == strings.Repeat("a", 40) {
			panic("a bad template")
		}
		return jobs.Resolution{Spec: []byte(`{}`)}
	}
	w.plan = func(jobs.PlanInput) jobs.Plan {
		return jobs.Plan{Pipeline: "the test's", Jobs: []jobs.PlannedJob{{Name: "image", Kind: jobs.KindBuild, Planned: true, Template: json.RawMessage(`{}`)}}}
	}
	w.replica("one")
	w.deliver("guid-push-1", w.push("a"))
	w.deliver("guid-push-2", w.push("b"))
	if run := w.finished("guid-push-2"); run.State != jobs.RunSucceeded {
		t.Errorf("the good run ended as %s", run.State)
	}
	run := w.finished("guid-push-1")
	if run.State != jobs.RunFailed || !strings.Contains(run.Jobs[0].Summary, "crashed") || strings.Contains(run.Jobs[0].Summary, "a bad template") {
		t.Errorf("%s: %+v", run.State, run.Jobs[0])
	}
}

// TestACrashingReportStopsNobody holds that the leader goes on, and tries again, when reporting a run crashes it.
func TestACrashingReportStopsNobody(t *testing.T) {
	w := newTown(t)
	crashed := 0
	w.refuses = func(run jobs.Run) error {
		if run.SHA == strings.Repeat("a", 40) && crashed < 2 {
			crashed++
			panic("a bad run")
		}
		return nil
	}
	w.replica("one")
	w.deliver("guid-push-1", w.push("a"))
	w.deliver("guid-push-2", w.push("b"))
	w.finished("guid-push-2")
	w.finished("guid-push-1")
}

// TestWhatCantBeReportedWaits holds that sweeping does not repeat a report that GitHub wants later, and that a change of the run does.
func TestWhatCantBeReportedWaits(t *testing.T) {
	w := newTown(t)
	w.sweep = 20 * time.Millisecond
	w.refuses = func(run jobs.Run) error {
		if run.State.Over() {
			return nil
		}
		return &jobs.Later{After: time.Hour, Reason: "GitHub asked for it"}
	}
	const sweeps = 60
	begun, swept := make(chan struct{}), 0
	build := w.build
	w.build = func(ctx context.Context, task jobs.Task) (jobs.Result, error) {
		waitFor(ctx, begun)
		return build(ctx, task)
	}
	w.depth = func(kind jobs.KindName, _ int) {
		if kind == jobs.KindBuild {
			if swept++; swept == sweeps {
				close(begun)
			}
		}
	}
	w.replica("one")
	w.deliver("guid-push-1", w.push("a"))
	w.finished("guid-push-1")
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.reports > sweeps/4 { // one for each change of the run, at most every two seconds
		t.Errorf("the run was to be reported %d times", w.reports)
	}
}

// TestWhatIsSaidAfterThreeDays holds that a wait is not called silence, and that the operator's words stay in the log.
func TestWhatIsSaidAfterThreeDays(t *testing.T) {
	for name, c := range map[string]struct {
		down error
		ago  time.Duration
		want string // "" to try again
	}{
		"trouble":               {errors.New("dial tcp 10.1.2.3:443: i/o timeout"), 73 * time.Hour, "GitHub did not answer for three days; the server's log has the details"},
		"a wait":                {&jobs.Later{After: time.Hour, Reason: "GitHub asked this installation to wait"}, 73 * time.Hour, "it waited for three days in vain: GitHub asked this installation to wait"},
		"trouble of two days":   {errors.New("dial tcp 10.1.2.3:443: i/o timeout"), 48 * time.Hour, ""},
		"what can't be planned": {&jobs.Refusal{Sentence: "the repository is too large"}, time.Hour, "the repository is too large"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTown(t)
			if _, err := jobs.Change(t.Context(), queue.Set[jobs.Start](w.q, queue.Meta), jobs.StartKey, func(s *jobs.Start) error {
				s.Since = time.Now().Add(-100 * time.Hour)
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			pull := w.pull(7, "a", 5)
			w.down = c.down
			err := w.handOver(w.planner(), "guid-pull-1", pull, c.ago)
			if c.want == "" {
				if !errors.Is(err, c.down) {
					t.Errorf("%v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			d := w.decision("guid-pull-1")
			if d.Outcome != jobs.OutcomeFault || d.Reason != c.want || len(d.Plan.Faults) != 1 || d.Plan.Faults[0].Message != c.want {
				t.Errorf("%s: %s\n%+v", d.Outcome, d.Reason, d.Plan.Faults)
			}
		})
	}
}

// TestAReadersCommentSurvivesTrouble holds that a comment tried again and again is one comment of its writer.
func TestAReadersCommentSurvivesTrouble(t *testing.T) {
	w := newTown(t)
	p := w.planner()
	if err := w.handOver(p, "guid-pull-1", w.pull(7, "a", 5), 0); err != nil {
		t.Fatal(err)
	}
	w.perms[eve.ID] = "read"
	w.unreadable = errors.New("502 Bad Gateway")
	e := w.comment(1, 7, eve, "/help")
	for range 10 {
		if err := w.handOver(p, "guid-comment-1", e, 0); !errors.Is(err, w.unreadable) {
			t.Fatalf("%v", err)
		}
	}
	w.unreadable = nil
	if err := w.handOver(p, "guid-comment-1", e, 0); err != nil {
		t.Fatal(err)
	}
	if d := w.decision("guid-comment-1"); d.Outcome != jobs.OutcomeActed {
		t.Errorf("%s: %s", d.Outcome, d.Reason)
	}
}

// TestAListedApproverNeedsNoTeam holds that GitHub is asked about teams only when nothing else lets somebody approve.
func TestAListedApproverNeedsNoTeam(t *testing.T) {
	w := newTown(t)
	w.granted.Environments = []jobs.EnvironmentGrant{{Name: "production", Approvals: jobs.ApprovalRule{Count: 1, Users: []string{"alice"}, Teams: []string{"acme/sre"}}}}
	w.perms[10] = "write"
	w.resolve = func(run jobs.Run, _ jobs.Job) jobs.Resolution {
		if len(run.Approved) == 0 {
			return jobs.Resolution{Hold: "waits for approval of production", Approvals: []string{"production"}}
		}
		return jobs.Resolution{Spec: []byte(`{}`)}
	}
	w.plan = func(jobs.PlanInput) jobs.Plan {
		return jobs.Plan{Pipeline: "the test's", Jobs: []jobs.PlannedJob{{Name: "image", Kind: jobs.KindBuild, Planned: true, Template: json.RawMessage(`{}`)}}}
	}
	w.replica("one")
	w.deliver("guid-push-1", w.push("a"))
	run := w.finished("guid-push-1")
	approve := func(guid string, by jobs.Actor) (d jobs.Decision, asked int) {
		w.deliver(guid, jobs.Event{Kind: jobs.EventButton, Sender: by, Check: &jobs.CheckClick{ID: 3, ExternalID: run.ID + "/slipway", SHA: run.SHA, Button: jobs.ButtonApprove}})
		d = w.decision(guid)
		w.mu.Lock()
		defer w.mu.Unlock()
		return d, w.teamsAsked
	}
	if d, asked := approve("guid-click-1", jobs.Actor{ID: 10, Login: "carol", Type: "User"}); d.Outcome != jobs.OutcomeRefused || asked != 1 {
		t.Errorf("asked %d times about carol's teams, and decided %s: %s", asked, d.Outcome, d.Reason)
	}
	if d, asked := approve("guid-click-2", alice); d.Outcome != jobs.OutcomeRun || asked != 1 {
		t.Errorf("asked %d times about teams, and decided %s: %s", asked, d.Outcome, d.Reason)
	}
}
