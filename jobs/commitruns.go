package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// commitRef is the name under which the newest run of a commit is kept among the refs.
func commitRef(sha string) string { return "commit/" + sha }

// Bounds of what is kept of one commit.
const (
	maxStands = 50 // refs; what is beyond posts no check of the whole
	maxAsked  = 20
)

// standOn notes a run as the newest of its ref on its commit, or as one that somebody asked for there.
func (p *Planner) standOn(ctx context.Context, run RunInfo, decided time.Time) error {
	return p.changeCommitRecord(ctx, run.Repository.ID, run.SHA, func(c *RefRecord) bool {
		if run.Asked != nil {
			if slices.Contains(c.Asked, run.ID) {
				return false
			}
			c.Asked = append(c.Asked, run.ID)
			c.Asked = c.Asked[max(len(c.Asked)-maxAsked, 0):]
			return true
		}
		known, ok := c.Stands[run.Ref]
		if ok && (known.Run == run.ID || known.Decided.After(decided)) {
			return false
		}
		trusted := run.Trust.Level == Trusted
		if !ok && len(c.Stands) >= maxStands && !(trusted && c.makeRoom()) {
			return false
		}
		if c.Stands == nil {
			c.Stands = map[string]Stand{}
		}
		c.Stands[run.Ref] = Stand{run.ID, decided, trusted}
		if !c.Decided.After(decided) {
			c.Run, c.Decided = run.ID, decided
		}
		return true
	})
}

// makeRoom drops the oldest that is not trusted, so that strangers can't keep others from standing on a commit. It reports
// whether there was one.
func (r *RefRecord) makeRoom() bool {
	oldest := ""
	for ref, s := range r.Stands {
		if !s.Trusted && (oldest == "" || s.Decided.Before(r.Stands[oldest].Decided)) {
			oldest = ref
		}
	}
	delete(r.Stands, oldest)
	return oldest != ""
}

// dropFromCommit takes a closed pull request's run from its commit: it says nothing about the commit any more.
func (p *Planner) dropFromCommit(ctx context.Context, e Event) error {
	return p.changeCommitRecord(ctx, e.Repository.ID, e.PullRequest.HeadSHA, func(c *RefRecord) bool {
		ref := PullRef(e.PullRequest.Number)
		_, ok := c.Stands[ref]
		delete(c.Stands, ref)
		return ok
	})
}

// changeCommitRecord changes what is kept of a commit; change reports whether it did.
func (p *Planner) changeCommitRecord(ctx context.Context, repository int64, sha string, change func(*RefRecord) bool) error {
	_, err := Upsert(ctx, p.Refs, RefKey(repository, commitRef(sha)), func(c *RefRecord) error {
		c.SHA = sha
		if !change(c) {
			return ErrUnchanged
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("note what stands on %s: %w", Abbreviate(sha), err)
	}
	return nil
}

// standing is the newest attempt of the run that stands on a commit for a ref, or with "" of the last one that came to
// stand there, or ErrNotFound.
func (p *Planner) standing(ctx context.Context, repository int64, sha, ref string) (Run, error) {
	c, _, err := p.Refs.Get(ctx, RefKey(repository, commitRef(sha)))
	if err != nil && !errors.Is(err, ErrNotFound) {
		return Run{}, fmt.Errorf("look for the run of %s: %w", Abbreviate(sha), err)
	}
	id := c.Run
	if ref != "" {
		id = c.Stands[ref].Run
	}
	if err != nil || id == "" {
		return Run{}, ErrNotFound
	}
	run, err := p.find(ctx, id)
	if err != nil {
		return run, err
	}
	return p.newestAttempt(ctx, run)
}

// pushed are the branches and tags of the repository itself whose trusted runs stand on a commit: branches (refs/h) before tags
// (refs/t), newest run first. Pull requests are not among them, whoever sent them.
func (p *Planner) pushed(ctx context.Context, repository int64, sha string) ([]string, error) {
	c, _, err := p.Refs.Get(ctx, RefKey(repository, commitRef(sha)))
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for what was pushed to %s: %w", Abbreviate(sha), err)
	}
	var refs []string
	for ref, stand := range c.Stands {
		if stand.Trusted && (strings.HasPrefix(ref, "refs/heads/") || strings.HasPrefix(ref, "refs/tags/")) {
			refs = append(refs, ref)
		}
	}
	slices.SortFunc(refs, func(a, b string) int {
		return cmp.Or(cmp.Compare(a[:6], b[:6]), c.Stands[b].Decided.Compare(c.Stands[a].Decided), cmp.Compare(a, b)) // refs/h, refs/t
	})
	return refs, nil
}

// Siblings are the runs that stand on a run's commit beside it, for other refs. stands tells whether it stands there itself.
func (p *Planner) Siblings(ctx context.Context, run RunInfo) (others []Run, stands bool, err error) {
	c, _, err := p.Refs.Get(ctx, RefKey(run.Repository.ID, commitRef(run.SHA)))
	if errors.Is(err, ErrNotFound) {
		return nil, true, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("look for what stands on %s: %w", Abbreviate(run.SHA), err)
	}
	for ref, stand := range c.Stands {
		if ref == run.Ref {
			stands = stand.Run == run.ID
			continue
		}
		other, err := p.find(ctx, stand.Run)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, false, err
		}
		others = append(others, other)
	}
	slices.SortFunc(others, func(a, b Run) int { return a.Created.Compare(b.Created) })
	return others, stands, nil
}

// newest is the newest attempt of the run that stands on the interaction's commit for its ref, or ErrNotFound.
func (i *interaction) newest(ctx context.Context) (Run, error) {
	refs, err := i.refs(ctx)
	if err != nil {
		return Run{}, err
	}
	if i.pull == nil { // on a commit any run counts, whichever ref it was for
		refs = append(refs, "")
	}
	for _, ref := range refs {
		if run, err := i.p.standing(ctx, i.e.Repository.ID, i.about.SHA(), ref); !errors.Is(err, ErrNotFound) {
			return run, err
		}
	}
	return Run{}, ErrNotFound
}

// refs are those whose runs the interaction may be about: its own, and on a commit those of all that was pushed there.
func (i *interaction) refs(ctx context.Context) ([]string, error) {
	if i.pull != nil {
		return []string{i.decision.Run.Ref}, nil
	}
	pushed, err := i.p.pushed(ctx, i.e.Repository.ID, i.about.SHA())
	if own := i.decision.Run.Ref; own != "" {
		pushed = append([]string{own}, slices.DeleteFunc(pushed, func(ref string) bool { return ref == own })...)
	}
	return pushed, err
}

// here are the runs that an interaction may be about: those that stand on the commit, its own ref's first, then what was asked for
// there, newest first.
func (i *interaction) here(ctx context.Context) ([]Run, error) {
	refs, err := i.refs(ctx)
	if err != nil {
		return nil, err
	}
	var found []Run
	add := func(run Run) {
		if !slices.ContainsFunc(found, func(r Run) bool { return r.ID == run.ID }) {
			found = append(found, run)
		}
	}
	run, err := i.newest(ctx)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, err
	} else if err == nil {
		add(run)
	}
	for _, ref := range refs {
		run, err := i.p.standing(ctx, i.e.Repository.ID, i.about.SHA(), ref)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return nil, err
		} else if err == nil {
			add(run)
		}
	}
	c, _, err := i.p.Refs.Get(ctx, RefKey(i.e.Repository.ID, commitRef(i.about.SHA())))
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, fmt.Errorf("look for the runs of %s: %w", Abbreviate(i.about.SHA()), err)
	}
	for _, id := range slices.Backward(c.Asked) {
		run, err := i.p.find(ctx, id)
		if err == nil {
			run, err = i.p.newestAttempt(ctx, run)
		}
		if err != nil && !errors.Is(err, ErrNotFound) {
			return nil, err
		}
		if err == nil && slices.Contains(refs, run.Ref) {
			add(run)
		}
	}
	return found, nil
}

// active are the runs under way for the interaction's pull request or commit, oldest first.
func (i *interaction) active(ctx context.Context) ([]Run, error) {
	var found []Run
	err := i.p.Runs.All(ctx, func(_ string, run Run, _ uint64) error {
		here := run.SHA == i.about.SHA() || i.pull != nil && !i.pull.Merged && run.PullRequest == i.pull.Number
		if run.Repository.ID == i.e.Repository.ID && here && !run.State.Over() {
			found = append(found, run)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list active runs: %w", err)
	}
	slices.SortFunc(found, func(a, b Run) int { return a.Created.Compare(b.Created) })
	return found, nil
}
