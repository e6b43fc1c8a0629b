package webhook_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/jobs"
	"github.com/slipway-ci/slipway/webhook"
)

const appID = 42

func decode(t *testing.T, event, fields string) (jobs.Event, string) {
	t.Helper()
	e, err := new(webhook.Decoder).Decode(jobs.Delivery{GUID: guid, Event: event, TargetID: appID, Body: []byte("{" + common + ", " + fields + "}")})
	var no *jobs.NotHandled
	if err != nil && !errors.As(err, &no) {
		t.Fatalf("%s: %v", event, err)
	}
	if no != nil {
		return e, no.Reason
	}
	return e, ""
}

func TestDecodeComment(t *testing.T) {
	text := func(action, issue, body string) string {
		return `"action": "` + action + `", "issue": {"number": 7` + issue + `}, "comment": {"id": 11, "body": "` + body + `",
			"user": {"id": 9, "login": "alice", "type": "User"}, "created_at": "2026-11-23T12:00:00Z", "html_url": "https://github.com/acme/shop/pull/7#issuecomment-11"}`
	}
	const pull = `, "pull_request": {}`
	e, reason := decode(t, "issue_comment", text("created", pull, `Looks good\n/build api\n/retry`))
	if reason != "" || e.Kind != jobs.EventCommand || len(e.Commands) != 2 || e.Commands[0].Name != "build" || e.Commands[1].Place != 1 {
		t.Errorf("%q %+v", reason, e)
	}
	if c := e.Comment; c.ID != 11 || c.Number != 7 || c.Author.ID != 9 || !c.Created.Equal(time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)) {
		t.Errorf("%+v", c)
	}
	for name, c := range map[string]struct{ fields, want string }{
		"edited":     {text("edited", pull, "/build"), "new comments only"},
		"an issue":   {text("created", "", "/build"), "not on a pull request"},
		"no command": {text("created", pull, "see /etc/passwd"), "no command"},
	} {
		if _, reason := decode(t, "issue_comment", c.fields); !strings.Contains(reason, c.want) {
			t.Errorf("%s: %q", name, reason)
		}
	}
	e, reason = decode(t, "commit_comment", `"action": "created", "comment": {"id": 12, "body": "/status", "commit_id": "`+shaA+`",
		"user": {"id": 9, "login": "alice", "type": "User"}, "created_at": "2026-11-23T12:00:00Z"}`)
	if reason != "" || e.Comment.SHA != shaA || e.Comment.Number != 0 {
		t.Errorf("%q %+v", reason, e.Comment)
	}
}

func TestDecodeClicks(t *testing.T) {
	run := func(action, rest string) string {
		return `"action": "` + action + `", "check_run": {"id": 21, "name": "slipway / image", "head_sha": "` + shaA + `", "external_id": "r-1/slipway / image",
			"app": {"id": 42}, "check_suite": {"id": 31}}` + rest
	}
	e, reason := decode(t, "check_run", run("requested_action", `, "requested_action": {"identifier": "retry"}`))
	if want := (jobs.CheckClick{ID: 21, Name: "slipway / image", ExternalID: "r-1/slipway / image", Suite: 31, SHA: shaA, Button: "retry"}); reason != "" || e.Kind != jobs.EventButton || *e.Check != want {
		t.Errorf("%q %+v", reason, e.Check)
	}
	if e, reason = decode(t, "check_run", run("rerequested", "")); reason != "" || e.Kind != jobs.EventRerun {
		t.Errorf("%q %+v", reason, e)
	}
	e, reason = decode(t, "check_suite", `"action": "rerequested", "check_suite": {"id": 31, "head_sha": "`+shaA+`", "app": {"id": 42}}`)
	if reason != "" || e.Kind != jobs.EventRerun || e.Check.Suite != 31 || e.Check.ID != 0 || e.SHA() != shaA {
		t.Errorf("%q %+v", reason, e.Check)
	}
	// Our own doing, and what belongs to others.
	for _, action := range []string{"created", "completed"} {
		if _, reason := decode(t, "check_run", run(action, "")); !strings.Contains(reason, "asks for nothing") {
			t.Errorf("%s: %q", action, reason)
		}
	}
	if _, reason := decode(t, "check_run", strings.Replace(run("rerequested", ""), `"app": {"id": 42}`, `"app": {"id": 1}`, 1)); !strings.Contains(reason, "another App") {
		t.Errorf("another App's: %q", reason)
	}
	if _, reason := decode(t, "check_suite", `"action": "requested"`); !strings.Contains(reason, "the push's own event decides") {
		t.Errorf("%q", reason)
	}
}

func TestDecodeOtherNews(t *testing.T) {
	e, reason := decode(t, "merge_group", `"action": "checks_requested", "merge_group": {"head_sha": "`+shaA+`", "head_ref": "refs/heads/gh-readonly-queue/main/pr-7-x",
		"base_ref": "refs/heads/main", "base_sha": "`+shaB+`", "head_commit": {"message": "Merge"}}`)
	if reason != "" || e.Kind != jobs.EventMergeGroup || e.SHA() != shaA || e.MergeGroup.BaseRef != "refs/heads/main" {
		t.Errorf("%q %+v", reason, e)
	}
	release := `"release": {"tag_name": "v1.2.3", "name": "One", "prerelease": true, "published_at": "2026-11-23T12:00:00Z"}`
	e, reason = decode(t, "release", `"action": "published", `+release)
	if reason != "" || e.Kind != jobs.EventRelease || e.Tag() != "v1.2.3" || !e.Release.Prerelease {
		t.Errorf("%q %+v", reason, e)
	}
	if _, reason = decode(t, "release", `"action": "created", `+release); reason == "" {
		t.Error("a release that was only created is handled")
	}
	pull := func(action, rest string) string {
		return `"action": "` + action + `"` + rest + `, "pull_request": {"number": 7, "updated_at": "2026-11-23T12:00:00Z",
			"head": {"ref": "x", "sha": "` + shaA + `", "repo": {"id": 5}}, "base": {"ref": "main", "sha": "` + shaB + `"}}`
	}
	if e, reason = decode(t, "pull_request", pull("labeled", `, "label": {"name": "preview"}`)); reason != "" || e.Label != "preview" || e.Time.IsZero() {
		t.Errorf("%q %+v", reason, e)
	}
	if _, reason = decode(t, "pull_request", pull("edited", `, "changes": {"title": {"from": "x"}}`)); reason == "" {
		t.Error("a new title is handled")
	}
	if e, reason = decode(t, "pull_request", pull("edited", `, "changes": {"base": {"ref": {"from": "x"}}}`)); reason != "" || e.Action != "edited" {
		t.Errorf("%q %+v", reason, e)
	}
	for _, event := range []string{"ping", "installation", "create", "deployment", "sub_issues"} {
		if _, reason := decode(t, event, `"action": "x"`); reason == "" {
			t.Errorf("%s is handled", event)
		}
	}
}
