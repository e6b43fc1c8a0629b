package jobs_test

import (
	"strings"
	"testing"

	"github.com/slipway-ci/slipway/jobs"
)

func TestDecideTrust(t *testing.T) {
	base := func(change func(*jobs.Event, *jobs.TrustFacts)) (jobs.Event, jobs.TrustFacts) {
		e := jobs.Event{
			Kind: jobs.EventPullRequest, Repository: jobs.Repository{ID: 5, Owner: "acme", Name: "shop"},
			Sender:      jobs.Actor{ID: 9, Login: "alice", Type: "User"},
			PullRequest: &jobs.PullRequest{Number: 7, HeadRepo: 5, Author: jobs.Actor{ID: 9}},
		}
		facts := jobs.TrustFacts{Permission: "write", PermissionOf: 9}
		if change != nil {
			change(&e, &facts)
		}
		return e, facts
	}
	for _, c := range []struct {
		name   string
		change func(*jobs.Event, *jobs.TrustFacts)
		want   jobs.TrustLevel
		reason string
	}{
		{"a writer", nil, jobs.Trusted, "write permission"},
		{"an admin", func(_ *jobs.Event, f *jobs.TrustFacts) { f.Permission = "admin" }, jobs.Trusted, "admin"},
		{"a reader", func(_ *jobs.Event, f *jobs.TrustFacts) { f.Permission = "read" }, jobs.Untrusted, "no write"},
		{"nobody", func(_ *jobs.Event, f *jobs.TrustFacts) { f.Permission = "none" }, jobs.Untrusted, "no write"},
		{"no answer", func(_ *jobs.Event, f *jobs.TrustFacts) { *f = jobs.TrustFacts{} }, jobs.Untrusted, "another account"},
		{"an answer about another", func(_ *jobs.Event, f *jobs.TrustFacts) { f.PermissionOf = 10 }, jobs.Untrusted, "another account"},
		{"a fork", func(e *jobs.Event, _ *jobs.TrustFacts) { e.PullRequest.HeadRepo = 6 }, jobs.Untrusted, "fork"},
		{"a deleted fork", func(e *jobs.Event, _ *jobs.TrustFacts) { e.PullRequest.HeadRepo = 0 }, jobs.Untrusted, "gone"},
		{"a writer pushing for an author without rights", func(e *jobs.Event, _ *jobs.TrustFacts) { e.PullRequest.Author.ID = 77 }, jobs.Trusted, ""},
		{"a stranger pushing to a writer's pull request", func(e *jobs.Event, f *jobs.TrustFacts) {
			e.Sender.ID, f.PermissionOf, f.Permission = 77, 77, "read"
		}, jobs.Untrusted, "no write"},
		{"an unlisted bot", func(e *jobs.Event, _ *jobs.TrustFacts) { e.Sender.Type, e.Sender.Login = "Bot", "other[bot]" }, jobs.Untrusted, "trust.bots"},
		{"a listed bot", func(e *jobs.Event, _ *jobs.TrustFacts) { e.Sender.Type, e.Sender.Login = "Bot", "dependabot[bot]" }, jobs.Trusted, "trust.bots"},
		{"a listed bot's fork", func(e *jobs.Event, _ *jobs.TrustFacts) {
			e.Sender.Type, e.Sender.Login, e.PullRequest.HeadRepo = "Bot", "dependabot[bot]", 6
		}, jobs.Untrusted, "fork"},
		{"no sender", func(e *jobs.Event, f *jobs.TrustFacts) { e.Sender.ID, f.PermissionOf = 0, 0 }, jobs.Untrusted, "no sender"},
		{"no pull request", func(e *jobs.Event, _ *jobs.TrustFacts) { e.PullRequest = nil }, jobs.Untrusted, "no right"},
		{"a push", func(e *jobs.Event, f *jobs.TrustFacts) { e.Kind, *f = jobs.EventPush, jobs.TrustFacts{} }, jobs.Trusted, "pushed"},
	} {
		e, facts := base(c.change)
		got := jobs.DecideTrust(e, facts, []string{"dependabot[bot]"})
		if got.Level != c.want || !strings.Contains(got.Reason, c.reason) {
			t.Errorf("%s: %s because %s, want %s because …%s…", c.name, got.Level, got.Reason, c.want, c.reason)
		}
	}
}
