package githubtest

import (
	"fmt"
	"slices"
	"time"
	"unicode/utf8"
)

// Comment is a comment on a pull request or an issue.
type Comment struct {
	ID      int64
	Pull    int // number of the pull request or issue
	User    *User
	App     *App // whose bot the author is; nil for people
	Body    string
	Created time.Time
	Updated time.Time
	// Reactions are contents such as "eyes" or "+1" with the logins that gave them, in order.
	Reactions map[string][]string
}

type comment struct {
	Comment
	repo      *Repository
	reactions []*reaction
}

// maxCommentBody is GitHub's bound in characters; longer ones are refused.
const maxCommentBody = 65536

// Comments returns the comments on a pull request, oldest first.
func (p *Pull) Comments() []Comment { return p.Repo.shownComments(p.Number) }

// Comment writes a comment as user, who may be a bot: an issue_comment event follows. Comments of an App's own bot are
// marked as the App's.
func (p *Pull) Comment(user *User, body string) (int64, error) {
	return p.Repo.writeComment(p.Number, user, body, time.Time{})
}

// CommentAt is Comment with the time at which it was written, for events that come late.
func (p *Pull) CommentAt(user *User, body string, written time.Time) (int64, error) {
	return p.Repo.writeComment(p.Number, user, body, written)
}

// EditComment changes a comment's text as user: its author, or someone who may write to the repository. The event's sender
// is who edits, while comment.user stays the author.
func (p *Pull) EditComment(id int64, user *User, body string) error {
	return p.Repo.amendComment("edit", p.Number, id, user, func(c *comment) { c.edit(user, body) })
}

// DeleteComment removes a comment as user, who may do so as for EditComment.
func (p *Pull) DeleteComment(id int64, user *User) error {
	return p.Repo.amendComment("delete", p.Number, id, user, func(c *comment) { c.remove(user) })
}

func (r *Repository) shownComments(number int) []Comment {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	var list []Comment
	for _, c := range r.commentsOf(number) {
		shown := c.Comment
		shown.Reactions = byContent(c.reactions)
		list = append(list, shown)
	}
	return list
}

func (r *Repository) writeComment(number int, user *User, body string, written time.Time) (int64, error) {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	if fault := bodyFault(body); fault != "" {
		return 0, fmt.Errorf("comment on #%d: %s", number, fault)
	}
	if written.IsZero() {
		written = r.s.now()
	}
	return r.comment(number, user, body, written).ID, nil
}

func (r *Repository) amendComment(what string, number int, id int64, user *User, amend func(*comment)) error {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	for _, c := range r.commentsOf(number) {
		if c.ID != id {
			continue
		}
		if user != c.User && !r.mayPush(user) {
			return fmt.Errorf("%s comment %d: %s neither wrote it nor may write to %s", what, id, user.Login, r.FullName())
		}
		amend(c)
		return nil
	}
	return fmt.Errorf("%s comment %d: there is none on #%d", what, id, number)
}

// bodyFault says why GitHub refuses a comment's text; "" when it doesn't.
func bodyFault(body string) string {
	switch {
	case body == "":
		return "Body can't be blank"
	case utf8.RuneCountInString(body) > maxCommentBody:
		return fmt.Sprintf("Body is too long (maximum is %d characters)", maxCommentBody)
	}
	return ""
}

func (r *Repository) comment(number int, user *User, body string, written time.Time) *comment {
	written = written.UTC().Truncate(time.Second)
	c := &comment{repo: r, Comment: Comment{ID: r.s.nextID(), Pull: number, User: user, App: r.s.appOf(user), Body: body, Created: written, Updated: written}}
	r.comments = append(r.comments, c)
	r.touch(number)
	c.emit(user, "created", nil)
	return c
}

func (c *comment) edit(user *User, body string) {
	from := c.Body
	c.Body, c.Updated = body, c.repo.s.now()
	c.emit(user, "edited", object{"body": object{"from": from}})
}

func (c *comment) remove(user *User) {
	c.repo.comments = slices.DeleteFunc(c.repo.comments, func(other *comment) bool { return other == c })
	c.emit(user, "deleted", nil)
}

func (c *comment) emit(sender *User, action string, changes object) {
	fields := object{"comment": c.shape(), "issue": c.repo.thread(c.Pull)}
	if changes != nil {
		fields["changes"] = changes
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
	shape := object{"id": c.ID, "node_id": nodeID("IC", c.ID), "url": self, "html_url": fmt.Sprintf("%s#issuecomment-%d", r.thread(c.Pull)["html_url"], c.ID), "issue_url": r.api("issues/%d", c.Pull),
		"user": s.userShape(c.User), "body": c.Body, "created_at": stamp(c.Created), "updated_at": stamp(c.Updated), "author_association": r.association(c.User),
		"performed_via_github_app": nil, "reactions": tally(self, c.reactions)}
	if c.App != nil {
		shape["performed_via_github_app"] = s.appShape(c.App)
	}
	return shape
}

// association is how GitHub names a user's relation to the repository. It says less than it seems to: members may show as
// contributors.
func (r *Repository) association(u *User) string {
	switch role := r.roles[u.ID]; {
	case u == r.Owner:
		return "OWNER"
	case role != "" && role != "none":
		return "COLLABORATOR"
	}
	return "CONTRIBUTOR"
}

// commentBody is the text of a comment that a request brings.
func (c *call) commentBody(resource string) (string, *answer) {
	var w struct {
		Body string `json:"body"`
	}
	c.decode(&w)
	fault := bodyFault(w.Body)
	if fault == "" {
		return w.Body, nil
	}
	a := invalid(resource, "body", map[bool]string{true: "custom", false: "unprocessable"}[w.Body == ""], fault)
	return "", &a
}

func createComment(c *call) answer {
	number := int(c.id("issue_number"))
	if c.repo.thread(number) == nil {
		return notFound()
	}
	body, refused := c.commentBody("IssueComment")
	if refused != nil {
		return *refused
	}
	return created(c.repo.comment(number, c.caller.token.installation.App.Bot, body, c.s.now()).shape())
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
	body, refused := c.commentBody("IssueComment")
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
	found.remove(c.caller.token.installation.App.Bot)
	return noContent()
}

func listComments(c *call) answer {
	number := int(c.id("issue_number"))
	if c.repo.thread(number) == nil {
		return notFound()
	}
	since, _ := time.Parse(time.RFC3339, c.query.Get("since"))
	list := slices.DeleteFunc(c.repo.commentsOf(number), func(found *comment) bool { return found.Updated.Before(since) })
	return page(c, list, func(some []*comment) any { return shapes(some, (*comment).shape) })
}
