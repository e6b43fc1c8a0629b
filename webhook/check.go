package webhook

import (
	"encoding/json"

	"github.com/slipway-ci/slipway/jobs"
)

// The payloads of checks and check suites.
type (
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

// decodeCheck reads a click at one of our checks or suites, or the end of another App's. All else is not handled.
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

// decodeChecked reads how another App's check, or all of its suite, ended.
func decodeChecked(event string, p payloadCheck) (jobs.Event, error) {
	e := p.event(jobs.EventChecked)
	e.Action = p.Action
	e.Checked = &jobs.Checked{SHA: p.CheckSuite.HeadSHA}
	if event == "check_run" {
		e.Checked = &jobs.Checked{SHA: p.CheckRun.HeadSHA, Name: jobs.Cut(p.CheckRun.Name, 300)}
	}
	return e, nil
}

// checkAsk refuses a comment or click that lacks what every later step relies on.
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
