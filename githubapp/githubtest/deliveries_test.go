package githubtest_test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-github/v50/github"

	"github.com/slipway-ci/slipway/githubapp/githubtest"
)

func (w *world) pushes(messages ...string) {
	w.t.Helper()
	for _, message := range messages {
		_, err := w.repo.Commit("main", message, map[string]string{"file": message}, w.alice)
		check(w.t, err)
	}
}

// onlyPushes keeps the App from hearing of anything but pushes.
func onlyPushes(d githubtest.Delivery) githubtest.Handling {
	return githubtest.Handling{Drop: d.Event != "push"}
}

// messages are the head commits of the pushes that arrived.
func (w *world) messages() []string {
	w.t.Helper()
	var list []string
	for _, h := range w.waitHooks() {
		list = append(list, field[string](w.t, h.body, "head_commit", "message"))
	}
	w.hooks.forget()
	return list
}

func TestDeliveryLog(t *testing.T) {
	w := newWorld(t)
	ctx, app := t.Context(), w.appClient()
	w.OnDelivery(onlyPushes)
	w.hooks.answer(func(rw http.ResponseWriter, r *http.Request) {
		http.Error(rw, "not now", http.StatusServiceUnavailable)
	})
	w.pushes("lost 1", "lost 2", "lost 3")
	w.idle()
	w.hooks.answer(nil)
	w.pushes("good")
	w.idle()
	w.hooks.forget()

	var all []*github.HookDelivery
	cursor, pages := "", 0
	for {
		list, response, err := app.Apps.ListHookDeliveries(ctx, &github.ListCursorOptions{PerPage: 2, Cursor: cursor})
		check(t, err)
		all = append(all, list...)
		pages++
		if cursor = response.Cursor; cursor == "" {
			break
		}
	}
	var lost []*github.HookDelivery
	for _, d := range all {
		if d.GetEvent() == "push" && d.GetStatusCode() == http.StatusServiceUnavailable {
			lost = append(lost, d)
		}
	}
	if pages < 4 || len(lost) != 3 || all[0].GetID() < all[len(all)-1].GetID() {
		t.Fatalf("%d pages, %d lost: %v", pages, len(lost), all)
	}
	detail, _, err := app.Apps.GetHookDelivery(ctx, lost[1].GetID())
	check(t, err)
	if field[string](t, *detail.Request.RawPayload, "head_commit", "message") != "lost 2" || detail.Request.Headers["X-Github-Delivery"] != lost[1].GetGUID() {
		t.Errorf("the delivery is %v", detail)
	}
	_, _, err = app.Apps.RedeliverHookDelivery(ctx, lost[1].GetID())
	if !errors.As(err, new(*github.AcceptedError)) {
		t.Fatal(err)
	}
	hooks := w.waitHooks()
	if len(hooks) != 1 || hooks[0].header.Get("X-GitHub-Delivery") != lost[1].GetGUID() || hooks[0].header.Get("X-Hub-Signature-256") != githubtest.Sign(secret, hooks[0].body) {
		t.Errorf("the redelivery is %v", hooks)
	}
	list, _, err := app.Apps.ListHookDeliveries(ctx, nil)
	check(t, err)
	if !list[0].GetRedelivery() || list[0].GetGUID() != lost[1].GetGUID() || list[0].GetID() == lost[1].GetID() || list[0].GetStatus() != "OK" {
		t.Errorf("the log begins with %v", list[0])
	}

	failures := 0
	request, err := app.NewRequest(http.MethodGet, "app/hook/deliveries?status=failure&per_page=100", nil)
	check(t, err)
	var failed []*github.HookDelivery
	_, err = app.Do(ctx, request, &failed)
	check(t, err)
	for _, d := range failed {
		if d.GetStatusCode() != http.StatusServiceUnavailable {
			t.Errorf("status=failure lists %v", d)
		}
		failures++
	}
	if failures != 3 { // those that never connected have no status code
		t.Errorf("status=failure lists %d", failures)
	}

	w.clock.advance(3*24*time.Hour + time.Minute)
	app = w.tokenClient(w.jwt(`{"alg":"RS256"}`, map[string]any{"iat": w.clock.Now().Unix(), "exp": w.clock.Now().Unix() + 60, "iss": "4711"}))
	list, _, err = app.Apps.ListHookDeliveries(ctx, nil)
	check(t, err)
	if len(list) != 0 {
		t.Errorf("after three days the log has %v", list)
	}
	_, _, err = app.Apps.GetHookDelivery(ctx, lost[1].GetID())
	refused(t, err, http.StatusNotFound, "Not Found")
}

func TestDropDuplicateHoldReorder(t *testing.T) {
	w := newWorld(t)
	w.OnDelivery(func(d githubtest.Delivery) githubtest.Handling {
		if d.Event != "push" {
			return githubtest.Handling{Drop: true}
		}
		switch field[string](t, d.Payload, "head_commit", "message") {
		case "dropped":
			return githubtest.Handling{Drop: true}
		case "twice":
			return githubtest.Handling{Times: 2}
		case "held 1", "held 2":
			return githubtest.Handling{Hold: true}
		}
		return githubtest.Handling{}
	})
	w.pushes("held 1", "dropped", "twice", "held 2", "plain")
	hooks := w.waitHooks()
	if got := w.messages(); !slices.Equal(got, []string{"twice", "twice", "plain"}) {
		t.Errorf("arrived: %q", got)
	}
	if hooks[0].header.Get("X-GitHub-Delivery") != hooks[1].header.Get("X-GitHub-Delivery") {
		t.Error("the duplicate has another GUID")
	}
	held := w.Held()
	w.Release(held[1].GUID, held[0].GUID)
	if got := w.messages(); !slices.Equal(got, []string{"held 2", "held 1"}) {
		t.Errorf("released: %q", got)
	}
	for _, d := range w.Deliveries() {
		if d.Event == "push" && field[string](t, d.Payload, "head_commit", "message") == "dropped" {
			if d.StatusCode != 0 || d.Status == "OK" {
				t.Errorf("the dropped delivery is logged as %s", d.Status)
			}
			check(t, w.Redeliver(d.GUID))
		}
	}
	if got := w.messages(); !slices.Equal(got, []string{"dropped"}) {
		t.Errorf("redelivered: %q", got)
	}
}

func TestSlowAndDeadReceivers(t *testing.T) {
	w := newWorld(t, func(o *githubtest.Options) { o.WebhookTimeout = 50 * time.Millisecond })
	w.OnDelivery(onlyPushes)
	gone := make(chan struct{})
	w.hooks.answer(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done(): // GitHub has hung up
			close(gone)
		case <-t.Context().Done():
		}
	})
	w.pushes("slow")
	<-gone
	w.idle()
	w.hooks.Close()
	w.pushes("dead")
	w.idle()
	var statuses []string
	for _, d := range w.Deliveries() {
		if d.Event == "push" && d.StatusCode == 0 {
			statuses = append(statuses, d.Status)
		}
	}
	if !slices.Equal(statuses, []string{"timed out", "failed to connect to host"}) {
		t.Errorf("the log says %q", statuses)
	}
}

// An App hears only what it subscribed to, except what concerns its own checks and installation.
func TestSubscriptions(t *testing.T) {
	w := newWorld(t)
	other := newReceiver(t)
	quiet, err := w.CreateApp(githubtest.AppOptions{Slug: "quiet", WebhookURL: other.URL, WebhookSecret: "s", Events: []string{"delete"}, Permissions: map[string]string{"metadata": "read", "contents": "read"}})
	check(t, err)
	quiet.Install("acme")
	w.pushes("one")
	check(t, w.repo.SetRef("refs/heads/x", w.repo.Head("main"), w.alice))
	check(t, w.repo.DeleteRef("refs/heads/x", w.alice))
	w.idle()
	var events []string
	for _, h := range other.all() {
		events = append(events, h.header.Get("X-GitHub-Event"))
	}
	if !slices.Equal(events, []string{"installation", "delete"}) {
		t.Errorf("the quiet App heard %q", events)
	}
}

// Some events GitHub never sends, and its log doesn't know them either.
func TestNeverSent(t *testing.T) {
	w := newWorld(t, func(o *githubtest.Options) { o.MaxPayload = 30 << 10 })
	w.pushes("small", strings.Repeat("big ", 8<<10))
	tags := map[string]string{}
	for _, tag := range []string{"a", "b", "c", "d"} {
		tags["refs/tags/"+tag] = w.first
	}
	check(t, w.repo.SetRefs(tags, w.alice))
	w.OnDelivery(func(d githubtest.Delivery) githubtest.Handling { return githubtest.Handling{Unsent: d.Event == "push"} })
	w.pushes("unsent")
	w.idle()
	var pushed []string
	for _, d := range w.Deliveries() {
		if d.Event == "push" || d.Event == "create" {
			pushed = append(pushed, field[string](t, d.Payload, "head_commit", "message"))
		}
	}
	if !slices.Equal(pushed, []string{"small"}) || w.repo.Head("main") == w.first {
		t.Errorf("the log has the pushes %q", pushed)
	}
}

func TestThrottled(t *testing.T) {
	w := newWorld(t)
	w.OnDelivery(func(d githubtest.Delivery) githubtest.Handling {
		return githubtest.Handling{Throttle: d.Event == "push", Drop: d.Event != "push"}
	})
	w.pushes("late")
	w.idle()
	since := w.clock.Now()
	w.clock.advance(2 * time.Minute)
	client := w.tokenClient(w.jwt(`{"alg":"RS256"}`, map[string]any{"iat": w.clock.Now().Unix(), "exp": w.clock.Now().Unix() + 60, "iss": "4711"}))
	w.Release()
	if got := w.messages(); !slices.Equal(got, []string{"late"}) {
		t.Errorf("arrived: %q", got)
	}
	request, err := client.NewRequest(http.MethodGet, "app/hook/deliveries", nil)
	check(t, err)
	var list []struct {
		Event       string
		DeliveredAt time.Time  `json:"delivered_at"`
		ThrottledAt *time.Time `json:"throttled_at"`
	}
	_, err = client.Do(t.Context(), request, &list)
	check(t, err)
	if list[0].Event != "push" || list[0].ThrottledAt == nil || list[0].ThrottledAt.Sub(since).Abs() > time.Second || list[0].DeliveredAt.Sub(*list[0].ThrottledAt) < time.Minute {
		t.Errorf("the log begins with %+v", list[0])
	}
}

// An event is delivered when any attempt of its GUID says OK.
func TestSeveralAttempts(t *testing.T) {
	w := newWorld(t)
	w.OnDelivery(onlyPushes)
	w.hooks.answer(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusBadGateway) })
	w.pushes("unlucky")
	w.idle()
	attempts := func() (statuses []string, redelivered []bool) {
		w.idle()
		for _, d := range w.Deliveries() {
			if d.Event == "push" && field[string](t, d.Payload, "head_commit", "message") == "unlucky" {
				statuses, redelivered = append(statuses, d.Status), append(redelivered, d.Redelivery)
			}
		}
		return statuses, redelivered
	}
	guid := w.hooks.all()[0].header.Get("X-GitHub-Delivery")
	check(t, w.Redeliver(guid))
	w.idle()
	w.hooks.answer(nil)
	check(t, w.Redeliver(guid))
	statuses, redelivered := attempts()
	if !slices.Equal(statuses, []string{"Bad Gateway", "Bad Gateway", "OK"}) || !slices.Equal(redelivered, []bool{false, true, true}) {
		t.Errorf("the attempts are %q, %v", statuses, redelivered)
	}
	for _, h := range w.hooks.all() {
		if h.header.Get("X-GitHub-Delivery") != guid {
			t.Errorf("an attempt has the GUID %s", h.header.Get("X-GitHub-Delivery"))
		}
	}
}
