package webhook

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

// The payloads of what people ask for.
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
	payloadCheck struct {
		payloadCommon
		Action   string `json:"action"`
		CheckRun struct {
			ID         int64      `json:"id"`
			Name       string     `json:"name"`
			HeadSHA    string     `json:"head_sha"`
			ExternalID string     `json:"external_id"`
			App        payloadApp `json:"app"`
			CheckSuite struct {
				ID int64 `json:"id"`
			} `json:"check_suite"`
		} `json:"check_run"`
		CheckSuite struct {
			ID      int64      `json:"id"`
			HeadSHA string     `json:"head_sha"`
			App     payloadApp `json:"app"`
		} `json:"check_suite"`
		RequestedAction struct {
			Identifier string `json:"identifier"`
		} `json:"requested_action"`
	}
	payloadApp struct {
		ID int64 `json:"id"`
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
	if e.Commands = Commands(p.Comment.Body, CommandOptions{Prefix: d.Prefix, RequirePrefix: d.RequirePrefix}); len(e.Commands) == 0 {
		return e, notHandled("the comment holds no command")
	}
	return e, nil
}

// decodeCheck reads a click at a check run or a suite, or that another App's ended. What else happens to checks is our own doing.
func decodeCheck(event string, app int64, body []byte) (jobs.Event, error) {
	var p payloadCheck
	if err := json.Unmarshal(body, &p); err != nil {
		return jobs.Event{}, err
	}
	owner, click := p.CheckRun.App.ID, jobs.CheckClick{
		ID: p.CheckRun.ID, Name: jobs.Cut(p.CheckRun.Name, 200), ExternalID: jobs.Cut(p.CheckRun.ExternalID, 200),
		Suite: p.CheckRun.CheckSuite.ID, SHA: p.CheckRun.HeadSHA, Button: jobs.Cut(p.RequestedAction.Identifier, 40),
	}
	kind := jobs.EventRerun
	if event == "check_suite" {
		owner = p.CheckSuite.App.ID
	}
	switch {
	case p.Action == "completed" && app != 0 && owner != app:
		return decodeChecked(event, p)
	case event == "check_suite" && p.Action == "rerequested":
		click = jobs.CheckClick{Suite: p.CheckSuite.ID, SHA: p.CheckSuite.HeadSHA}
	case event == "check_suite" && p.Action == "requested":
		return p.event(kind), notHandled("GitHub made a check suite; the push's own event decides")
	case event == "check_run" && p.Action == "requested_action":
		kind = jobs.EventButton
	case event == "check_run" && p.Action == "rerequested":
	default:
		return p.event(kind), notHandled("a %s was %.40s, which asks for nothing", event, p.Action)
	}
	e := p.event(kind)
	e.Action, e.Check = p.Action, &click
	if app != 0 && owner != 0 && owner != app {
		return e, notHandled("the check belongs to another App")
	}
	return e, nil
}

func notHandled(format string, args ...any) error {
	return &jobs.NotHandled{Reason: fmt.Sprintf(format, args...)}
}

// checkAsk refuses a wish that lacks what every later step relies on.
func checkAsk(e jobs.Event, need func(ok bool, what string)) {
	if c := e.Comment; c != nil {
		need(c.ID > 0, "comment.id")
		need(c.Author.ID > 0, "comment.user.id")
		need(!c.Created.IsZero(), "comment.created_at")
		need(c.Number > 0 || shaForm.MatchString(c.SHA), "issue.number or comment.commit_id")
	}
	if c := e.Check; c != nil {
		need(c.ID > 0 || c.Suite > 0, "check_run.id or check_suite.id")
		need(shaForm.MatchString(c.SHA), "head_sha")
	}
}
