package webhook_test

import (
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

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
