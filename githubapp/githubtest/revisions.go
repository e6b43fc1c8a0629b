package githubtest

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// GitHub's bounds, from its page "REST API endpoints for commits".
const (
	maxCompareCommits = 250
	maxCompareFiles   = 300
	maxCommitFiles    = 300 // on one page of a commit
)

func (r *Repository) api(format string, values ...any) string {
	return r.s.api("repos/%s/", r.FullName()) + fmt.Sprintf(format, values...)
}

func (r *Repository) html(format string, values ...any) string {
	return r.s.html("%s/", r.FullName()) + fmt.Sprintf(format, values...)
}

// authorOf finds the user behind a commit's address.
func (s *Server) authorOf(email string) *User {
	for _, u := range s.users {
		if u.Email() == email {
			return u
		}
	}
	return nil
}

// commitShape is GitHub's "commit"; with changes it has files and stats.
func (r *Repository) commitShape(c commitInfo) object {
	s := r.s
	parents := []object{}
	for _, sha := range c.parents {
		parents = append(parents, object{"sha": sha, "url": r.api("commits/%s", sha), "html_url": r.html("commit/%s", sha)})
	}
	return object{
		"sha": c.sha, "node_id": "C_" + c.sha, "url": r.api("commits/%s", c.sha), "html_url": r.html("commit/%s", c.sha), "comments_url": r.api("commits/%s/comments", c.sha),
		"author": s.userOrNil(s.authorOf(c.authorEmail)), "committer": s.userOrNil(s.authorOf(c.committerEmail)), "parents": parents,
		"commit": object{
			"author":    object{"name": c.authorName, "email": c.authorEmail, "date": stamp(c.authored)},
			"committer": object{"name": c.committerName, "email": c.committerEmail, "date": stamp(c.committed)},
			"message":   c.message, "tree": object{"sha": c.tree, "url": r.api("git/trees/%s", c.tree)}, "url": r.api("git/commits/%s", c.sha), "comment_count": len(r.commentsOn(c.sha)),
			"verification": unsigned(),
		},
	}
}

func unsigned() object {
	return object{"verified": false, "reason": "unsigned", "signature": nil, "payload": nil, "verified_at": nil}
}

func (r *Repository) changeShape(change fileChange, at string) object {
	shape := object{
		"sha": change.sha, "filename": change.path, "status": change.status, "additions": change.additions, "deletions": change.deletions,
		"changes": change.additions + change.deletions, "blob_url": r.html("blob/%s/%s", at, escapePath(change.path)), "raw_url": r.html("raw/%s/%s", at, escapePath(change.path)),
		"contents_url": r.api("contents/%s?ref=%s", escapePath(change.path), at),
	}
	if change.patch != "" {
		shape["patch"] = change.patch
	}
	if change.previous != "" {
		shape["previous_filename"] = change.previous
	}
	return shape
}

// resolve finds the commit of a ref, also of one in a fork written "owner:ref".
func (r *Repository) resolve(ref string) string {
	owner, rest, qualified := strings.Cut(ref, ":")
	if !qualified {
		return r.git.commitOf(r.s.done, ref)
	}
	fork := r.relative(owner)
	if fork == nil {
		return ""
	}
	sha := fork.git.commitOf(r.s.done, rest)
	if sha == "" || r.git.borrow(r.s.done, fork.git, sha) != nil {
		return ""
	}
	return sha
}

// relative finds the repository of the same network that an account owns.
func (r *Repository) relative(owner string) *Repository {
	for _, other := range r.s.repositories {
		if strings.EqualFold(other.Owner.Login, owner) && (other == r || other.Parent == r || r.Parent == other || r.Parent != nil && r.Parent == other.Parent) {
			return other
		}
	}
	return nil
}

func getCommit(c *call) answer {
	r := c.repo
	sha := r.resolve(c.params["ref"])
	if sha == "" {
		return refuse(http.StatusUnprocessableEntity, "No commit found for SHA: "+c.params["ref"])
	}
	if strings.Contains(c.r.Header.Get("Accept"), ".sha") {
		return answer{status: http.StatusOK, raw: []byte(sha), header: http.Header{"Content-Type": {"application/vnd.github.sha; charset=utf-8"}}}
	}
	found, err := r.git.commit(r.s.done, sha)
	if err != nil {
		return refuse(http.StatusInternalServerError, err.Error())
	}
	parent := ""
	if len(found.parents) > 0 {
		parent = found.parents[0]
	}
	changes, err := r.git.diff(r.s.done, parent, sha, true)
	if err != nil {
		return refuse(http.StatusInternalServerError, err.Error())
	}
	additions, deletions := 0, 0
	for _, change := range changes {
		additions, deletions = additions+change.additions, deletions+change.deletions
	}
	return pageBy(c, maxCommitFiles, maxCommitFiles, changes[:min(len(changes), maxPullFiles)], func(some []fileChange) any {
		shape := r.commitShape(found)
		shape["stats"] = object{"total": additions + deletions, "additions": additions, "deletions": deletions}
		shape["files"] = shapes(some, func(f fileChange) object { return r.changeShape(f, sha) })
		return shape
	})
}

func listCommits(c *call) answer {
	ref := c.query.Get("sha")
	if ref == "" {
		ref = c.repo.DefaultBranch
	}
	sha := c.repo.resolve(ref)
	if sha == "" {
		return notFound()
	}
	list, err := c.repo.git.commits(c.s.done, 10_000, sha)
	if err != nil {
		return refuse(http.StatusInternalServerError, err.Error())
	}
	return page(c, list, func(some []commitInfo) any { return shapes(some, c.repo.commitShape) })
}

func compare(c *call) answer {
	r, ctx := c.repo, c.s.done
	baseName, headName, found := strings.Cut(c.params["basehead"], "...")
	base, head := r.resolve(baseName), r.resolve(headName)
	if !found || base == "" || head == "" {
		return notFound()
	}
	mergeBase := r.git.line(ctx, "merge-base", base, head)
	if mergeBase == "" {
		return refuse(http.StatusNotFound, fmt.Sprintf("No common ancestor between %s and %s.", baseName, headName))
	}
	ahead := number(r.git.line(ctx, "rev-list", "--count", base+".."+head), 0)
	behind := number(r.git.line(ctx, "rev-list", "--count", head+".."+base), 0)
	status := "diverged"
	switch {
	case ahead == 0 && behind == 0:
		status = "identical"
	case behind == 0:
		status = "ahead"
	case ahead == 0:
		status = "behind"
	}
	list, err := r.git.commits(ctx, 10_000, head, "^"+base)
	if err != nil {
		return refuse(http.StatusInternalServerError, err.Error())
	}
	slices.Reverse(list) // oldest first
	changes, err := r.git.diff(ctx, mergeBase, head, true)
	if err != nil {
		return refuse(http.StatusInternalServerError, err.Error())
	}
	changes = changes[:min(len(changes), maxCompareFiles)]
	baseCommit, err := r.git.commit(ctx, base)
	if err != nil {
		return refuse(http.StatusInternalServerError, err.Error())
	}
	mergeBaseCommit, err := r.git.commit(ctx, mergeBase)
	if err != nil {
		return refuse(http.StatusInternalServerError, err.Error())
	}
	firstPage := number(c.query.Get("page"), 1) <= 1
	wrap := func(some []commitInfo) any {
		self := r.api("compare/%s...%s", baseName, headName)
		shape := object{
			"url": self, "html_url": r.html("compare/%s...%s", baseName, headName), "permalink_url": r.html("compare/%s...%s", base[:12], head[:12]),
			"diff_url": r.html("compare/%s...%s.diff", baseName, headName), "patch_url": r.html("compare/%s...%s.patch", baseName, headName),
			"base_commit": r.commitShape(baseCommit), "merge_base_commit": r.commitShape(mergeBaseCommit), "status": status, "ahead_by": ahead, "behind_by": behind,
			"total_commits": ahead, "commits": shapes(some, r.commitShape),
		}
		if firstPage { // files come with the first page only
			shape["files"] = shapes(changes, func(f fileChange) object { return r.changeShape(f, head) })
		}
		return shape
	}
	if c.query.Get("page") == "" && c.query.Get("per_page") == "" {
		return ok(wrap(list[:min(len(list), maxCompareCommits)])) // without pages the first 250 commits come at once
	}
	return page(c, list, wrap)
}

// refShape is a git reference. An annotated tag points to a tag object.
func (r *Repository) refShape(ref, sha string) object {
	kind := r.git.line(r.s.done, "cat-file", "-t", sha)
	return object{"ref": ref, "node_id": "REF_" + sha, "url": r.api("git/%s", ref), "object": object{"type": kind, "sha": sha, "url": r.api("git/%ss/%s", kind, sha)}}
}

func getRef(c *call) answer {
	refs, err := c.repo.allRefs()
	if err != nil {
		return refuse(http.StatusInternalServerError, err.Error())
	}
	ref := "refs/" + c.params["ref"]
	if refs[ref] == "" {
		return notFound()
	}
	return ok(c.repo.refShape(ref, refs[ref]))
}

func listMatchingRefs(c *call) answer {
	refs, err := c.repo.allRefs()
	if err != nil {
		return refuse(http.StatusInternalServerError, err.Error())
	}
	list := []object{}
	for _, ref := range slices.Sorted(maps.Keys(refs)) {
		if strings.HasPrefix(ref, "refs/"+c.params["ref"]) {
			list = append(list, c.repo.refShape(ref, refs[ref]))
		}
	}
	return ok(list)
}

// allRefs are the branches, tags and pull request heads.
func (r *Repository) allRefs() (map[string]string, error) {
	refs, err := r.git.refs(r.s.done)
	if err != nil {
		return nil, err
	}
	for _, p := range r.pulls {
		refs[fmt.Sprintf("refs/pull/%d/head", p.Number)] = p.headSHA
		if p.testMerge != "" {
			refs[fmt.Sprintf("refs/pull/%d/merge", p.Number)] = p.testMerge
		}
	}
	return refs, nil
}

func listBranches(c *call) answer {
	refs, err := c.repo.git.refs(c.s.done)
	if err != nil {
		return refuse(http.StatusInternalServerError, err.Error())
	}
	return page(c, namesUnder(refs, "refs/heads/"), func(names []string) any {
		return shapes(names, func(name string) object {
			sha := refs["refs/heads/"+name]
			return object{"name": name, "commit": object{"sha": sha, "url": c.repo.api("commits/%s", sha)}, "protected": false}
		})
	})
}

func listTags(c *call) answer {
	refs, err := c.repo.git.refs(c.s.done)
	if err != nil {
		return refuse(http.StatusInternalServerError, err.Error())
	}
	names := namesUnder(refs, "refs/tags/")
	slices.Reverse(names)
	return page(c, names, func(names []string) any {
		return shapes(names, func(name string) object {
			sha := c.repo.git.commitOf(c.s.done, "refs/tags/"+name)
			return object{"name": name, "node_id": "REF_" + sha, "commit": object{"sha": sha, "url": c.repo.api("commits/%s", sha)},
				"zipball_url": c.repo.api("zipball/refs/tags/%s", name), "tarball_url": c.repo.api("tarball/refs/tags/%s", name)}
		})
	})
}

func namesUnder(refs map[string]string, prefix string) []string {
	var names []string
	for _, ref := range slices.Sorted(maps.Keys(refs)) {
		if name, found := strings.CutPrefix(ref, prefix); found {
			names = append(names, name)
		}
	}
	return names
}

func getBranch(c *call) answer {
	name := c.params["branch"]
	sha := c.repo.git.commitOf(c.s.done, "refs/heads/"+name)
	if sha == "" {
		return refuse(http.StatusNotFound, "Branch not found")
	}
	commit, err := c.repo.git.commit(c.s.done, sha)
	if err != nil {
		return refuse(http.StatusInternalServerError, err.Error())
	}
	self := c.repo.api("branches/%s", name)
	return ok(object{"name": name, "commit": c.repo.commitShape(commit), "_links": object{"self": self, "html": c.repo.html("tree/%s", name)}, "protected": false,
		"protection": object{"enabled": false, "required_status_checks": object{"enforcement_level": "off", "contexts": []string{}, "checks": []object{}}}, "protection_url": self + "/protection"})
}

func getGitCommit(c *call) answer {
	commit, err := c.repo.git.commit(c.s.done, c.params["commit_sha"])
	if !isSHA(c.params["commit_sha"]) || err != nil {
		return notFound()
	}
	parents := []object{}
	for _, sha := range commit.parents {
		parents = append(parents, object{"sha": sha, "url": c.repo.api("git/commits/%s", sha), "html_url": c.repo.html("commit/%s", sha)})
	}
	return ok(object{
		"sha": commit.sha, "node_id": "C_" + commit.sha, "url": c.repo.api("git/commits/%s", commit.sha), "html_url": c.repo.html("commit/%s", commit.sha),
		"author":    object{"name": commit.authorName, "email": commit.authorEmail, "date": stamp(commit.authored)},
		"committer": object{"name": commit.committerName, "email": commit.committerEmail, "date": stamp(commit.committed)},
		"tree":      object{"sha": commit.tree, "url": c.repo.api("git/trees/%s", commit.tree)}, "message": commit.message, "parents": parents, "verification": unsigned(),
	})
}

// getGitTag is an annotated tag.
func getGitTag(c *call) answer {
	sha := c.params["tag_sha"]
	raw, err := c.repo.git.run(c.s.done, nil, "cat-file", "tag", sha)
	if !isSHA(sha) || err != nil {
		return notFound()
	}
	head, message, _ := strings.Cut(string(raw), "\n\n")
	fields := map[string]string{}
	for line := range strings.Lines(head) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		fields[name] = value
	}
	name, rest, _ := strings.Cut(fields["tagger"], " <")
	email, seconds, _ := strings.Cut(rest, "> ")
	seconds, _, _ = strings.Cut(seconds, " ")
	return ok(object{"node_id": "T_" + sha, "tag": fields["tag"], "sha": sha, "url": c.repo.api("git/tags/%s", sha), "message": message,
		"tagger": object{"name": name, "email": email, "date": stamp(time.Unix(int64(number(seconds, 0)), 0))},
		"object": object{"sha": fields["object"], "type": fields["type"], "url": c.repo.api("git/%ss/%s", fields["type"], fields["object"])}, "verification": unsigned()})
}
