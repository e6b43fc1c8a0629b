package webhook_test

import (
	"strings"
	"testing"

	"github.com/slipway-ci/slipway/jobs"
)

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

func TestDecodeOthersChecks(t *testing.T) {
	check := func(app int, action string) string {
		return `"action": "` + action + `", "check_run": {"id": 3, "name": "test", "head_sha": "` + shaA + `", "app": {"id": ` + map[bool]string{true: "42", false: "15368"}[app == 42] + `}}`
	}
	suite := `"action": "completed", "check_suite": {"id": 4, "head_sha": "` + shaA + `", "app": {"id": 15368}}`
	for name, c := range map[string]struct {
		event, body string
		handled     bool
		named       string
	}{
		"another App's ended":  {"check_run", check(15368, "completed"), true, "test"},
		"our own ended":        {"check_run", check(42, "completed"), false, ""},
		"another App's began":  {"check_run", check(15368, "created"), false, ""},
		"another App's suite":  {"check_suite", suite, true, ""},
		"a status":             {"status", `"sha": "` + shaA + `", "context": "ci/legacy", "state": "success"`, true, "ci/legacy"},
		"a status that begins": {"status", `"sha": "` + shaA + `", "context": "ci/legacy", "state": "pending"`, false, ""},
	} {
		e, reason := decode(t, c.event, c.body)
		if (reason == "") != c.handled || c.handled && (e.Kind != jobs.EventChecked || e.Checked.SHA != shaA || e.Checked.Name != c.named) {
			t.Errorf("%s: %q %+v", name, reason, e.Checked)
		}
	}
}
