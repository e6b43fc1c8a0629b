package githubapp

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-github/v50/github"

	"github.com/slipway-ci/slipway/githubapp/githubtest"
	"github.com/slipway-ci/slipway/jobs"
)

// logged reads the whole delivery log, newest first.
func (w *world) logged() (all []jobs.LoggedAttempt, pages int) {
	w.t.Helper()
	for cursor := ""; pages == 0 || cursor != ""; pages++ {
		page, next, err := w.app.DeliveryLog(true).Page(w.t.Context(), cursor)
		ok(w.t, err)
		all, cursor = append(all, page...), next
	}
	return all, pages
}

func TestDeliveryLog(t *testing.T) {
	w := newWorld(t)
	w.gh.SetWebhook("http://127.0.0.1:1/webhook", "secret") // nobody is there
	for i := range 150 {
		w.repo.SetStatus(w.first, fmt.Sprint("ci ", i), "success", "", w.alice)
	}
	w.commit("main", map[string]string{"a": "1"})
	ok(t, w.WaitIdle(t.Context()))
	sent := w.Deliveries()
	push := sent[slices.IndexFunc(sent, func(d githubtest.Delivery) bool { return d.Event == "push" })]
	w.clock.advance(time.Minute)
	ok(t, w.Redeliver(push.GUID))
	ok(t, w.WaitIdle(t.Context()))

	log, pages := w.logged()
	if len(log) != len(sent)+1 || pages != 2 || w.count("apps/list-webhook-deliveries") != 2 {
		t.Fatalf("%d attempts on %d pages, want %d", len(log), pages, len(sent)+1)
	}
	if log[0].GUID != push.GUID || log[0].ID == push.ID || log[0].Event != "push" || !log[0].At.Equal(push.DeliveredAt.Add(time.Minute)) {
		t.Errorf("the newest is %+v", log[0])
	}
	if last := log[len(log)-1]; last.ID != sent[0].ID || last.Action != sent[0].Action {
		t.Errorf("the oldest is %+v, want %+v", last, sent[0])
	}
	d, err := w.app.DeliveryLog(true).Fetch(t.Context(), log[0])
	ok(t, err)
	if d.GUID != push.GUID || d.Event != "push" || d.TargetID != w.gh.ID || d.HookID == 0 || !d.Received.Equal(log[0].At) || !json.Valid(d.Body) {
		t.Errorf("fetched %+v", d)
	}
	var was, is map[string]any
	ok(t, json.Unmarshal(push.Payload, &was))
	ok(t, json.Unmarshal(d.Body, &is))
	if fmt.Sprint(was) != fmt.Sprint(is) {
		t.Errorf("the payload changed:\n%v\n%v", was, is)
	}
}

func TestDeliveryLogTrouble(t *testing.T) {
	w := newWorld(t)
	w.gh.SetWebhook("http://127.0.0.1:1/webhook", "secret")
	w.commit("main", map[string]string{"a": "1"})
	ok(t, w.WaitIdle(t.Context()))
	log, _ := w.logged()
	var gone *jobs.Gone
	wrong := log[0]
	wrong.ID = 1
	if _, err := w.app.DeliveryLog(true).Fetch(t.Context(), wrong); !errors.As(err, &gone) {
		t.Errorf("no such attempt: %v", err)
	}
	w.Fail(githubtest.Failure{Operation: "apps/get-webhook-delivery", Kind: githubtest.SecondaryLimit, Status: http.StatusTooManyRequests, RetryAfter: time.Minute})
	var later *jobs.Later
	_, err := w.app.DeliveryLog(true).Fetch(t.Context(), log[0])
	if !errors.As(err, &later) || later.After != time.Minute {
		t.Errorf("limited: %v", err)
	}
	if _, _, err := w.app.DeliveryLog(true).Page(t.Context(), ""); !errors.As(err, &later) {
		t.Errorf("still limited: %v", err)
	}
	clean(t, err)
	w.clock.advance(2 * time.Minute)
	w.Fail(githubtest.Failure{Operation: "apps/list-webhook-deliveries", Status: http.StatusBadGateway})
	var down *Unavailable
	_, _, err = w.app.DeliveryLog(true).Page(t.Context(), "")
	if !errors.As(err, &down) {
		t.Errorf("a server error: %v", err)
	}
	clean(t, err)
	if _, err := w.app.DeliveryLog(true).Fetch(t.Context(), log[0]); err != nil {
		t.Errorf("after all: %v", err)
	}
	w.clock.advance(4 * 24 * time.Hour)
	if log, _ := w.logged(); len(log) > 0 {
		t.Errorf("%d attempts are four days old", len(log))
	}
}

// What the log holds is held to what the webhook handler asks of a webhook.
func TestLoggedDeliveriesAreOurs(t *testing.T) {
	app := newWorld(t).app
	const guid = "0d1f0e0a-0000-4000-8000-000000000001"
	attempt := jobs.LoggedAttempt{ID: 1, GUID: guid, Event: "push", At: time.Now()}
	for _, tc := range []struct {
		name    string
		header  map[string]string
		payload string
		want    string
	}{
		{"ours", nil, `{"ref": "refs/heads/main"}`, ""},
		{"lower case", map[string]string{"X-GitHub-Event": "", "x-github-event": "push"}, `{}`, ""},
		{"another App's", map[string]string{"X-GitHub-Hook-Installation-Target-ID": "1"}, `{}`, "not meant for the App"},
		{"a repository's", map[string]string{"X-GitHub-Hook-Installation-Target-Type": "repository"}, `{}`, "not meant for the App"},
		{"no hook", map[string]string{"X-GitHub-Hook-ID": ""}, `{}`, "not meant for the App"},
		{"another event", map[string]string{"X-GitHub-Event": "ping"}, `{}`, "another event"},
		{"another GUID", map[string]string{"X-GitHub-Delivery": guid + "1"}, `{}`, "another GUID"},
		{"no payload", nil, ``, "no longer holds its payload"},
		{"null", nil, `null`, "no longer holds its payload"},
		{"a form", nil, `"payload=%7B%7D"`, "no longer holds its payload"},
		{"too large", nil, `{"a":"` + strings.Repeat("x", jobs.MaxBody) + `"}`, "25 MB"},
	} {
		header := map[string]string{
			"X-GitHub-Delivery": guid, "X-GitHub-Event": "push", "X-GitHub-Hook-ID": "77",
			"X-GitHub-Hook-Installation-Target-ID": "4711", "X-GitHub-Hook-Installation-Target-Type": "integration",
		}
		for name, value := range tc.header {
			if header[name] = value; value == "" {
				delete(header, name)
			}
		}
		raw := json.RawMessage(tc.payload)
		d, err := app.logged(attempt, &github.HookDelivery{Request: &github.HookRequest{Headers: header, RawPayload: &raw}})
		switch {
		case tc.want == "" && (err != nil || strings.Contains(string(d.Body), " ")):
			t.Errorf("%s: %v, %s", tc.name, err, d.Body)
		case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
	}
	if _, err := app.logged(attempt, &github.HookDelivery{}); err == nil {
		t.Error("an empty answer is taken")
	}
}

func TestIntake(t *testing.T) {
	for _, tc := range []struct {
		config Config
		polls  bool
		every  time.Duration
		fault  string
	}{
		{Config{}, false, 5 * time.Minute, "webhook_secret_files"},
		{Config{Intake: "webhook"}, false, 5 * time.Minute, "webhook_secret_files"},
		{Config{Intake: "poll"}, true, 10 * time.Second, ""},
		{Config{Intake: "poll", RecoverEvery: time.Minute}, true, time.Minute, ""},
		{Config{Intake: "poll", RecoverEvery: time.Second}, true, time.Second, "recover_every"},
		{Config{Intake: "poll", RecoverEvery: -time.Second}, true, -time.Second, "recover_every"},
		{Config{Intake: "poll", RecoverEvery: 2 * time.Hour}, true, 2 * time.Hour, "recover_every"},
		{Config{Intake: "carrier pigeon"}, false, 5 * time.Minute, "github.intake"},
	} {
		tc.config.AppID, tc.config.PrivateKeyFile = 1, "app.pem"
		err := tc.config.Validate()
		if tc.config.Polls() != tc.polls || tc.config.Every() != tc.every || (err == nil) != (tc.fault == "") || err != nil && !strings.Contains(err.Error(), tc.fault) {
			t.Errorf("%+v: polls %t every %s, %v", tc.config, tc.config.Polls(), tc.config.Every(), err)
		}
	}
}
