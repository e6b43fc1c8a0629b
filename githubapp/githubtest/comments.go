package githubtest

import (
	"fmt"
	"net/http"
	"slices"
	"time"
	"unicode/utf8"
)

// Comment is a comment on a pull request.
type Comment struct {
	ID      int64
	Pull    int // number
	User    *User
	Body    string
	Created time.Time
	Updated time.Time
	// Reactions are contents such as "eyes" or "+1" with the logins that gave them, in order.
	Reactions map[string][]string
}

type comment struct {
	Comment
	repo      *Repository
	app       *App // who wrote it, when an App did
	reactions []*reaction
}

type reaction struct {
	id      int64
	content string
	user    *User
	created time.Time
}

// maxCommentBody is GitHub's bound in characters; longer ones are refused.
const maxCommentBody = 65536

// Comments returns the comments on a pull request, oldest first.
func (p *Pull) Comments() []Comment {
	p.Repo.s.mu.Lock()
	defer p.Repo.s.mu.Unlock()
	var list []Comment
	for _, c := range p.Repo.commentsOf(p.Number) {
		shown := c.Comment
		shown.Reactions = map[string][]string{}
		for _, r := range c.reactions {
			shown.Reactions[r.content] = append(shown.Reactions[r.content], r.user.Login)
		}
		list = append(list, shown)
	}
	return list
}

// Comment writes a comment as user: an issue_comment event follows.
func (p *Pull) Comment(user *User, body string) (int64, error) {
	p.Repo.s.mu.Lock()
	defer p.Repo.s.mu.Unlock()
	if utf8.RuneCountInString(body) > maxCommentBody || body == "" {
		return 0, fmt.Errorf("comment on #%d: GitHub takes 1 to %d characters", p.Number, maxCommentBody)
	}
	return p.comment(user, nil, body).ID, nil
}

// EditComment changes a comment's text; user need not be its author.
func (p *Pull) EditComment(id int64, user *User, body string) error {
	p.Repo.s.mu.Lock()
	defer p.Repo.s.mu.Unlock()
	for _, c := range p.Repo.commentsOf(p.Number) {
		if c.ID == id {
			c.edit(user, body)
			return nil
		}
	}
	return fmt.Errorf("edit comment %d: there is none on #%d", id, p.Number)
}

func (c *comment) edit(user *User, body string) {
	from := c.Body
	c.Body, c.Updated = body, c.repo.s.now()
	c.emit(user, "edited", object{"changes": object{"body": object{"from": from}}})
}

func (p *Pull) comment(user *User, app *App, body string) *comment {
	s := p.Repo.s
	c := &comment{repo: p.Repo, app: app, Comment: Comment{ID: s.nextID(), Pull: p.Number, User: user, Body: body, Created: s.now(), Updated: s.now()}}
	p.Repo.comments = append(p.Repo.comments, c)
	p.updated = s.now()
	c.emit(user, "created", nil)
	return c
}

func (c *comment) emit(sender *User, action string, extra object) {
	fields := object{"comment": c.shape(), "issue": c.repo.pull(c.Pull).issueShape()}
	for name, value := range extra {
		fields[name] = value
	}
	c.repo.s.emit(c.repo, sender, "issue_comment", action, fields)
}

func (r *Repository) commentsOf(number int) []*comment {
	var list []*comment
	for _, c := range r.comments {
		if c.Pull == number {
			list = append(list, c)
		}
	}
	return list
}

func (c *comment) shape() object {
	s, r := c.repo.s, c.repo
	self := r.api("issues/comments/%d", c.ID)
	shape := object{"id": c.ID, "node_id": nodeID("IC", c.ID), "url": self, "html_url": r.html("pull/%d#issuecomment-%d", c.Pull, c.ID), "issue_url": r.api("issues/%d", c.Pull),
		"user": s.userShape(c.User), "body": c.Body, "created_at": stamp(c.Created), "updated_at": stamp(c.Updated), "author_association": "CONTRIBUTOR",
		"performed_via_github_app": nil, "reactions": c.tally(self)}
	if c.User == r.Owner {
		shape["author_association"] = "OWNER"
	} else if r.roles[c.User.ID] != "" {
		shape["author_association"] = "COLLABORATOR"
	}
	if c.app != nil {
		shape["performed_via_github_app"] = s.appShape(c.app)
	}
	return shape
}

// reactionContents are all that GitHub knows.
var reactionContents = []string{"+1", "-1", "laugh", "confused", "heart", "hooray", "rocket", "eyes"}

func (c *comment) tally(self string) object {
	tally := object{"url": self + "/reactions", "total_count": len(c.reactions)}
	for _, content := range reactionContents {
		count := 0
		for _, r := range c.reactions {
			if r.content == content {
				count++
			}
		}
		tally[content] = count
	}
	return tally
}

// issueShape is the issue that every pull request also is.
func (p *Pull) issueShape() object {
	s, r := p.Repo.s, p.Repo
	self, html := r.api("issues/%d", p.Number), r.html("pull/%d", p.Number)
	labels := []object{}
	for _, name := range p.labels {
		labels = append(labels, r.labelShape(name))
	}
	none := object{"url": self + "/reactions", "total_count": 0}
	for _, content := range reactionContents {
		none[content] = 0
	}
	return object{
		"id": p.ID, "node_id": nodeID("PR", p.ID), "number": p.Number, "title": p.title, "body": orNil(p.body), "user": s.userShape(p.User), "state": p.state, "locked": false,
		"url": self, "repository_url": s.api("repos/%s", r.FullName()), "labels_url": self + "/labels{/name}", "comments_url": self + "/comments", "events_url": self + "/events",
		"html_url": html, "labels": labels, "assignee": nil, "assignees": []object{}, "milestone": nil, "comments": len(r.commentsOf(p.Number)), "active_lock_reason": nil,
		"created_at": stamp(p.created), "updated_at": stamp(p.updated), "closed_at": stampOrNil(p.closed), "author_association": p.association(), "draft": p.draft,
		"reactions": none, "performed_via_github_app": nil, "state_reason": nil, "timeline_url": self + "/timeline",
		"pull_request": object{"url": r.api("pulls/%d", p.Number), "html_url": html, "diff_url": html + ".diff", "patch_url": html + ".patch", "merged_at": stampOrNil(p.merged)},
	}
}

func (c *call) commentBody() (string, *answer) {
	var w struct {
		Body string `json:"body"`
	}
	c.decode(&w)
	if w.Body == "" {
		a := invalid("IssueComment", "body", "custom", "Body can't be blank")
		return "", &a
	}
	if utf8.RuneCountInString(w.Body) > maxCommentBody {
		a := invalid("IssueComment", "body", "unprocessable", fmt.Sprintf("Body is too long (maximum is %d characters)", maxCommentBody))
		return "", &a
	}
	return w.Body, nil
}

func createComment(c *call) answer {
	p := c.repo.pull(int(c.id("issue_number")))
	if p == nil {
		return notFound()
	}
	body, refused := c.commentBody()
	if refused != nil {
		return *refused
	}
	app := c.caller.token.installation.App
	return created(p.comment(app.Bot, app, body).shape())
}

func (c *call) comment() *comment {
	for _, found := range c.repo.comments {
		if found.ID == c.id("comment_id") {
			return found
		}
	}
	return nil
}

func getComment(c *call) answer {
	if found := c.comment(); found != nil {
		return ok(found.shape())
	}
	return notFound()
}

func updateComment(c *call) answer {
	found := c.comment()
	if found == nil {
		return notFound()
	}
	body, refused := c.commentBody()
	if refused != nil {
		return *refused
	}
	found.edit(c.caller.token.installation.App.Bot, body)
	return ok(found.shape())
}

func deleteComment(c *call) answer {
	found := c.comment()
	if found == nil {
		return notFound()
	}
	c.repo.comments = slices.DeleteFunc(c.repo.comments, func(other *comment) bool { return other == found })
	found.emit(c.caller.token.installation.App.Bot, "deleted", nil)
	return noContent()
}

func listComments(c *call) answer {
	number := int(c.id("issue_number"))
	if c.repo.pull(number) == nil {
		return notFound()
	}
	since, _ := time.Parse(time.RFC3339, c.query.Get("since"))
	list := slices.DeleteFunc(c.repo.commentsOf(number), func(found *comment) bool { return found.Updated.Before(since) })
	return page(c, list, func(some []*comment) any { return shapes(some, (*comment).shape) })
}

func getIssue(c *call) answer {
	if p := c.repo.pull(int(c.id("issue_number"))); p != nil {
		return ok(p.issueShape())
	}
	return notFound()
}

func (c *call) reactionShape(r *reaction) object {
	return object{"id": r.id, "node_id": nodeID("REA", r.id), "user": c.s.userShape(r.user), "content": r.content, "created_at": stamp(r.created)}
}

func createReaction(c *call) answer {
	found := c.comment()
	if found == nil {
		return notFound()
	}
	var w struct {
		Content string `json:"content"`
	}
	c.decode(&w)
	bot := c.caller.token.installation.App.Bot
	for _, r := range found.reactions {
		if r.content == w.Content && r.user == bot {
			return ok(c.reactionShape(r)) // it was there already
		}
	}
	r := &reaction{id: c.s.nextID(), content: w.Content, user: bot, created: c.s.now()}
	found.reactions = append(found.reactions, r)
	return created(c.reactionShape(r))
}

func listReactions(c *call) answer {
	found := c.comment()
	if found == nil {
		return notFound()
	}
	return page(c, found.reactions, func(some []*reaction) any { return shapes(some, c.reactionShape) })
}

func deleteReaction(c *call) answer {
	found := c.comment()
	if found == nil {
		return notFound()
	}
	before := len(found.reactions)
	found.reactions = slices.DeleteFunc(found.reactions, func(r *reaction) bool { return r.id == c.id("reaction_id") })
	if len(found.reactions) == before {
		return refuse(http.StatusNotFound, "Not Found")
	}
	return noContent()
}
