package githubtest

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Pull is a pull request. Its exported fields never change.
type Pull struct {
	ID     int64
	Number int
	Repo   *Repository // the base repository
	User   *User       // who opened it

	title, body      string
	base             string
	baseSHA          string
	head             *Repository // may be deleted
	headBranch       string
	headSHA          string
	state            string // open, closed
	draft            bool
	labels           []string
	created, updated time.Time
	closed, merged   time.Time
	mergedBy         *User
	mergeSHA         string // of the merge, once merged

	// GitHub tries out the merge in the background: the first question gets null, a later one the result.
	mergeTried bool
	mergeable  bool
	testMerge  string // refs/pull/N/merge
}

// PullOptions describe a pull request to open.
type PullOptions struct {
	Title string // empty: "Change"
	Body  string
	Head  string // branch, or owner:branch for one of a fork
	Base  string // empty: the default branch
	Draft bool
	User  *User // nil: the head repository's owner
}

// OpenPull opens a pull request.
func (r *Repository) OpenPull(options PullOptions) (*Pull, error) {
	s := r.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if options.Base == "" {
		options.Base = r.DefaultBranch
	}
	if options.Title == "" {
		options.Title = "Change"
	}
	head, branch := r, options.Head
	if owner, rest, qualified := strings.Cut(options.Head, ":"); qualified {
		head, branch = r.relative(owner), rest
	}
	if head == nil {
		return nil, fmt.Errorf("open a pull request from %s: there is no such fork of %s", options.Head, r.FullName())
	}
	if options.User == nil {
		options.User = head.Owner
	}
	headSHA, baseSHA := head.git.commitOf(s.done, "refs/heads/"+branch), r.git.commitOf(s.done, "refs/heads/"+options.Base)
	if headSHA == "" || baseSHA == "" {
		return nil, fmt.Errorf("open a pull request from %s to %s: a branch doesn't exist", options.Head, options.Base)
	}
	for _, p := range r.pulls {
		if p.state == "open" && p.head == head && p.headBranch == branch && p.base == options.Base {
			return nil, fmt.Errorf("open a pull request from %s: #%d exists for it", options.Head, p.Number)
		}
	}
	r.lastNumber++
	p := &Pull{ID: s.nextID(), Number: r.lastNumber, Repo: r, User: options.User, title: options.Title, body: options.Body, base: options.Base, baseSHA: baseSHA,
		head: head, headBranch: branch, headSHA: headSHA, state: "open", draft: options.Draft, created: s.now(), updated: s.now()}
	if err := p.pointTo(headSHA); err != nil {
		r.lastNumber--
		return nil, err
	}
	r.pulls = append(r.pulls, p)
	p.emit(options.User, "opened", nil)
	return p, nil
}

// headLabel is owner:branch; the owner's name is today's.
func (p *Pull) headLabel() string { return p.head.Owner.Login + ":" + p.headBranch }

// pointTo brings a head commit into the base repository, as refs/pull/N/head.
func (p *Pull) pointTo(sha string) error {
	if err := p.Repo.git.borrow(p.Repo.s.done, p.head.git, sha); err != nil {
		return fmt.Errorf("bring the head of #%d over: %w", p.Number, err)
	}
	_, err := p.Repo.git.run(p.Repo.s.done, nil, "update-ref", fmt.Sprintf("refs/pull/%d/head", p.Number), sha)
	p.headSHA, p.mergeTried, p.testMerge = sha, false, ""
	return err
}

func (p *Pull) emit(sender *User, action string, extra object) {
	fields := object{"number": p.Number, "pull_request": p.shape(true)}
	for name, value := range extra {
		fields[name] = value
	}
	p.Repo.s.emit(p.Repo, sender, "pull_request", action, fields)
	p.startPullRuns(action, sender)
}

// HeadSHA is the commit the pull request stands at.
func (p *Pull) HeadSHA() string {
	p.Repo.s.mu.Lock()
	defer p.Repo.s.mu.Unlock()
	return p.headSHA
}

// State is open, closed or merged.
func (p *Pull) State() string {
	p.Repo.s.mu.Lock()
	defer p.Repo.s.mu.Unlock()
	if !p.merged.IsZero() {
		return "merged"
	}
	return p.state
}

// Push commits to the head branch as user (nil: who opened it); a synchronize event follows, whose sender is who pushed.
// Besides the head repository's writers those of the base repository may push.
func (p *Pull) Push(message string, files map[string]string, user *User) (string, error) {
	if user == nil {
		user = p.User
	}
	return p.head.Commit(p.headBranch, message, files, user)
}

// change alters an open or closed pull request under the lock and emits an event.
func (p *Pull) change(user *User, action string, alter func() object) {
	p.Repo.s.mu.Lock()
	defer p.Repo.s.mu.Unlock()
	extra := alter()
	p.updated = p.Repo.s.now()
	p.emit(user, action, extra)
	p.Repo.queueChanged()
}

// Close closes the pull request without merging it.
func (p *Pull) Close(user *User) {
	p.change(user, "closed", func() object {
		p.state, p.closed = "closed", p.Repo.s.now()
		return nil
	})
}

// Reopen opens it again. The head may have moved meanwhile, but its repository and branch must still be there.
func (p *Pull) Reopen(user *User) error {
	s := p.Repo.s
	s.mu.Lock()
	defer s.mu.Unlock()
	sha := ""
	if !p.head.deleted {
		sha = p.head.git.commitOf(s.done, "refs/heads/"+p.headBranch)
	}
	if sha == "" || !p.merged.IsZero() {
		return fmt.Errorf("reopen #%d: it is merged, or %s is gone", p.Number, p.headLabel())
	}
	if sha != p.headSHA {
		if err := p.pointTo(sha); err != nil {
			return err
		}
	}
	p.state, p.closed, p.updated = "open", time.Time{}, s.now()
	p.emit(user, "reopened", nil)
	return nil
}

// Retitle changes the title.
func (p *Pull) Retitle(user *User, title string) {
	p.change(user, "edited", func() object {
		from := p.title
		p.title = title
		return object{"changes": object{"title": object{"from": from}}}
	})
}

// Rewrite changes the description.
func (p *Pull) Rewrite(user *User, body string) {
	p.change(user, "edited", func() object {
		from := p.body
		p.body = body
		return object{"changes": object{"body": object{"from": from}}}
	})
}

// MarkReady ends the draft state.
func (p *Pull) MarkReady(user *User) {
	p.change(user, "ready_for_review", func() object { p.draft = false; return nil })
}

// ConvertToDraft makes it a draft.
func (p *Pull) ConvertToDraft(user *User) {
	p.change(user, "converted_to_draft", func() object { p.draft = true; return nil })
}

// Label adds a label, or removes it again with Unlabel.
func (p *Pull) Label(user *User, name string) {
	p.change(user, "labeled", func() object {
		if !slices.Contains(p.labels, name) {
			p.labels = append(p.labels, name)
		}
		return object{"label": p.Repo.labelShape(name)}
	})
}

// Unlabel removes a label.
func (p *Pull) Unlabel(user *User, name string) {
	p.change(user, "unlabeled", func() object {
		p.labels = slices.DeleteFunc(p.labels, func(other string) bool { return other == name })
		return object{"label": p.Repo.labelShape(name)}
	})
}

// Retarget changes the base branch.
func (p *Pull) Retarget(user *User, base string) error {
	sha := p.Repo.Head(base)
	if sha == "" {
		return fmt.Errorf("retarget #%d: there is no branch %s", p.Number, base)
	}
	p.change(user, "edited", func() object {
		from, fromSHA := p.base, p.baseSHA
		p.base, p.baseSHA, p.mergeTried, p.testMerge = base, sha, false, ""
		return object{"changes": object{"base": object{"ref": object{"from": from}, "sha": object{"from": fromSHA}}}}
	})
	return nil
}

// Merge merges the pull request with a merge commit, pushed to the base branch as user.
func (p *Pull) Merge(user *User) (string, error) {
	if err := p.Repo.refuseUnlocked(user, p.base); err != nil {
		return "", err
	}
	merged := ""
	err := p.Repo.push(user, func() error {
		s := p.Repo.s
		s.mu.Lock()
		defer s.mu.Unlock()
		base := p.Repo.git.commitOf(s.done, "refs/heads/"+p.base)
		if p.Repo.queues[p.base] != nil {
			return fmt.Errorf("merge #%d: changes to %s go through the merge queue", p.Number, p.base)
		}
		sha, mergeable := p.mergeCommit(base, p.mergeMessage(), user)
		if p.state != "open" || !mergeable {
			return fmt.Errorf("merge #%d: it is not mergeable", p.Number)
		}
		merged, p.mergeSHA, p.mergedBy = sha, sha, user
		return p.Repo.updateRef("refs/heads/"+p.base, sha)
	})
	return merged, err
}

func (p *Pull) mergeMessage() string {
	return fmt.Sprintf("Merge pull request #%d from %s\n\n%s", p.Number, strings.Replace(p.headLabel(), ":", "/", 1), p.title)
}

// mergeCommit makes the merge of head into base without moving anything.
func (p *Pull) mergeCommit(base, message string, user *User) (string, bool) {
	return p.Repo.git.merge(p.Repo.s.done, base, p.headSHA, message, user)
}

// tryMerge is what GitHub does in the background after someone asked for a pull request.
func (p *Pull) tryMerge() {
	sha, mergeable := p.mergeCommit(p.Repo.git.commitOf(p.Repo.s.done, "refs/heads/"+p.base), "Merge "+p.headSHA+" into "+p.baseSHA, p.User)
	p.mergeTried, p.mergeable = true, mergeable
	if mergeable {
		p.testMerge = sha
		_, _ = p.Repo.git.run(p.Repo.s.done, nil, "update-ref", fmt.Sprintf("refs/pull/%d/merge", p.Number), sha)
	}
}

// branchMoved brings pull requests up to date after a push to a branch, in this repository and those it was forked from.
func (r *Repository) branchMoved(user *User, branch, before, after string) error {
	s := r.s
	for _, base := range s.network(r) {
		base.queueChanged()
		for _, p := range base.pulls {
			if p.state != "open" || p.head != r || p.headBranch != branch {
				continue
			}
			if after == "" {
				p.state, p.closed, p.updated = "closed", s.now(), s.now()
				p.emit(user, "closed", nil)
				continue
			}
			old := p.headSHA
			if err := p.pointTo(after); err != nil {
				return err
			}
			p.updated = s.now()
			p.emit(user, "synchronize", object{"before": old, "after": after})
		}
	}
	for _, p := range r.pulls {
		if p.state != "open" || p.base != branch || after == "" {
			continue
		}
		p.mergeTried, p.testMerge = false, ""
		if r.git.isAncestor(s.done, p.headSHA, after) && (before == "" || !r.git.isAncestor(s.done, p.headSHA, before)) {
			p.state, p.closed, p.merged, p.updated = "closed", s.now(), s.now(), s.now()
			if p.mergeSHA == "" {
				p.mergeSHA, p.mergedBy = after, user
			}
			p.emit(user, "closed", nil)
			continue
		}
		p.baseSHA = after
	}
	return nil
}

// network lists the repositories that may hold pull requests from r.
func (s *Server) network(r *Repository) []*Repository {
	list := []*Repository{r}
	if r.Parent != nil && !r.Parent.deleted {
		list = append(list, r.Parent)
	}
	return list
}

func (r *Repository) pull(number int) *Pull {
	for _, p := range r.pulls {
		if p.Number == number {
			return p
		}
	}
	return nil
}
