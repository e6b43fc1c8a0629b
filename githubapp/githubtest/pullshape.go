package githubtest

import (
	"net/http"
	"slices"
	"strings"
)

// maxPullFiles and maxPullCommits are GitHub's bounds for the files and commits of a pull request.
const (
	maxPullFiles   = 3000
	maxPullCommits = 250
)

// shape has every field of GitHub's three shapes of a pull request. whole adds what only a single one has.
func (p *Pull) shape(whole bool) object {
	s, r := p.Repo.s, p.Repo
	self, html, issue := r.api("pulls/%d", p.Number), r.html("pull/%d", p.Number), r.api("issues/%d", p.Number)
	link := func(href string) object { return object{"href": href} }
	head := object{"label": p.headLabel(), "ref": p.headBranch, "sha": p.headSHA, "user": s.userOrNil(p.head.Owner), "repo": nil}
	if !p.head.deleted {
		head["repo"] = s.repositoryShape(p.head)
	}
	var mergeSHA any
	switch {
	case p.mergeSHA != "":
		mergeSHA = p.mergeSHA
	case p.testMerge != "":
		mergeSHA = p.testMerge
	}
	shape := object{
		"id": p.ID, "node_id": nodeID("PR", p.ID), "number": p.Number, "url": self, "html_url": html, "diff_url": html + ".diff", "patch_url": html + ".patch",
		"issue_url": issue, "commits_url": self + "/commits", "review_comments_url": self + "/comments", "review_comment_url": r.api("pulls/comments{/number}"),
		"comments_url": issue + "/comments", "statuses_url": r.api("statuses/%s", p.headSHA), "state": p.state, "locked": false, "active_lock_reason": nil,
		"title": p.title, "body": orNil(p.body), "user": s.userShape(p.User), "labels": shapes(p.labels, r.labelShape), "milestone": nil, "created_at": stamp(p.created), "updated_at": stamp(p.updated),
		"closed_at": stampOrNil(p.closed), "merged_at": stampOrNil(p.merged), "merge_commit_sha": mergeSHA, "assignee": nil, "assignees": []object{},
		"requested_reviewers": []object{}, "requested_teams": []object{}, "draft": p.draft, "auto_merge": nil, "author_association": r.association(p.User), "head": head,
		"base": object{"label": r.Owner.Login + ":" + p.base, "ref": p.base, "sha": p.baseSHA, "user": s.userShape(r.Owner), "repo": s.repositoryShape(r)},
		"_links": object{"self": link(self), "html": link(html), "issue": link(issue), "comments": link(issue + "/comments"), "review_comments": link(self + "/comments"),
			"review_comment": link(r.api("pulls/comments{/number}")), "commits": link(self + "/commits"), "statuses": link(r.api("statuses/%s", p.headSHA))},
	}
	if !whole {
		return shape
	}
	changes, _ := p.changes(false)
	additions, deletions := 0, 0
	for _, change := range changes {
		additions, deletions = additions+change.additions, deletions+change.deletions
	}
	var mergeable any
	mergeableState := "unknown"
	if p.mergeTried {
		mergeable = p.mergeable
		mergeableState = map[bool]string{true: "clean", false: "dirty"}[p.mergeable]
	}
	shape["merged"], shape["merged_by"], shape["mergeable"], shape["mergeable_state"], shape["rebaseable"] = !p.merged.IsZero(), s.userOrNil(p.mergedBy), mergeable, mergeableState, nil
	shape["comments"], shape["review_comments"], shape["maintainer_can_modify"] = len(r.commentsOf(p.Number)), 0, p.head != r
	shape["commits"], shape["additions"], shape["deletions"], shape["changed_files"] = number(r.git.line(s.done, "rev-list", "--count", p.baseSHA+".."+p.headSHA), 0), additions, deletions, len(changes)
	return shape
}

func (r *Repository) labelShape(name string) object {
	id := int64(7)
	for _, letter := range name {
		id = id*31%1_000_003 + int64(letter)
	}
	return object{"id": id, "node_id": nodeID("LA", id), "url": r.api("labels/%s", escapePath(name)), "name": name, "color": "ededed", "default": false, "description": ""}
}

// minimal is how checks show a pull request.
func (p *Pull) minimal() object {
	side := func(r *Repository, ref, sha string) object {
		return object{"ref": ref, "sha": sha, "repo": object{"id": r.ID, "name": r.Name, "url": r.s.api("repos/%s", r.FullName())}}
	}
	return object{"id": p.ID, "number": p.Number, "url": p.Repo.api("pulls/%d", p.Number), "head": side(p.head, p.headBranch, p.headSHA), "base": side(p.Repo, p.base, p.baseSHA)}
}

// changes are the files changed since the head left the base.
func (p *Pull) changes(patches bool) ([]fileChange, error) {
	g, ctx := p.Repo.git, p.Repo.s.done
	from := g.line(ctx, "merge-base", p.baseSHA, p.headSHA)
	return g.diff(ctx, from, p.headSHA, patches)
}

func getPull(c *call) answer {
	p := c.repo.pull(int(c.id("pull_number")))
	if p == nil {
		return notFound()
	}
	a := ok(p.shape(true))
	if p.state == "open" && !p.mergeTried {
		p.tryMerge()
	}
	return a
}

func listPulls(c *call) answer {
	state := c.query.Get("state")
	var list []*Pull
	for _, p := range c.repo.pulls {
		switch {
		case state == "all" || p.state == state || state == "" && p.state == "open":
		default:
			continue
		}
		// The head must be named with its owner; GitHub ignores a bare branch name and lists all.
		if head := c.query.Get("head"); strings.Contains(head, ":") && !strings.EqualFold(head, p.headLabel()) {
			continue
		}
		if base := c.query.Get("base"); base != "" && base != p.base {
			continue
		}
		list = append(list, p)
	}
	updated := c.query.Get("sort") == "updated"
	slices.SortStableFunc(list, func(a, b *Pull) int {
		if updated && !a.updated.Equal(b.updated) {
			return a.updated.Compare(b.updated)
		}
		return a.Number - b.Number
	})
	if direction := c.query.Get("direction"); direction == "desc" || direction == "" && (c.query.Get("sort") == "" || c.query.Get("sort") == "created") {
		slices.Reverse(list)
	}
	return page(c, list, func(some []*Pull) any { return shapes(some, func(p *Pull) object { return p.shape(false) }) })
}

func listPullFiles(c *call) answer {
	p := c.repo.pull(int(c.id("pull_number")))
	if p == nil {
		return notFound()
	}
	changes, err := p.changes(true)
	if err != nil {
		return refuse(http.StatusInternalServerError, err.Error())
	}
	changes = changes[:min(len(changes), maxPullFiles)]
	return page(c, changes, func(some []fileChange) any {
		return shapes(some, func(f fileChange) object { return c.repo.changeShape(f, p.headSHA) })
	})
}

func listPullCommits(c *call) answer {
	p := c.repo.pull(int(c.id("pull_number")))
	if p == nil {
		return notFound()
	}
	list, err := c.repo.git.commits(c.s.done, 10_000, p.headSHA, "^"+p.baseSHA)
	if err != nil {
		return refuse(http.StatusInternalServerError, err.Error())
	}
	slices.Reverse(list)
	list = list[:min(len(list), maxPullCommits)]
	return page(c, list, func(some []commitInfo) any { return shapes(some, c.repo.commitShape) })
}

// listPullsOfCommit lists the pull requests that have a commit: the merged ones if it is in the default branch, otherwise
// the open ones.
func listPullsOfCommit(c *call) answer {
	r := c.repo
	sha := r.git.commitOf(c.s.done, c.params["commit_sha"])
	if sha == "" {
		return refuse(http.StatusUnprocessableEntity, "No commit found for SHA: "+c.params["commit_sha"])
	}
	inDefault := r.git.isAncestor(c.s.done, sha, "refs/heads/"+r.DefaultBranch)
	var list []*Pull
	for _, p := range r.pulls {
		if inDefault != p.merged.IsZero() && (p.headSHA == sha || p.mergeSHA == sha || strings.Contains(r.git.line(c.s.done, "rev-list", p.baseSHA+".."+p.headSHA), sha)) {
			list = append(list, p)
		}
	}
	return page(c, list, func(some []*Pull) any { return shapes(some, func(p *Pull) object { return p.shape(false) }) })
}
