package jobs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A Watch lists the jobs that wait for news about one thing outside: a workflow run, or a commit's checks.
type Watch struct {
	Watchers []Watcher `json:"watchers"`
}

// A Watcher is a job that waits for news.
type Watcher struct {
	Run   string   `json:"run"`
	Job   string   `json:"job"`
	Names []string `json:"names,omitempty"` // of the checks it waits for; none for all news
}

// Bounds of a Watch. Beyond maxWatchers a job is not registered and relies on polling; beyond maxWatchedNames a watcher is woken by
// every check.
const (
	maxWatchers     = 200
	maxWatchedNames = 64 << 10 // bytes
	manyWatchers    = 20       // from here on those of runs that are gone are looked for
)

// WorkflowTopic is the key of the Watch of a workflow run.
func WorkflowTopic(repository, run int64) string {
	return fmt.Sprintf("workflow.%d.%d", repository, run)
}

// CommitTopic is the key of the Watch of the checks and statuses of a commit.
func CommitTopic(repository int64, sha string) string {
	return fmt.Sprintf("commit.%d.%s", repository, sha)
}

// watchTopic notes that a job wants to be woken by news about a topic.
func (r *Runner) watchTopic(ctx context.Context, topic string, w Watcher) error {
	_, err := Upsert(ctx, r.Watches, topic, func(now *Watch) error {
		if slices.ContainsFunc(now.Watchers, w.same) {
			return ErrUnchanged
		}
		if len(now.Watchers) >= manyWatchers {
			now.Watchers = slices.DeleteFunc(now.Watchers, func(o Watcher) bool {
				_, _, err := r.Runs.Get(ctx, o.Run)
				return errors.Is(err, ErrNotFound)
			})
		}
		if len(now.Watchers) >= maxWatchers {
			return ErrUnchanged
		}
		noted := w
		if now.size()+w.size() > maxWatchedNames {
			noted.Names = nil
		}
		now.Watchers = append(now.Watchers, noted)
		return nil
	})
	if err != nil {
		return fmt.Errorf("note that %s of %s waits for %s: %w", w.Job, w.Run, topic, err)
	}
	return nil
}

func (w Watch) size() (n int) {
	for _, o := range w.Watchers {
		n += o.size()
	}
	return n
}

func (w Watcher) size() (n int) {
	for _, name := range w.Names {
		n += len(name)
	}
	return n
}

// same reports whether the stored watcher o covers w: the same job, and the same names or none, which means all.
func (w Watcher) same(o Watcher) bool {
	return w.Run == o.Run && w.Job == o.Job && (len(o.Names) == 0 || slices.Equal(w.Names, o.Names))
}

// wants reports whether news about a check of that name, "" for any, are what the watcher waits for. Checks of workflows are
// awaited as WORKFLOW / JOB, too.
func (w Watcher) wants(name string) bool {
	return name == "" || len(w.Names) == 0 || slices.ContainsFunc(w.Names, func(awaited string) bool {
		return awaited == name || strings.HasSuffix(awaited, " / "+name)
	})
}

// handleNews decides about news from outside: what is known of a workflow run is kept, and jobs that wait are woken. Every step is
// idempotent.
func (p *Planner) handleNews(ctx context.Context, e Event, d Delivery, decision Decision) (Decision, error) {
	conclude := func(outcome Outcome, format string, args ...any) (Decision, error) {
		decision.Outcome, decision.Reason = outcome, fmt.Sprintf(format, args...)
		return decision, nil
	}
	var topic, name, what string
	if e.Workflow != nil {
		topic, what = WorkflowTopic(e.Repository.ID, e.Workflow.ID), fmt.Sprintf("workflow run %d", e.Workflow.ID)
	} else {
		topic, name, what = CommitTopic(e.Repository.ID, e.Checked.SHA), e.Checked.Name, "the checks of "+Abbreviate(e.Checked.SHA)
	}
	watchers, err := p.watchers(ctx, topic)
	if err != nil {
		return decision, err
	}
	if len(watchers) == 0 { // who waits may belong to a repository that is served, when this one is not
		if observing, err := p.observing(ctx, e.Repository, d); err != nil || observing != "" && e.Workflow == nil {
			decision.Outcome, decision.Reason = OutcomeIgnored, observing
			return decision, err
		}
	}
	if e.Workflow != nil {
		known := len(watchers) > 0
		if !known && e.Workflow.OnRequest() {
			bot, err := p.Actions.BotLogin(ctx)
			if err != nil {
				return decision, fmt.Errorf("ask who started %s: %w", what, err)
			}
			known = e.Workflow.Actor.Login == bot
		}
		if !known {
			_, _, err := p.Workflows.Get(ctx, WorkflowKey(e.Repository.ID, e.Workflow.ID))
			if known = err == nil; err != nil && !errors.Is(err, ErrNotFound) {
				return decision, fmt.Errorf("look for what is known of %s: %w", what, err)
			}
		}
		if !known {
			return conclude(OutcomeIgnored, "no job follows %s", what)
		}
		// News may be faster than the answer to the request that started the run: they are kept first, and whoever begins to wait
		// looks at what is kept.
		if err := p.mergeWorkflowRun(ctx, e); err != nil {
			return decision, err
		}
		if watchers, err = p.watchers(ctx, topic); err != nil {
			return decision, err
		}
	}
	woken := 0
	for _, w := range watchers {
		if !w.wants(name) {
			continue
		}
		did, err := p.wake(ctx, w)
		if err != nil {
			return decision, err
		}
		if did {
			woken++
		}
	}
	switch {
	case woken == 0 && e.Workflow != nil:
		return conclude(OutcomeIgnored, "what is known of %s is kept; no job waits for it now", what)
	case woken == 0:
		return conclude(OutcomeIgnored, "no job waits for news about %s", what)
	}
	return conclude(OutcomeNoted, "news about %s for %s", what, plural(woken, "job"))
}

// watchers are the jobs that wait for news about a topic.
func (p *Planner) watchers(ctx context.Context, topic string) ([]Watcher, error) {
	watch, _, err := p.Watches.Get(ctx, topic)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, fmt.Errorf("look who waits for %s: %w", topic, err)
	}
	return watch.Watchers, nil
}

// mergeWorkflowRun keeps what an event tells of a workflow run.
func (p *Planner) mergeWorkflowRun(ctx context.Context, e Event) error {
	_, err := Upsert(ctx, p.Workflows, WorkflowKey(e.Repository.ID, e.Workflow.ID), func(now *WorkflowRun) error {
		if !now.Learn(*e.Workflow) {
			return ErrUnchanged
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("keep what is known of workflow run %d: %w", e.Workflow.ID, err)
	}
	return nil
}

// wake lets a job that waits be taken up soon. It reports whether there was one.
func (p *Planner) wake(ctx context.Context, w Watcher) (woken bool, err error) {
	_, err = Change(ctx, p.Runs, w.Run, func(run *Run) error {
		if woken = run.Wake(w.Job, p.Now()); !woken {
			return ErrUnchanged
		}
		return nil
	})
	if err != nil && !errors.Is(err, ErrNotFound) {
		return false, fmt.Errorf("wake %s of %s: %w", w.Job, w.Run, err)
	}
	return woken, nil
}
