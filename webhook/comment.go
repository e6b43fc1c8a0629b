package webhook

import (
	"encoding/json"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

// The payloads of comments.
type (
	payloadComment struct {
		ID        int64          `json:"id"`
		Body      string         `json:"body"`
		User      payloadAccount `json:"user"`
		CreatedAt time.Time      `json:"created_at"`
		HTMLURL   string         `json:"html_url"`
		CommitID  string         `json:"commit_id"` // of a comment on a commit
	}
	payloadIssueComment struct {
		payloadCommon
		Action string `json:"action"`
		Issue  struct {
			Number      int             `json:"number"`
			PullRequest json.RawMessage `json:"pull_request"` // absent for an issue that is no pull request
		} `json:"issue"`
		Comment payloadComment `json:"comment"`
	}
)

// decodeComment reads a comment just created, on a pull request or on a commit. What was edited is never a command: who
// may edit a comment is not who wrote it.
func (d Decoder) decodeComment(event string, body []byte) (jobs.Event, error) {
	var p payloadIssueComment
	if err := json.Unmarshal(body, &p); err != nil {
		return jobs.Event{}, err
	}
	e := p.event(jobs.EventCommand)
	e.Action, e.Time = p.Action, p.Comment.CreatedAt
	switch {
	case p.Action != "created":
		return e, notHandled("a comment was %s; commands are taken from new comments only", p.Action)
	case event == "issue_comment" && len(p.Issue.PullRequest) == 0:
		return e, notHandled("the comment is on an issue, not on a pull request")
	}
	e.Comment = &jobs.Comment{ID: p.Comment.ID, Author: p.Comment.User.actor(), Created: p.Comment.CreatedAt, URL: jobs.Cut(p.Comment.HTMLURL, 500)}
	if event == "issue_comment" {
		e.Comment.Number = p.Issue.Number
	} else {
		e.Comment.SHA = p.Comment.CommitID
	}
	if e.Commands = Commands(p.Comment.Body, CommandOptions(d)); len(e.Commands) == 0 {
		return e, notHandled("the comment holds no command")
	}
	return e, nil
}
