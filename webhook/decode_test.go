package webhook_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/slipway-ci/slipway/jobs"
	"github.com/slipway-ci/slipway/webhook"
)

const (
	shaA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	shaB = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	zero = "0000000000000000000000000000000000000000"

	appID = 42

	common = `"repository": {"id": 5, "name": "shop", "owner": {"name": "acme", "login": "acme"}, "default_branch": "main"},
		"sender": {"id": 9, "login": "alice", "type": "User"}, "installation": {"id": 3}`
)

func push(fields string) jobs.Delivery {
	return jobs.Delivery{GUID: guid, Event: "push", Body: []byte("{" + common + ", " + fields + "}")}
}

// decode decodes a delivery of GitHub with some fields; reason says why it is not handled.
func decode(t *testing.T, event, fields string) (e jobs.Event, reason string) {
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

func TestDecodePush(t *testing.T) {
	e, err := new(webhook.Decoder).Decode(push(`"ref": "refs/heads/main", "before": "` + shaA + `", "after": "` + shaB + `",
		"head_commit": {"id": "` + shaB + `", "message": "fix"},
		"commits": [{"added": ["b"], "modified": ["a"]}, {"removed": ["c"], "modified": ["a"]}]`))
	if err != nil {
		t.Fatal(err)
	}
	want := jobs.Event{
		Kind: jobs.EventPush, Delivery: guid, Installation: 3,
		Repository: jobs.Repository{ID: 5, Owner: "acme", Name: "shop", DefaultBranch: "main"},
		Sender:     jobs.Actor{ID: 9, Login: "alice", Type: "User"},
		Ref:        "refs/heads/main", Before: shaA, After: shaB, Message: "fix",
		Changes: jobs.Changes{Known: true, Files: []string{"a", "b", "c"}},
	}
	if !reflect.DeepEqual(e, want) {
		t.Errorf("got  %+v\nwant %+v", e, want)
	}
}

// The marks that hold a push back may stand anywhere in the message, and a trailer stands last.
func TestDecodeKeepsAWholeMessage(t *testing.T) {
	const end = `\n\n\nskip-checks: true` // as JSON writes it
	head := func(length int) string {
		return `{"id": "` + shaB + `", "message": "` + strings.Repeat("x", length) + end + `"}`
	}
	group := `"action": "checks_requested", "merge_group": {"head_ref": "refs/heads/gh-readonly-queue/main/pr-7", "head_sha": "` + shaB + `",
		"base_ref": "refs/heads/main", "base_sha": "` + shaA + `", "head_commit": `
	for name, body := range map[string]func(string) jobs.Delivery{
		"push": func(commit string) jobs.Delivery {
			return push(`"ref": "refs/heads/main", "before": "` + shaA + `", "after": "` + shaB + `", "head_commit": ` + commit)
		},
		"merge group": func(commit string) jobs.Delivery {
			return jobs.Delivery{GUID: guid, Event: "merge_group", Body: []byte("{" + common + ", " + group + commit + "}}")}
		},
	} {
		e, err := new(webhook.Decoder).Decode(body(head(20_000)))
		if err != nil || !strings.HasSuffix(e.Message, "x\n\n\nskip-checks: true") {
			t.Errorf("%s: %d bytes of the message are left, %v", name, len(e.Message), err)
		}
		if e, err = new(webhook.Decoder).Decode(body(head(jobs.MaxMessage))); err != nil || len(e.Message) > jobs.MaxMessage {
			t.Errorf("%s: %d bytes of the message are left, %v", name, len(e.Message), err)
		}
		if kept := jobs.Describe(e).CommitMessage; len(kept) > 500 {
			t.Errorf("%s: %d bytes of the message would be kept in the run", name, len(kept))
		}
	}
}

func TestDecodePushDoubts(t *testing.T) {
	commit := `"head_commit": {"id": "` + shaA + `"}, "commits": [{"added": ["a"]}]`
	for name, c := range map[string]struct {
		fields  string
		after   string
		unknown bool
	}{
		"created":       {`"ref": "refs/heads/x", "before": "` + zero + `", "after": "` + shaA + `", "commits": []`, shaA, true},
		"deleted":       {`"ref": "refs/heads/x", "before": "` + shaA + `", "after": "` + zero + `"`, "", true},
		"forced":        {`"ref": "refs/heads/x", "before": "` + shaB + `", "after": "` + shaA + `", "forced": true, ` + commit, shaA, true},
		"empty commits": {`"ref": "refs/heads/x", "before": "` + shaB + `", "after": "` + shaA + `", "commits": []`, shaA, true},
		"annotated tag": {`"ref": "refs/tags/v1", "before": "` + zero + `", "after": "` + shaB + `", ` + commit, shaA, true},
		"many commits":  {`"ref": "refs/heads/x", "before": "` + shaB + `", "after": "` + shaA + `", "commits": [{"added":["a"]}` + strings.Repeat(`,{}`, 2047) + `]`, shaA, true},
	} {
		e, err := new(webhook.Decoder).Decode(push(c.fields))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if e.After != c.after || e.Changes.Known == c.unknown {
			t.Errorf("%s: after %q, changes %+v", name, e.After, e.Changes)
		}
		if c.unknown && e.Changes.Why == "" {
			t.Errorf("%s: does not say why the changes are unknown", name)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	for name, d := range map[string]jobs.Delivery{
		"not JSON":           {GUID: guid, Event: "push", Body: []byte("{")},
		"an array":           {GUID: guid, Event: "push", Body: []byte("[]")},
		"no ref":             push(`"after": "` + shaA + `"`),
		"a ref out of form":  push(`"ref": "main", "after": "` + shaA + `"`),
		"a short SHA":        push(`"ref": "refs/heads/x", "after": "abc"`),
		"a name with a path": {GUID: guid, Event: "push", Body: []byte(strings.Replace(string(push(`"ref": "refs/heads/x", "after": "`+shaA+`"`).Body), `"shop"`, `"../shop"`, 1))},
	} {
		_, err := new(webhook.Decoder).Decode(d)
		var notHandled *jobs.NotHandled
		if err == nil || errors.As(err, &notHandled) {
			t.Errorf("%s: got %v, want a fault", name, err)
		}
	}
}

func TestDecodePullRequest(t *testing.T) {
	body := func(action, headRepo string) jobs.Delivery {
		return jobs.Delivery{GUID: guid, Event: "pull_request", Body: []byte(`{"action": "` + action + `", ` + common + `,
			"pull_request": {"number": 7, "title": "Faster", "state": "open", "user": {"id": 9, "login": "alice"}, "labels": [{"name": "preview"}],
			"head": {"ref": "feat/x", "sha": "` + shaA + `", "repo": ` + headRepo + `}, "base": {"ref": "main", "sha": "` + shaB + `", "repo": {"id": 5}}}}`)}
	}
	e, err := new(webhook.Decoder).Decode(body("opened", `{"id": 6, "full_name": "eve/shop"}`))
	if err != nil {
		t.Fatal(err)
	}
	want := &jobs.PullRequest{
		Number: 7, Title: "Faster", State: "open", Author: jobs.Actor{ID: 9, Login: "alice"}, HeadRef: "feat/x", HeadSHA: shaA,
		HeadRepo: 6, HeadName: "eve/shop", BaseRef: "main", BaseSHA: shaB, Labels: []string{"preview"},
	}
	if !reflect.DeepEqual(e.PullRequest, want) {
		t.Errorf("got  %+v\nwant %+v", e.PullRequest, want)
	}
	if e, err = new(webhook.Decoder).Decode(body("synchronize", "null")); err != nil || e.PullRequest.HeadRepo != 0 {
		t.Errorf("a deleted fork: %+v, %v", e.PullRequest, err)
	}
	var notHandled *jobs.NotHandled
	if _, err = new(webhook.Decoder).Decode(body("assigned", "null")); !errors.As(err, &notHandled) {
		t.Errorf("assigned: %v, want not handled", err)
	}
	if _, err = new(webhook.Decoder).Decode(jobs.Delivery{Event: "star"}); !errors.As(err, &notHandled) {
		t.Errorf("star: %v, want not handled", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("push", push(`"ref": "refs/heads/main", "after": "`+shaA+`"`).Body)
	f.Add("pull_request", []byte(`{"action": "opened", `+common+`, "pull_request": {"number": 7}}`))
	f.Fuzz(func(t *testing.T, event string, body []byte) {
		e, err := new(webhook.Decoder).Decode(jobs.Delivery{GUID: guid, Event: event, Body: body})
		if err == nil && (e.Repository.ID <= 0 || e.Kind == "") {
			t.Errorf("decoded to %+v", e)
		}
	})
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
