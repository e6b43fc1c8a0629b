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

	common = `"repository": {"id": 5, "name": "shop", "owner": {"name": "acme", "login": "acme"}, "default_branch": "main"},
		"sender": {"id": 9, "login": "alice", "type": "User"}, "installation": {"id": 3}`
)

func push(fields string) jobs.Delivery {
	return jobs.Delivery{GUID: guid, Event: "push", Body: []byte("{" + common + ", " + fields + "}")}
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
