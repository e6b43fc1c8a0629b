package jobs_test

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/jobs"
	"github.com/slipway-ci/slipway/queue"
)

// TestRehearse: what was decided about a commit does not count, and nothing is stored.
func TestRehearse(t *testing.T) {
	w := newTown(t)
	w.heads["refs/heads/main"] = "x"
	w.replica("one")
	w.deliver("guid-pull-1", w.pull(7, "b", 5))
	w.finished("guid-pull-1")
	stored, err := w.q.Delivery(t.Context(), "guid-pull-1")
	if err != nil {
		t.Fatal(err)
	}
	stored.GUID = "guid-pull-2"
	decision, err := w.planner().Rehearse(t.Context(), stored)
	if err != nil || decision.Outcome != jobs.OutcomeRun || len(decision.Plan.Jobs) != 1 {
		t.Errorf("%+v, %v", decision, err)
	}
	if _, _, err := queue.Set[jobs.Decision](w.q, queue.Decisions).Get(t.Context(), "guid-pull-2"); !errors.Is(err, jobs.ErrNotFound) {
		t.Errorf("a rehearsal was stored: %v", err)
	}
	for _, event := range []string{"issue_comment", "commit_comment", "check_run", "check_suite"} {
		_, err := w.planner().Rehearse(t.Context(), jobs.Delivery{GUID: "guid-comment-1", Event: event})
		if refusal := (*jobs.Refusal)(nil); !errors.As(err, &refusal) {
			t.Errorf("%s: %v", event, err)
		}
	}
}

// TestReplay: a delivery that is run again runs, although a run stands on its commit; a redelivery of it does not.
func TestReplay(t *testing.T) {
	w := newTown(t)
	w.replica("one")
	pull := w.pull(7, "b", 5)
	w.deliver("guid-pull-1", pull)
	w.finished("guid-pull-1")
	w.deliver("guid-pull-2", pull)
	if d := w.decision("guid-pull-2"); d.Outcome == jobs.OutcomeRun {
		t.Errorf("decided %s: %s", d.Outcome, d.Reason)
	}
	again, err := w.q.Delivery(t.Context(), "guid-pull-1")
	if err != nil {
		t.Fatal(err)
	}
	again.ReplayOf, again.GUID, again.Received = again.GUID, jobs.ReplayGUID(again.GUID, 1), time.Now()
	if !jobs.ValidGUID(again.GUID) || again.GUID == jobs.ReplayGUID(again.ReplayOf, 2) {
		t.Error(again.GUID)
	}
	for range 2 {
		if _, err := w.q.Accept(t.Context(), again); err != nil {
			t.Fatal(err)
		}
	}
	if run := w.finished(again.GUID); run.State != jobs.RunSucceeded || run.Delivery != again.GUID {
		t.Errorf("%+v", run)
	}
	if kept, err := w.q.Delivery(t.Context(), again.GUID); err != nil || kept.ReplayOf != "guid-pull-1" {
		t.Errorf("%+v, %v", kept, err)
	}
}

// TestAForgetfulPlannerIsTheSame: every field of a planner is the forgetful one's, too.
func TestAForgetfulPlannerIsTheSame(t *testing.T) {
	p := newTown(t).planner()
	if p.Decided == nil {
		p.Decided = func(jobs.Outcome) {}
	}
	p.Bots = []string{"dependabot[bot]"}
	fill(reflect.ValueOf(p).Elem())
	got := reflect.ValueOf(jobs.Forgetful(p)).Elem()
	for i, field := range reflect.VisibleFields(got.Type()) {
		was, is := reflect.ValueOf(p).Elem().Field(i), got.Field(i)
		switch {
		case !field.IsExported() || field.Name == "Refs":
		case was.IsZero():
			t.Errorf("the test's planner has no %s", field.Name)
		case is.IsZero():
			t.Errorf("the forgetful planner has no %s", field.Name)
		}
	}
}

// fill sets functions that a planner can do without.
func fill(v reflect.Value) {
	for i := range v.NumField() {
		if f := v.Field(i); f.CanSet() && f.Kind() == reflect.Func && f.IsNil() {
			f.Set(reflect.MakeFunc(f.Type(), func([]reflect.Value) []reflect.Value { panic("not called") }))
		}
	}
}
