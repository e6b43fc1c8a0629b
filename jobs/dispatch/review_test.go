package dispatch_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

func approval(w *world, cause string) jobs.Order {
	return jobs.Order{Do: jobs.OrderApprove, By: jobs.Actor{ID: 1, Login: "alice"}, Names: []string{"production"}, Cause: cause, Time: w.clock}
}

func TestApproval(t *testing.T) {
	w := newWorld(t)
	w.github.review = "production"
	task := w.task("greet", hello("greet"))
	later := w.until(task, "hello: waits for approval of production on GitHub")
	if !slices.Equal(later.Approvals, []string{"production"}) {
		t.Errorf("awaits %q", later.Approvals)
	}
	for range 5 {
		_, _, _ = w.step(task)
	}
	if w.github.calls["pending"] != 1 {
		t.Errorf("asked %d times what it waits for, and nothing changed", w.github.calls["pending"])
	}
	task.Orders = []jobs.Order{approval(w, "click-1")}
	if later = w.until(task, "hello: "); len(later.Approvals) != 0 {
		t.Errorf("still awaits %q", later.Approvals)
	}
	w.want(w.finish(task), jobs.Success, "hello succeeded")
	if !slices.Equal(w.github.approved, []string{"[9]Approved by @alice through Slipway"}) {
		t.Errorf("approved %q", w.github.approved)
	}
}

func TestApprovalThatGitHubRefuses(t *testing.T) {
	w := newWorld(t)
	w.github.review, w.github.mayApprove = "production", false
	task := w.task("greet", hello("greet"))
	_ = w.until(task, "waits for approval")
	task.Orders = []jobs.Order{approval(w, "click-1")}
	later := w.until(task, "GitHub does not let the App approve production: Slipway is not a required reviewer; approve it there")
	if !strings.Contains(later.Progress.Details, "GitHub does not let the App approve production") || !slices.Equal(later.Approvals, []string{"production"}) {
		t.Errorf("awaits %q\n%s", later.Approvals, later.Progress.Details)
	}
	for range 5 {
		_, _, _ = w.step(task)
	}
	if w.github.calls["approve"] != 1 {
		t.Errorf("tried %d times for one order", w.github.calls["approve"])
	}
	w.github.mayApprove = true
	task.Orders = append(task.Orders, approval(w, "click-2"))
	w.want(w.finish(task), jobs.Success, "hello succeeded")
}

func TestApprovalOfWhatWasNotShown(t *testing.T) {
	w := newWorld(t)
	w.github.review = "production"
	task := w.task("greet", hello("greet"))
	_ = w.until(task, "queued")
	task.Orders = []jobs.Order{approval(w, "click-1")} // meant for something before
	w.clock = w.clock.Add(time.Minute)
	_ = w.until(task, "waits for approval of production")
	for range 5 {
		_, _, _ = w.step(task)
	}
	if len(w.github.approved) != 0 {
		t.Errorf("approved %q, which nobody had seen", w.github.approved)
	}
}

// TestApprovalAfterACrash: an approval that may have reached GitHub is not sent twice, for it would be one of what comes next.
func TestApprovalAfterACrash(t *testing.T) {
	for at := 1; ; at++ {
		w := newWorld(t)
		w.github.review, w.github.gates = "production", 2
		task := w.task("greet", hello("greet"))
		_ = w.until(task, "waits for approval")
		task.Orders = []jobs.Order{approval(w, "click-1")}
		n := 0
		w.github.trap = func(string) {
			if n++; n == at {
				panic(errCrash)
			}
		}
		for range 10 {
			if result, _, _ := w.step(task); result != nil {
				break
			}
		}
		if len(w.github.approved) > 1 {
			t.Fatalf("approved %q after a crash at point %d", w.github.approved, at)
		}
		if len(w.github.approved) == 0 {
			if later := w.until(task, "the approval of production by alice was sent to GitHub, and it is not known whether it was taken"); !slices.Equal(later.Approvals, []string{"production"}) {
				t.Errorf("awaits %q after a crash at point %d", later.Approvals, at)
			}
		}
		if n < at {
			break
		}
	}
}

// gates are environments that a workflow run waits for at the same time.
type gates struct {
	open     []jobs.PendingDeployment
	approved []int64
}

func (g *gates) PendingDeployments(context.Context, int64, jobs.Repository, int64) ([]jobs.PendingDeployment, error) {
	return slices.Clone(g.open), nil
}

func (g *gates) ApproveDeployments(_ context.Context, _ int64, _ jobs.Repository, _ int64, environments []int64, _ string) error {
	g.approved = append(g.approved, environments...)
	g.open = slices.DeleteFunc(g.open, func(p jobs.PendingDeployment) bool { return slices.Contains(environments, p.ID) })
	return nil
}

func TestApprovalOfOneOfTwo(t *testing.T) {
	for name, c := range map[string]struct {
		names    []string
		approved []int64
		awaits   []string
	}{
		"staging":           {[]string{"staging"}, []int64{8}, []string{"production"}},
		"both":              {[]string{"staging", "production"}, []int64{8, 9}, nil},
		"another":           {[]string{"preview"}, nil, []string{"staging", "production"}},
		"none that is told": {nil, nil, []string{"staging", "production"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.github.review = "staging" // so that it stands at waiting
			both := &gates{open: []jobs.PendingDeployment{{ID: 8, Name: "staging", MayApprove: true}, {ID: 9, Name: "production", MayApprove: true}}}
			w.reviews = both
			task := w.task("greet", hello("greet"))
			_ = w.until(task, "waits for approval of staging, production on GitHub")
			order := approval(w, "comment-1-1")
			order.Names = c.names
			task.Orders = []jobs.Order{order}
			for range 3 {
				later := w.until(task, "hello: ")
				if !slices.Equal(later.Approvals, c.awaits) {
					t.Errorf("awaits %q, want %q", later.Approvals, c.awaits)
				}
			}
			if !slices.Equal(both.approved, c.approved) {
				t.Errorf("approved %v, want %v", both.approved, c.approved)
			}
		})
	}
}

// TestApprovalByWhoStoodStill: what waits by then may be another thing than what was approved.
func TestApprovalByWhoStoodStill(t *testing.T) {
	w := newWorld(t)
	w.github.review = "production"
	task := w.task("greet", hello("greet"))
	_ = w.until(task, "waits for approval")
	task.Orders = []jobs.Order{approval(w, "click-1")}
	stood := false
	w.github.trap = func(point string) {
		if !stood && point == "updated record" && strings.Contains(w.record(task).Answer, "was sent to GitHub") {
			stood = true
			w.clock = w.clock.Add(2 * time.Minute)
		}
	}
	if _, err := w.call(task, nil); !stood || err == nil || w.github.calls["approve"] != 0 {
		t.Errorf("stood still: %v; asked %d times: %v", stood, w.github.calls["approve"], err)
	}
	w.want(w.finish(task), jobs.Success, "hello succeeded") // nobody else went on with it: the order stands
	if w.github.calls["approve"] != 1 {
		t.Errorf("asked %d times", w.github.calls["approve"])
	}
}
