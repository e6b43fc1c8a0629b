package githubtest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// MergeGroup is what a merge queue tests: the merge of a pull request into its base and everything ahead of it in line.
type MergeGroup struct {
	Pull    *Pull
	HeadRef string // refs/heads/gh-readonly-queue/BASE/pr-NUMBER-BASESHA
	HeadSHA string // the merge commit, which becomes the base branch's head if the checks succeed
	BaseRef string
	BaseSHA string
}

// mergeQueue is the line in front of one branch, from GitHub's page "Managing a merge queue".
type mergeQueue struct {
	repo     *Repository
	base     string
	required []string
	entries  []*queueEntry // first in line first
}

type queueEntry struct {
	MergeGroup        // HeadSHA is empty until the group is made
	pullHead   string // the pull request's head when it was enqueued
}

// EnableMergeQueue puts a merge queue in front of a branch: pull requests go through EnqueueMerge and are merged when the
// required checks (names of check runs or contexts of statuses) succeed on their merge group.
func (r *Repository) EnableMergeQueue(base string, required ...string) {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	r.queues[base] = &mergeQueue{repo: r, base: base, required: required}
}

// MergeGroups returns the groups that wait for their checks, first in line first.
func (r *Repository) MergeGroups() []MergeGroup {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	var list []MergeGroup
	for _, base := range slices.Sorted(maps.Keys(r.queues)) {
		for _, entry := range r.queues[base].entries {
			list = append(list, entry.MergeGroup)
		}
	}
	return list
}

// EnqueueMerge is "Merge when ready": user, who may write, puts a pull request whose required checks have succeeded at the
// end of its base's merge queue. GitHub makes a branch with the merge (create and push events), asks for checks with
// merge_group.checks_requested, and later merges, or takes the pull request out again with the reason.
func (r *Repository) EnqueueMerge(p *Pull, user *User) error {
	done := r.s.busyUnlocked()
	defer done()
	if err := r.enqueueUnlocked(p, user); err != nil {
		return fmt.Errorf("enqueue #%d: %w", p.Number, err)
	}
	return r.advanceUnlocked()
}

func (r *Repository) enqueueUnlocked(p *Pull, user *User) error {
	r.queueing.Lock()
	defer r.queueing.Unlock()
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	q := r.queues[p.base]
	switch {
	case q == nil:
		return fmt.Errorf("%s has no merge queue", p.base)
	case !r.mayPush(user):
		return fmt.Errorf("%s may not write to %s", user.Login, r.FullName())
	case p.state != "open" || p.draft || q.index(p) >= 0:
		return fmt.Errorf("it is %s, a draft, or queued already", p.state)
	}
	if state := q.verdict(p.headSHA); state != "success" {
		return fmt.Errorf("of the required checks %q one is %s on its head", q.required, state)
	}
	q.entries = append(q.entries, &queueEntry{MergeGroup: MergeGroup{Pull: p, BaseRef: "refs/heads/" + p.base}, pullHead: p.headSHA})
	p.emit(user, "enqueued", nil)
	return nil
}

// DequeueMerge takes a pull request out of the queue by hand. The groups behind it are made anew.
func (r *Repository) DequeueMerge(p *Pull, user *User) error {
	done := r.s.busyUnlocked()
	defer done()
	if err := r.dequeueUnlocked(p, user); err != nil {
		return fmt.Errorf("dequeue #%d: %w", p.Number, err)
	}
	return r.advanceUnlocked()
}

func (r *Repository) dequeueUnlocked(p *Pull, user *User) error {
	r.queueing.Lock()
	defer r.queueing.Unlock()
	r.s.mu.Lock()
	q := r.queues[p.base]
	if q == nil || q.index(p) < 0 {
		r.s.mu.Unlock()
		return errors.New("it isn't queued")
	}
	entry := q.take(q.index(p), user, "MANUAL")
	r.s.mu.Unlock()
	return q.destroyUnlocked(entry, "dequeued")
}

// queueChanged lets the queues look at what has changed, after whoever holds the locks has let go of them.
func (r *Repository) queueChanged() {
	if len(r.queues) == 0 {
		return
	}
	r.s.later(func() {
		if err := r.advanceUnlocked(); err != nil {
			r.s.log.Error("advance the merge queue", "repository", r.FullName(), "error", err)
		}
	})
}

// advanceUnlocked does what the queues call for until they only wait.
func (r *Repository) advanceUnlocked() error {
	r.queueing.Lock()
	defer r.queueing.Unlock()
	r.s.mu.Lock()
	queues := slices.Collect(maps.Values(r.queues))
	r.s.mu.Unlock()
	for _, q := range queues {
		for {
			more, err := q.stepUnlocked()
			if err != nil {
				return err
			}
			if !more {
				break
			}
		}
	}
	return nil
}

// stepUnlocked does the next thing the queue calls for, and reports whether there was one.
func (q *mergeQueue) stepUnlocked() (bool, error) {
	s := q.repo.s
	s.mu.Lock()
	bot := s.account("github-merge-queue[bot]", "Bot")
	base := q.repo.git.commitOf(s.done, "refs/heads/"+q.base)
	for i, entry := range q.entries {
		reason := ""
		switch p := entry.Pull; {
		case !p.merged.IsZero():
			reason = "ALREADY_MERGED"
		case p.state != "open" || p.base != q.base:
			reason = "MANUAL"
		case p.headSHA != entry.pullHead:
			reason = "UNKNOWN_REMOVAL_REASON" // GitHub names none for a push to a queued pull request
		case entry.HeadSHA != "" && entry.BaseSHA == base && q.verdict(entry.HeadSHA) == "failure":
			reason = "CI_FAILURE"
		}
		if reason != "" {
			q.take(i, bot, reason)
			s.mu.Unlock()
			return true, q.destroyUnlocked(entry, "dequeued")
		}
		if entry.BaseSHA != base {
			s.mu.Unlock()
			if err := q.destroyUnlocked(entry, "invalidated"); err != nil {
				return true, err
			}
			return true, q.makeUnlocked(entry, base, bot)
		}
		base = entry.HeadSHA
	}
	if len(q.entries) == 0 || q.verdict(q.entries[0].HeadSHA) != "success" {
		s.mu.Unlock()
		return false, nil
	}
	s.mu.Unlock()
	return true, q.mergeFirstUnlocked(bot)
}

// mergeFirstUnlocked makes the first group's commit the head of the base branch, unless that has moved just now.
func (q *mergeQueue) mergeFirstUnlocked(bot *User) error {
	s, first := q.repo.s, q.entries[0]
	merged := false
	err := q.repo.push(bot, func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if q.repo.git.commitOf(s.done, first.BaseRef) != first.BaseSHA {
			return nil
		}
		first.Pull.mergeSHA, first.Pull.mergedBy, merged = first.HeadSHA, bot, true
		return q.repo.updateRef(first.BaseRef, first.HeadSHA)
	})
	if err != nil || !merged {
		return err
	}
	s.mu.Lock()
	q.take(0, bot, "MERGE")
	s.mu.Unlock()
	return q.destroyUnlocked(first, "merged")
}

// makeUnlocked makes an entry's group on top of base.
func (q *mergeQueue) makeUnlocked(entry *queueEntry, base string, bot *User) error {
	s, p := q.repo.s, entry.Pull
	s.mu.Lock()
	sha, mergeable := p.mergeCommit(base, p.mergeMessage(), bot)
	if !mergeable {
		q.take(q.index(p), bot, "MERGE_CONFLICT")
		s.mu.Unlock()
		return nil
	}
	s.mu.Unlock()
	ref := fmt.Sprintf("refs/heads/gh-readonly-queue/%s/pr-%d-%s", q.base, p.Number, base)
	if err := q.repo.push(bot, func() error { return q.repo.updateRef(ref, sha) }); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	entry.HeadRef, entry.HeadSHA, entry.BaseSHA = ref, sha, base
	s.emit(q.repo, bot, "merge_group", "checks_requested", object{"merge_group": q.repo.mergeGroupShape(entry)})
	return nil
}

// destroyUnlocked removes an entry's group, if it has one: merge_group.destroyed with the reason, and its branch goes.
func (q *mergeQueue) destroyUnlocked(entry *queueEntry, reason string) error {
	if entry.HeadSHA == "" {
		return nil
	}
	s := q.repo.s
	s.mu.Lock()
	bot := s.account("github-merge-queue[bot]", "Bot")
	s.emit(q.repo, bot, "merge_group", "destroyed", object{"merge_group": q.repo.mergeGroupShape(entry), "reason": reason})
	ref := entry.HeadRef
	entry.HeadRef, entry.HeadSHA, entry.BaseSHA = "", "", ""
	s.mu.Unlock()
	return q.repo.push(bot, func() error { return q.repo.updateRef(ref, "") })
}

// take removes an entry from the line: pull_request.dequeued with the reason.
func (q *mergeQueue) take(i int, sender *User, reason string) *queueEntry {
	entry := q.entries[i]
	q.entries = slices.Delete(q.entries, i, i+1)
	entry.Pull.emit(sender, "dequeued", object{"reason": reason})
	return entry
}

func (q *mergeQueue) index(p *Pull) int {
	return slices.IndexFunc(q.entries, func(entry *queueEntry) bool { return entry.Pull == p })
}

// verdict says how the required checks stand on a commit: success, failure or pending.
func (q *mergeQueue) verdict(sha string) string {
	verdict := "success"
	for _, name := range q.required {
		switch q.repo.contextState(sha, name) {
		case "success":
		case "failure":
			return "failure"
		default:
			verdict = "pending"
		}
	}
	return verdict
}

// contextState is the state of the newest check run or status of a name on a commit: success, failure or pending.
func (r *Repository) contextState(sha, name string) string {
	state := "pending"
	for _, status := range r.statuses {
		if status.sha == sha && status.context == name {
			state = strings.ReplaceAll(status.state, "error", "failure")
		}
	}
	for _, run := range r.runs {
		if run.HeadSHA != sha || run.Name != name {
			continue
		}
		switch {
		case run.Status != "completed":
			state = "pending"
		case slices.Contains([]string{"success", "neutral", "skipped"}, run.Conclusion):
			state = "success"
		default:
			state = "failure"
		}
	}
	return state
}

func (r *Repository) mergeGroupShape(entry *queueEntry) object {
	return object{"head_sha": entry.HeadSHA, "head_ref": entry.HeadRef, "base_sha": entry.BaseSHA, "base_ref": entry.BaseRef, "head_commit": r.headCommit(entry.HeadSHA)}
}
