package jobs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Heads tells what refs are at on GitHub now.
type Heads interface {
	// Repositories calls each for every repository of an installation, until each errs.
	Repositories(ctx context.Context, installation int64, each func(Repository) error) error
	// Heads returns what the default branch, the tags and the open pull requests of a repository are at.
	Heads(ctx context.Context, installation int64, repo Repository) ([]Head, error)
	// Delivery makes what GitHub would have sent about the head, in GitHub's form and under the head's GUID. action is a pull
	// request's, and empty for others. A *Gone says that the head is none any more.
	Delivery(ctx context.Context, head Head, action string) (Delivery, error)
}

// A Head is what a ref is at.
type Head struct {
	Installation int64
	Repository   Repository
	Ref          string    // refs/heads/main, refs/tags/v1, refs/pull/7/head
	SHA          string    // full, of a commit
	Number       int       // of the pull request; 0 for a branch or tag
	Updated      time.Time // when something about the pull request last changed
}

// GUID is the GUID of the delivery that is made of the head when GitHub sent none: always the same for the same ref and commit.
func (h Head) GUID() string {
	return formGUID(fmt.Sprintf("head %d %s %s", h.Repository.ID, h.Ref, h.SHA))
}

// formGUID turns a text into a GUID of the form of GitHub's: a UUID of version 8, made of the text's SHA-256 (RFC 9562, 5.8).
func formGUID(text string) string {
	sum := sha256.Sum256([]byte(text))
	sum[6], sum[8] = sum[6]&0x0f|0x80, sum[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", sum[:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
}

// SeenHeads are the heads of one repository that need no further look: decided about, made a delivery of, or there already when
// the repository was first looked at.
type SeenHeads struct {
	Heads []byte `json:"heads"` // a short hash of each ref with its commit, sorted
}

// SeenKey is the key of a repository's SeenHeads.
func SeenKey(repository int64) string { return fmt.Sprintf("heads.%d", repository) }

const hashed = 8 // bytes of a head's hash

func (h Head) hash() string {
	sum := sha256.Sum256([]byte(h.Ref + "\n" + h.SHA))
	return string(sum[:hashed])
}

func (s SeenHeads) set() map[string]bool {
	set := make(map[string]bool, len(s.Heads)/hashed)
	for one := range slices.Chunk(s.Heads, hashed) {
		set[string(one)] = true
	}
	return set
}

func seenHeads(hashes []string) SeenHeads {
	slices.Sort(hashes)
	var all bytes.Buffer
	for _, h := range slices.Compact(hashes) {
		all.WriteString(h)
	}
	return SeenHeads{Heads: all.Bytes()}
}

const (
	reconcileEach = time.Hour
	settleAfter   = 10 * time.Minute // deliveries come minutes late at times, and planning may have to wait for GitHub
	maxMade       = 100              // deliveries made for one repository at a time
)

// unsettled is a repository with heads that nothing is known about, and when each was first met.
type unsettled struct {
	installation int64
	repo         Repository
	heads        map[string]time.Time // by hash
}

// Reconcile compares heads with decisions: those of every installation once an hour, and in between those of repositories where
// something is not settled. It returns when to be called again.
func (r *Recovery) Reconcile(ctx context.Context) time.Duration {
	if r.pending == nil {
		r.compared, r.pending = map[int64]time.Time{}, map[int64]*unsettled{}
	}
	settle := r.Settle
	if settle == 0 {
		settle = settleAfter
	}
	_, _, err := r.Meta.Get(ctx, StartKey)
	if errors.Is(err, ErrNotFound) {
		return reconcileEach // begin asks again
	}
	if err == nil {
		err = r.heads(ctx, settle)
	}
	switch later := (*Later)(nil); {
	case err == nil, ctx.Err() != nil:
	case errors.As(err, &later):
		r.Log.InfoContext(ctx, "not all heads could be compared with what was decided; trying again", "in", later.After, "reason", later.Reason)
		return max(later.After, settle)
	default:
		r.Log.WarnContext(ctx, "not all heads could be compared with what was decided; trying again", "in", settle, "error", err)
		return settle
	}
	if len(r.pending) > 0 {
		return settle
	}
	return reconcileEach
}

// heads goes through the installations and repositories whose turn it is.
func (r *Recovery) heads(ctx context.Context, settle time.Duration) error {
	now := r.Now()
	since, err := r.lookBack(ctx, now)
	if err != nil {
		return err
	}
	installations, err := r.Installations.Installations(ctx)
	if err != nil {
		return fmt.Errorf("ask where the App is installed: %w", err)
	}
	var faults []error
	looked := map[int64]bool{}
	for _, i := range installations {
		if now.Sub(r.compared[i.ID]) < reconcileEach {
			continue
		}
		err := r.Heads.Repositories(ctx, i.ID, func(repo Repository) error {
			if repo.Archived || r.Rules.Mode(repo) == ModeOff {
				return nil
			}
			looked[repo.ID] = true
			return r.repository(ctx, i.ID, repo, since, settle)
		})
		if gone := (*Gone)(nil); err != nil && !errors.As(err, &gone) {
			faults = append(faults, fmt.Errorf("installation %d: %w", i.ID, err))
			continue
		}
		if r.compared[i.ID].IsZero() {
			r.Log.InfoContext(ctx, "heads were compared with what was decided", "installation", i.ID)
		}
		r.compared[i.ID] = now
	}
	for _, u := range r.pending {
		if !looked[u.repo.ID] {
			faults = append(faults, r.repository(ctx, u.installation, u.repo, since, settle))
		}
	}
	return errors.Join(faults...)
}

// lookBack returns since when heads of pull requests met for the first time count as missed: never (zero), unless the operator ran
// recover within 24 hours.
func (r *Recovery) lookBack(ctx context.Context, now time.Time) (since time.Time, err error) {
	request, _, err := r.Requests.Get(ctx, RecoverKey)
	if errors.Is(err, ErrNotFound) {
		return since, nil
	}
	if err != nil {
		return since, fmt.Errorf("read what the operator asked to recover: %w", err)
	}
	if request.At.After(r.answered) {
		r.answered = request.At
		clear(r.compared)
	}
	if now.Sub(request.At) > 24*time.Hour {
		return since, nil
	}
	return request.Since, nil
}

// repository compares one repository's heads with what was decided about them. A head that nothing is known about for a while
// was missed: a delivery is made of it.
//
// What a repository is at when it is met for the first time counts as known, so that a new or lost data folder does not start
// everything there is; after the operator asked to recover, pull requests that were updated since do not.
//
// Trouble with one repository does not keep the others waiting: it is looked at again. Only a limit, which is the whole
// installation's, is an error.
func (r *Recovery) repository(ctx context.Context, installation int64, repo Repository, since time.Time, settle time.Duration) error {
	open, err := r.compare(ctx, installation, repo, since, settle)
	later, gone := (*Later)(nil), (*Gone)(nil)
	switch {
	case errors.As(err, &later), ctx.Err() != nil:
		return err
	case errors.As(err, &gone):
	case err != nil:
		r.Log.WarnContext(ctx, "the heads of a repository could not be compared with what was decided", "repository", repo.FullName(), "error", err)
		if open = r.pending[repo.ID]; open == nil {
			open = &unsettled{installation: installation, repo: repo}
		}
		r.pending[repo.ID] = open
		return nil
	}
	if open == nil || len(open.heads) == 0 {
		delete(r.pending, repo.ID)
		return nil
	}
	r.pending[repo.ID] = open
	return nil
}

func (r *Recovery) compare(ctx context.Context, installation int64, repo Repository, since time.Time, settle time.Duration) (*unsettled, error) {
	heads, err := r.Heads.Heads(ctx, installation, repo)
	if err != nil {
		return nil, err
	}
	stored, revision, err := r.Seen.Get(ctx, SeenKey(repo.ID))
	first := errors.Is(err, ErrNotFound)
	if err != nil && !first {
		return nil, fmt.Errorf("read which heads of %s are known: %w", repo.FullName(), err)
	}
	known, now := stored.set(), r.Now()
	open := &unsettled{installation, repo, map[string]time.Time{}}
	var met map[string]time.Time
	if before := r.pending[repo.ID]; before != nil {
		met = before.heads
	}
	var seen []string
	made := 0
	for _, head := range heads {
		hash := head.hash()
		if known[hash] || first && (since.IsZero() || head.Updated.Before(since)) {
			seen = append(seen, hash)
			continue
		}
		decided, news, err := r.decided(ctx, head)
		if err != nil {
			return nil, err
		}
		when, waits := met[hash]
		if !waits {
			when = now
		}
		switch {
		case decided:
			seen = append(seen, hash)
		case now.Sub(when) < settle || made == maxMade:
			open.heads[hash] = when
		default:
			made++
			if err := r.missed(ctx, head, news); err != nil {
				return nil, err
			}
			seen = append(seen, hash)
		}
	}
	return open, r.setSeen(ctx, repo, seenHeads(seen), stored, revision, first)
}

func (r *Recovery) setSeen(ctx context.Context, repo Repository, seen, stored SeenHeads, revision uint64, first bool) (err error) {
	switch {
	case first:
		_, err = r.Seen.Create(ctx, SeenKey(repo.ID), seen)
	case !bytes.Equal(seen.Heads, stored.Heads):
		_, err = r.Seen.Update(ctx, SeenKey(repo.ID), seen, revision)
	}
	if err != nil && !errors.Is(err, ErrExists) && !errors.Is(err, ErrConflict) { // another leader was here
		return fmt.Errorf("note which heads of %s are known: %w", repo.FullName(), err)
	}
	return nil
}

// decided tells whether there is a decision about a head; news, whether there is none about its ref at all.
func (r *Recovery) decided(ctx context.Context, head Head) (decided, news bool, err error) {
	news = true
	for _, key := range []string{RefKey(head.Repository.ID, head.Ref), observedKey(head.Repository.ID, head.Ref)} {
		ref, _, err := r.Refs.Get(ctx, key)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return false, false, fmt.Errorf("read what %s was decided at: %w", short(head.Ref), err)
		}
		if ref.Outcome == "" { // only noted where it is, by somebody's comment or label
			continue
		}
		news, decided = false, decided || ref.SHA == head.SHA
	}
	return decided, news, nil
}

// missed makes a delivery of a head.
func (r *Recovery) missed(ctx context.Context, head Head, news bool) error {
	action := ""
	switch {
	case head.Number > 0 && news:
		action = "opened"
	case head.Number > 0:
		action = "synchronize"
	}
	d, err := r.Heads.Delivery(ctx, head, action)
	if gone := (*Gone)(nil); errors.As(err, &gone) {
		return nil
	}
	if err != nil {
		return err
	}
	created, err := r.accept(ctx, d, "heads")
	if created {
		r.Log.InfoContext(ctx, "GitHub sent nothing about a head; it is taken from what GitHub shows",
			"delivery", d.GUID, "repository", head.Repository.FullName(), "ref", head.Ref, "sha", head.SHA)
	}
	return err
}
