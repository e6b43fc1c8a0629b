package jobs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// readersShare is how many comments with commands of somebody without write permission are looked at within an hour.
const readersShare = 6

// questions counts the comments of readers, so that nobody lets us ask GitHub and answer without end. It is kept in memory: a
// new leader counts afresh.
type questions struct {
	mu    sync.Mutex
	asked map[[2]int64][]time.Time // by repository and account
}

// take reports whether one more may be looked at, and counts it.
func (q *questions) take(repository, account int64, now time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.asked == nil || len(q.asked) > 10_000 {
		q.asked = map[[2]int64][]time.Time{}
	}
	key := [2]int64{repository, account}
	recent := slices.DeleteFunc(q.asked[key], func(t time.Time) bool { return now.Sub(t) >= time.Hour })
	if len(recent) >= readersShare {
		q.asked[key] = recent
		return false
	}
	q.asked[key] = append(recent, now)
	return true
}

// help lists what works in this repository for this person.
func (w *wish) help(ctx context.Context) (Decision, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "What @%s may ask for here:\n\n| command | what it does |\n|---|---|\n", w.e.Sender.Login)
	for _, c := range BuiltinCommands() {
		ok, err := w.offers(ctx, c[0])
		if err != nil {
			return w.decision, err
		}
		if ok {
			fmt.Fprintf(&b, "| `%s` | %s |\n", c[1], c[2])
		}
	}
	commands, err := w.commands(ctx)
	if err != nil {
		return w.decision, fmt.Errorf("read the pipeline's commands: %w", err)
	}
	for _, c := range commands {
		ok, err := w.offers(ctx, c.Name)
		if err != nil {
			return w.decision, err
		}
		if ok {
			about := c.Description
			if about == "" {
				about = "declared by " + PipelinePath
			}
			fmt.Fprintf(&b, "| `%s` | %s |\n", cell(Usage(c.Name, c.Args)), cell(about))
		}
	}
	return w.acted(b.String(), "listed the commands")
}

// offers reports whether /help lists a command for the writer. What can't be told, such as a team that may not be looked into,
// is left out.
func (w *wish) offers(ctx context.Context, name string) (bool, error) {
	ok, _, err := w.may(ctx, name)
	var refusal *Refusal
	if errors.As(err, &refusal) {
		return false, nil
	}
	return ok, err
}

// cell is a text within a Markdown table.
func cell(text string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ", "\r", " ").Replace(Cut(text, 300))
}

// status tells where everything stands.
func (w *wish) status(ctx context.Context) (Decision, error) {
	newest, err := w.newest(ctx)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return w.decision, err
	}
	active, err := w.active(ctx)
	if err != nil {
		return w.decision, err
	}
	runs := active
	if newest.ID != "" && !slices.ContainsFunc(active, func(r Run) bool { return r.ID == newest.ID }) {
		runs = append([]Run{newest}, active...)
	}
	if len(runs) == 0 {
		return w.acted(fmt.Sprintf("There is no run on `%s`.", Abbreviate(w.decision.Run.SHA)), "told that nothing runs")
	}
	var b strings.Builder
	for _, run := range runs {
		fmt.Fprintf(&b, "**Run %s** on `%s`: %s", run.ID, Abbreviate(run.SHA), run.State)
		if run.Asked != nil {
			fmt.Fprintf(&b, ", asked for by %s", run.Asked.By.Login)
		}
		if run.Reason != "" && run.Outcome != OutcomeRun {
			fmt.Fprintf(&b, " (%s)", run.Reason)
		}
		b.WriteString("\n\n")
		rows := false
		for _, j := range run.Jobs {
			if j.Unplanned {
				continue
			}
			if !rows {
				b.WriteString("| job | state | |\n|---|---|---|\n")
				rows = true
			}
			note := j.Summary
			if note == "" {
				note = j.Waiting
			}
			fmt.Fprintf(&b, "| %s | %s | %s |\n", j.Name, j.Seen(), cell(firstLine(note)))
		}
		b.WriteString("\n")
	}
	if w.p.Held != nil {
		if held := w.p.Held(w.e.Installation); held != "" {
			fmt.Fprintf(&b, "%s, so GitHub may show this late.\n", held)
		}
	}
	return w.acted(Cut(b.String(), 20_000), "told where %s stands", plural(len(runs), "run"))
}

// why explains from the stored decision which jobs ran, and why.
func (w *wish) why(ctx context.Context) (Decision, error) {
	run, err := w.newest(ctx)
	if errors.Is(err, ErrNotFound) {
		return w.acted(fmt.Sprintf("Nothing was decided about `%s` yet, or it is no longer kept.", Abbreviate(w.decision.Run.SHA)), "told that nothing was decided")
	}
	if err != nil {
		return w.decision, err
	}
	d, _, err := w.p.Decisions.Get(ctx, run.Delivery)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return w.decision, fmt.Errorf("read the decision %s: %w", run.Delivery, err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "`%s` was decided as **%s**: %s.\n\n", Abbreviate(run.SHA), run.Outcome, strings.TrimSuffix(run.Reason, "."))
	fmt.Fprintf(&b, "Trust: %s (%s). Pipeline: %s.\n\n", run.Trust.Level, run.Trust.Reason, run.Pipeline)
	if d.Stale != "" {
		fmt.Fprintf(&b, "It is behind: %s.\n\n", d.Stale)
	}
	for _, note := range run.Notes {
		fmt.Fprintf(&b, "- %s\n", note)
	}
	if len(d.Plan.Jobs) > 0 {
		b.WriteString("\n| job | planned | why |\n|---|---|---|\n")
	}
	for _, j := range d.Plan.Jobs {
		planned := "no"
		if j.Planned {
			planned = "yes"
		}
		reason := j.Reason
		if j.Fault != "" {
			reason += "; fault: " + j.Fault
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", j.Name, planned, cell(reason))
	}
	return w.acted(Cut(b.String(), 20_000), "explained the decision %s", run.Delivery)
}
