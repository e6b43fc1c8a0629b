package githubtest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// moved does what GitHub does after a push: it compares the refs, sends create, delete and push events, brings pull
// requests up to date and makes check suites.
func (r *Repository) moved(user *User, before, after map[string]string) error {
	names := maps.Clone(before)
	maps.Copy(names, after)
	var changed []string
	tags := 0
	for _, ref := range slices.Sorted(maps.Keys(names)) {
		if before[ref] != after[ref] {
			changed = append(changed, ref)
			if strings.HasPrefix(ref, "refs/tags/") {
				tags++
			}
		}
	}
	if len(changed) == 0 {
		return nil
	}
	r.pushed = r.s.now()
	for _, ref := range changed {
		isTag := strings.HasPrefix(ref, "refs/tags/")
		if isTag && tags > maxTagsAtOnce {
			continue // GitHub sends nothing for tags when there are more than three
		}
		if err := r.refMoved(user, ref, before, after); err != nil {
			return fmt.Errorf("push to %s: %w", ref, err)
		}
	}
	return nil
}

func (r *Repository) refMoved(user *User, ref string, before, after map[string]string) error {
	s := r.s
	branch, isBranch := strings.CutPrefix(ref, "refs/heads/")
	kind, short := "branch", branch
	if !isBranch {
		kind, short = "tag", strings.TrimPrefix(ref, "refs/tags/")
	}
	payload, err := r.pushPayload(user, ref, before, after)
	if err != nil {
		return err
	}
	switch {
	case before[ref] == "":
		s.emit(r, user, "create", "", object{"ref": short, "ref_type": kind, "master_branch": r.DefaultBranch, "description": nil, "pusher_type": "user"})
	case after[ref] == "":
		s.emit(r, user, "delete", "", object{"ref": short, "ref_type": kind, "pusher_type": "user"})
	}
	s.emit(r, user, "push", "", payload)
	if !isBranch {
		r.startPushRuns(user, ref, after[ref])
		return nil
	}
	if after[ref] != "" {
		if err := r.requestSuites(user, branch, before[ref], after[ref]); err != nil {
			return err
		}
	}
	if err := r.branchMoved(user, branch, before[ref], after[ref]); err != nil {
		return err
	}
	r.startPushRuns(user, ref, after[ref])
	return nil
}

func (r *Repository) pushPayload(user *User, ref string, before, after map[string]string) (object, error) {
	s, ctx := r.s, r.s.done
	from, to := before[ref], after[ref]
	payload := object{
		"ref": ref, "before": orZero(from), "after": orZero(to), "created": from == "", "deleted": to == "", "forced": false, "base_ref": nil,
		"compare": s.html("%s/compare/%s...%s", r.FullName(), orZero(from)[:12], orZero(to)[:12]), "commits": []object{}, "head_commit": nil,
		"pusher": object{"name": user.Login, "email": user.Email()},
	}
	if to == "" {
		payload["compare"] = s.html("%s/compare/%s...000000000000", r.FullName(), from[:12])
		return payload, nil
	}
	head := r.git.commitOf(ctx, to)
	isBranch := strings.HasPrefix(ref, "refs/heads/")
	var others []string // what other refs had before: not news
	for other, sha := range before {
		if other != ref {
			others = append(others, "^"+sha)
		}
	}
	revisions := []string{head}
	switch {
	case from != "" && isBranch:
		payload["forced"] = !r.git.isAncestor(ctx, from, to)
		revisions = append(revisions, "^"+from)
	case from != "":
		payload["forced"] = true
		revisions = nil
	default:
		for _, other := range slices.Sorted(maps.Keys(before)) {
			if strings.HasPrefix(other, "refs/heads/") && before[other] == head {
				payload["base_ref"] = other
			}
		}
		revisions = append(revisions, others...)
		if !isBranch {
			revisions = nil
		}
	}
	if head == "" { // a tag on something that is no commit
		return payload, nil
	}
	var pushed []commitInfo
	if revisions != nil {
		var err error
		if pushed, err = r.git.commits(ctx, maxPushed, revisions...); err != nil {
			return nil, err
		}
	}
	fresh := map[string]bool{}
	if list, err := r.git.commits(ctx, maxPushed, append([]string{head}, others...)...); err == nil {
		for _, c := range list {
			fresh[c.sha] = true
		}
	}
	c, err := r.git.commit(ctx, head)
	if err != nil {
		return nil, err
	}
	shown := append([]commitInfo{c}, pushed...) // the head first, whether it is news or not
	if err := r.git.withFiles(ctx, shown); err != nil {
		return nil, err
	}
	list := []object{}
	for _, c := range slices.Backward(shown[1:]) { // oldest first
		list = append(list, r.pushedCommit(c, fresh[c.sha]))
	}
	payload["commits"], payload["head_commit"] = list, r.pushedCommit(shown[0], true)
	return payload, nil
}

// pushedCommit is a commit as push events show it.
func (r *Repository) pushedCommit(c commitInfo, distinct bool) object {
	list := func(paths []string) []string { return append([]string{}, paths...) }
	return object{
		"id": c.sha, "tree_id": c.tree, "distinct": distinct, "message": c.message, "timestamp": c.committed.Format(time.RFC3339),
		"url":       r.s.html("%s/commit/%s", r.FullName(), c.sha),
		"author":    object{"name": c.authorName, "email": c.authorEmail, "username": c.authorName},
		"committer": object{"name": c.committerName, "email": c.committerEmail, "username": c.committerName},
		"added":     list(c.added), "modified": list(c.modified), "removed": list(c.removed),
	}
}

func orZero(sha string) string {
	if sha == "" {
		return zeroSHA
	}
	return sha
}
