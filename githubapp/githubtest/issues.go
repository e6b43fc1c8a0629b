package githubtest

import (
	"errors"
	"time"
)

// Issue is an issue that is no pull request. Both share their numbers and their comments.
type Issue struct {
	ID     int64
	Number int
	Repo   *Repository
	User   *User // who opened it

	title, body      string
	created, updated time.Time
}

// OpenIssue opens an issue as user. Nothing is sent: comments are all that the Apps modelled here hear of issues.
func (r *Repository) OpenIssue(user *User, title, body string) (*Issue, error) {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	if title == "" {
		return nil, errors.New("open an issue: it needs a title")
	}
	r.lastNumber++
	i := &Issue{ID: r.s.nextID(), Number: r.lastNumber, Repo: r, User: user, title: title, body: body, created: r.s.now(), updated: r.s.now()}
	r.issues = append(r.issues, i)
	return i, nil
}

// Comment writes a comment on the issue as user: an issue_comment event without pull_request follows.
func (i *Issue) Comment(user *User, body string) (int64, error) {
	return i.Repo.writeComment(i.Number, user, body, time.Time{})
}

// Comments returns the comments on the issue, oldest first.
func (i *Issue) Comments() []Comment { return i.Repo.shownComments(i.Number) }

// thread is what can be commented on under a number: an issue or a pull request. nil when there is neither.
func (r *Repository) thread(number int) object {
	if p := r.pull(number); p != nil {
		return p.issueShape()
	}
	for _, i := range r.issues {
		if i.Number == number {
			return i.shape()
		}
	}
	return nil
}

// touch notes that something happened to an issue or pull request.
func (r *Repository) touch(number int) {
	if p := r.pull(number); p != nil {
		p.updated = r.s.now()
	}
	for _, i := range r.issues {
		if i.Number == number {
			i.updated = r.s.now()
		}
	}
}

func (i *Issue) shape() object {
	return with(i.Repo.issueFields(i.Number, i.User, i.Repo.html("issues/%d", i.Number)), "id", i.ID, "node_id", nodeID("I", i.ID), "title", i.title, "body", orNil(i.body),
		"state", "open", "labels", []object{}, "created_at", stamp(i.created), "updated_at", stamp(i.updated), "closed_at", nil)
}

// issueShape is the issue that every pull request also is.
func (p *Pull) issueShape() object {
	r, html := p.Repo, p.Repo.html("pull/%d", p.Number)
	return with(r.issueFields(p.Number, p.User, html), "id", p.ID, "node_id", nodeID("PR", p.ID), "title", p.title, "body", orNil(p.body), "state", p.state,
		"labels", shapes(p.labels, r.labelShape), "created_at", stamp(p.created), "updated_at", stamp(p.updated), "closed_at", stampOrNil(p.closed), "draft", p.draft,
		"pull_request", object{"url": r.api("pulls/%d", p.Number), "html_url": html, "diff_url": html + ".diff", "patch_url": html + ".patch", "merged_at": stampOrNil(p.merged)})
}

// issueFields are what the issues of GitHub have in common, whatever they are.
func (r *Repository) issueFields(number int, user *User, html string) object {
	self := r.api("issues/%d", number)
	return object{
		"number": number, "user": r.s.userShape(user), "locked": false, "url": self, "repository_url": r.s.api("repos/%s", r.FullName()), "labels_url": self + "/labels{/name}",
		"comments_url": self + "/comments", "events_url": self + "/events", "html_url": html, "assignee": nil, "assignees": []object{}, "milestone": nil,
		"comments": len(r.commentsOf(number)), "active_lock_reason": nil, "author_association": r.association(user), "reactions": tally(self, nil),
		"performed_via_github_app": nil, "state_reason": nil, "timeline_url": self + "/timeline",
	}
}

func getIssue(c *call) answer {
	if shape := c.repo.thread(int(c.id("issue_number"))); shape != nil {
		return ok(shape)
	}
	return notFound()
}
