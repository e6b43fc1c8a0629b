package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
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
	asked map[[2]int64]map[int64]time.Time // by repository and account: when each comment was first looked at
}

// take reports whether a comment may be looked at, and counts it once however often it is tried.
func (q *questions) take(repository, account, comment int64, now time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.asked == nil || len(q.asked) > 10_000 {
		q.asked = map[[2]int64]map[int64]time.Time{}
	}
	key := [2]int64{repository, account}
	recent := q.asked[key]
	maps.DeleteFunc(recent, func(_ int64, t time.Time) bool { return now.Sub(t) >= time.Hour })
	switch _, known := recent[comment]; {
	case known:
		return true
	case len(recent) >= readersShare:
		return false
	case recent == nil:
		recent = map[int64]time.Time{}
		q.asked[key] = recent
	}
	recent[comment] = now
	return true
}

// help lists what works in this place for this person, and says what doesn't.
func (i *interaction) help(ctx context.Context) (Decision, error) {
	held, err := i.held(ctx)
	if err != nil {
		return i.decision, err
	}
	var list strings.Builder
	var later, never []string
	add := func(name, usage, about string) error {
		ok, err := i.offers(ctx, name)
		if err != nil || !ok {
			return err
		}
		switch i.opening(name, held) {
		case openLater:
			later = append(later, "`/"+name+"`")
			return nil
		case openNever:
			never = append(never, "`/"+name+"`")
			if name != "deploy" {
				return nil
			}
			usage, about = "/deploy <environment> [release] ref=…", "roll a branch out, or a commit of "+i.e.Repository.DefaultBranch
		case openNot:
			return nil
		}
		fmt.Fprintf(&list, "| %s | %s |\n", codeCell(usage), cell(about))
		return nil
	}
	for _, c := range BuiltinCommands() {
		if err := add(c[0], c[1], c[2]); err != nil {
			return i.decision, err
		}
	}
	var commands []DeclaredCommand
	if i.only == "" {
		if commands, err = i.commands(ctx); err != nil {
			return i.decision, fmt.Errorf("read the pipeline's commands: %w", err)
		}
	}
	for _, c := range commands {
		if err := add(c.Name, Usage(c.Name, c.Args), cmp.Or(c.Description, "declared by "+PipelinePath)); err != nil {
			return i.decision, err
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "What @%s may ask for here:\n\n| command | what it does |\n|---|---|\n%s", i.e.Sender.Login, list.String())
	switch reason := i.decision.Run.Trust.Reason; {
	case len(later) == 0:
	case held:
		fmt.Fprintf(&b, "\nThis pull request is held: %s. Once somebody looked at it and wrote `/ok-to-test %s`, these can build it: %s.\n",
			reason, i.pull.HeadSHA, strings.Join(later, ", "))
	default:
		fmt.Fprintf(&b, "\nNot here: %s. %s.\n", strings.Join(later, ", "), reason)
	}
	switch {
	case i.only != "":
		fmt.Fprintf(&b, "\n%s\n", i.only)
	case len(never) > 0 && i.stale != "":
		fmt.Fprintf(&b, "\nNot on a commit that is behind: %s. %s.\n", strings.Join(never, ", "), i.stale)
	case len(never) > 0:
		fmt.Fprintf(&b, "\nNever here: %s. A pull request from outside is built once it is approved, but never rolled out, and starts no workflow, "+
			"whatever command asks for that.\n", strings.Join(never, ", "))
	}
	return i.acted(b.String(), "listed the commands")
}

// An opening tells whether a place is one for a command, whoever gives it.
type opening int

const (
	openNow   opening = iota
	openLater         // once the pull request is approved
	openNever         // the commit is never rolled out from here, and starts no workflow
	openNot           // it means nothing here
)

// opening tells whether a command works in this place, where held tells whether a pull request waits for approval. What is about runs
// that are there works everywhere.
func (i *interaction) opening(name string, held bool) opening {
	level := i.decision.Run.Trust.Level
	switch name {
	case "help", "status", "why":
		return openNow
	case "ok-to-test":
		if held && i.only == "" {
			return openNow
		}
		return openNot
	}
	switch {
	case i.only != "":
		return openNot
	case slices.Contains([]string{"approve", "cancel", "retry", "rollback"}, name):
		return openNow
	case (name == "deploy" || name == "dispatch") && (level != Trusted || i.stale != ""):
		return openNever
	case level == Untrusted:
		return openLater
	}
	return openNow
}

// held reports whether the interaction is about an open pull request whose head waits for approval.
func (i *interaction) held(ctx context.Context) (bool, error) {
	if i.pull == nil || i.pull.Merged {
		return false, nil
	}
	run, err := i.newest(ctx)
	if errors.Is(err, ErrNotFound) {
		return i.decision.Run.Trust.Level == Untrusted, nil
	}
	return run.Outcome != OutcomeRun && run.Trust.Level == Untrusted, err
}

// offers reports whether /help lists a command for the writer. What can't be told, such as a team that may not be looked into,
// is left out.
func (i *interaction) offers(ctx context.Context, name string) (bool, error) {
	ok, _, err := i.may(ctx, name)
	var refusal *Refusal
	if errors.As(err, &refusal) {
		return false, nil
	}
	return ok, err
}

// cell is a text within a Markdown table. What it shows as code stays code; it makes no links.
func cell(text string) string {
	return strings.NewReplacer(`\`, `\\`, "|", `\|`, "[", `\[`, "\n", " ", "\r", " ").Replace(Cut(text, 300))
}

// codeCell is a text within a Markdown table that is shown as code.
func codeCell(text string) string {
	return "`" + strings.NewReplacer("`", "'", "|", `\|`, "\n", " ", "\r", " ").Replace(Cut(text, 300)) + "`"
}

// status tells where everything stands.
func (i *interaction) status(ctx context.Context) (Decision, error) {
	newest, err := i.newest(ctx)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return i.decision, err
	}
	active, err := i.active(ctx)
	if err != nil {
		return i.decision, err
	}
	runs := active
	if newest.ID != "" && !slices.ContainsFunc(active, func(r Run) bool { return r.ID == newest.ID }) {
		runs = append([]Run{newest}, active...)
	}
	if len(runs) == 0 {
		return i.acted(fmt.Sprintf("There is no run on `%s`.", Abbreviate(i.decision.Run.SHA)), "told that nothing runs")
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
	if i.p.RateLimited != nil {
		if held := i.p.RateLimited(i.e.Installation); held != "" {
			fmt.Fprintf(&b, "%s, so GitHub may show this late.\n", held)
		}
	}
	return i.acted(Cut(b.String(), 20_000), "told where %s stands", plural(len(runs), "run"))
}

// why explains from the stored decision which jobs ran, and why.
func (i *interaction) why(ctx context.Context) (Decision, error) {
	run, err := i.newest(ctx)
	if errors.Is(err, ErrNotFound) {
		return i.acted(fmt.Sprintf("Nothing was decided about `%s` yet, or it is no longer kept.", Abbreviate(i.decision.Run.SHA)), "told that nothing was decided")
	}
	if err != nil {
		return i.decision, err
	}
	d, _, err := i.p.Decisions.Get(ctx, run.Delivery)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return i.decision, fmt.Errorf("read the decision %s: %w", run.Delivery, err)
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
	return i.acted(Cut(b.String(), 20_000), "explained the decision %s", run.Delivery)
}
