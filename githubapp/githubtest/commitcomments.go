package githubtest

import (
	"fmt"
	"net/http"
	"time"
)

// CommitComment is a comment on a commit, which needs no pull request.
type CommitComment struct {
	ID        int64
	SHA       string
	User      *User
	Path      string // empty: on the commit as a whole
	Line      int    // 0: on the file or commit as a whole
	Body      string
	Created   time.Time
	Updated   time.Time
	Reactions map[string][]string // as Comment.Reactions
}

type commitComment struct {
	CommitComment
	repo      *Repository
	position  any
	reactions []*reaction
}

// CommitComments returns the comments on a commit, oldest first; an empty sha means all of the repository.
func (r *Repository) CommitComments(sha string) []CommitComment {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	var list []CommitComment
	for _, c := range r.commentsOn(sha) {
		shown := c.CommitComment
		shown.Reactions = byContent(c.reactions)
		list = append(list, shown)
	}
	return list
}

// CommentOnCommit writes a comment on a commit as user: a commit_comment event follows. GitHub has no event for edits.
func (r *Repository) CommentOnCommit(sha string, user *User, body string) (int64, error) {
	return r.CommentOnCommitAt(sha, user, body, r.s.options.Clock())
}

// CommentOnCommitAt is CommentOnCommit with the time at which it was written, for events that come late.
func (r *Repository) CommentOnCommitAt(sha string, user *User, body string, written time.Time) (int64, error) {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	if fault := bodyFault(body); fault != "" {
		return 0, fmt.Errorf("comment on %s: %s", sha, fault)
	}
	if !isSHA(sha) || r.git.commitOf(r.s.done, sha) == "" {
		return 0, fmt.Errorf("comment on %s: no such commit in %s", sha, r.FullName())
	}
	return r.commentOn(&commitComment{CommitComment: CommitComment{SHA: sha, User: user, Body: body, Created: written.UTC().Truncate(time.Second)}}).ID, nil
}

// commentOn keeps a new comment and sends its event.
func (r *Repository) commentOn(c *commitComment) *commitComment {
	c.repo, c.ID, c.Updated = r, r.s.nextID(), c.Created
	r.commitComments = append(r.commitComments, c)
	r.s.emit(r, c.User, "commit_comment", "created", object{"comment": c.shape()})
	return c
}

func (r *Repository) commentsOn(sha string) []*commitComment {
	var list []*commitComment
	for _, c := range r.commitComments {
		if sha == "" || c.SHA == sha {
			list = append(list, c)
		}
	}
	return list
}

func (c *commitComment) shape() object {
	self := c.repo.api("comments/%d", c.ID)
	shape := object{"id": c.ID, "node_id": nodeID("CC", c.ID), "url": self, "html_url": c.repo.html("commit/%s#commitcomment-%d", c.SHA, c.ID), "user": c.repo.s.userShape(c.User),
		"commit_id": c.SHA, "body": c.Body, "path": orNil(c.Path), "line": nil, "position": c.position, "created_at": stamp(c.Created), "updated_at": stamp(c.Updated),
		"author_association": c.repo.association(c.User), "reactions": tally(self, c.reactions)}
	if c.Line > 0 {
		shape["line"] = c.Line
	}
	return shape
}

func createCommitComment(c *call) answer {
	sha := c.params["commit_sha"]
	if !isSHA(sha) || c.repo.git.commitOf(c.s.done, sha) == "" {
		return refuse(http.StatusUnprocessableEntity, "No commit found for SHA: "+sha)
	}
	body, refused := c.commentBody("CommitComment")
	if refused != nil {
		return *refused
	}
	w := struct {
		Path     string `json:"path"`
		Line     int    `json:"line"`
		Position any    `json:"position"`
	}{}
	c.decode(&w)
	return created(c.repo.commentOn(&commitComment{position: w.Position, CommitComment: CommitComment{SHA: sha, User: c.caller.token.installation.App.Bot, Body: body, Path: w.Path,
		Line: w.Line, Created: c.s.now()}}).shape())
}

func (c *call) commitComment() *commitComment {
	for _, found := range c.repo.commitComments {
		if found.ID == c.id("comment_id") {
			return found
		}
	}
	return nil
}

func updateCommitComment(c *call) answer {
	found := c.commitComment()
	if found == nil {
		return notFound()
	}
	body, refused := c.commentBody("CommitComment")
	if refused != nil {
		return *refused
	}
	found.Body, found.Updated = body, c.s.now()
	return ok(found.shape())
}

func listCommitComments(c *call) answer {
	return page(c, c.repo.commentsOn(c.params["commit_sha"]), func(some []*commitComment) any { return shapes(some, (*commitComment).shape) })
}
