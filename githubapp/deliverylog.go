package githubapp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"

	"github.com/google/go-github/v50/github"

	"github.com/slipway-ci/slipway/jobs"
)

// A DeliveryLog reads the App's own log of webhook deliveries, in which GitHub keeps every attempt of the last three days with
// its payload ("REST API endpoints for GitHub App webhooks"). Reading it needs no way in from GitHub.
type DeliveryLog struct {
	app      *App
	priority priority
}

var _ jobs.DeliveryLog = DeliveryLog{}

// DeliveryLog returns the App's delivery log. intake says that it is how all deliveries come; otherwise whatever else is to be
// said goes first.
func (a *App) DeliveryLog(intake bool) DeliveryLog {
	if intake {
		return DeliveryLog{a, priorityNew}
	}
	return DeliveryLog{a, priorityAside}
}

// Page returns a page of the log, of at most 100 attempts, newest first: the first for the cursor "", then the one that the page
// before named as next, which is "" on the last.
//
// GitHub's filter by status is not used: "failure" means 400 to 599, and leaves out what never reached us.
func (l DeliveryLog) Page(ctx context.Context, cursor string) (page []jobs.LoggedAttempt, next string, err error) {
	const attempt = "list the App's webhook deliveries"
	list, resp, err := l.app.asApp.Apps.ListHookDeliveries(asking(ctx, l.priority, "apps/list-webhook-deliveries"),
		&github.ListCursorOptions{PerPage: perPage, Cursor: cursor})
	if err != nil {
		return nil, "", explain(ctx, attempt, err)
	}
	for _, d := range list {
		page = append(page, jobs.LoggedAttempt{
			ID: d.GetID(), GUID: d.GetGUID(), Event: d.GetEvent(), Action: d.GetAction(), At: d.GetDeliveredAt().Time,
		})
	}
	if resp.Cursor != "" && resp.Cursor == cursor {
		return nil, "", fmt.Errorf("%s: GitHub's answer names the page itself as the next", attempt)
	}
	return page, resp.Cursor, nil
}

var eventForm = regexp.MustCompile(`^[a-z0-9_]{1,64}$`)

// Fetch returns the delivery that an attempt carried, received when the attempt was made. It is held to what a webhook is held to
// by the webhook handler, but for the signature: it comes from GitHub's API itself. One that can't be had, or is not meant for this App, is
// answered with a *jobs.Gone: asking again is no use.
func (l DeliveryLog) Fetch(ctx context.Context, logged jobs.LoggedAttempt) (jobs.Delivery, error) {
	attempt := fmt.Sprintf("fetch delivery %s", logged.GUID)
	got, _, err := l.app.asApp.Apps.GetHookDelivery(asking(ctx, l.priority, "apps/get-webhook-delivery"), logged.ID)
	if err != nil {
		err = explain(ctx, attempt, err)
		if status(err) == http.StatusNotFound {
			return jobs.Delivery{}, &jobs.Gone{Reason: "GitHub's log no longer holds it"}
		}
		return jobs.Delivery{}, err
	}
	d, err := l.app.logged(logged, got)
	if err != nil {
		return jobs.Delivery{}, &jobs.Gone{Reason: err.Error()}
	}
	return d, nil
}

// logged takes a delivery out of GitHub's log, or says why it is not one for us.
func (a *App) logged(attempt jobs.LoggedAttempt, got *github.HookDelivery) (jobs.Delivery, error) {
	header := http.Header{}
	for name, value := range got.GetRequest().GetHeaders() {
		header.Set(name, value)
	}
	d := jobs.Delivery{GUID: header.Get("X-GitHub-Delivery"), Event: header.Get("X-GitHub-Event"), Received: attempt.At.UTC()}
	d.HookID, _ = strconv.ParseInt(header.Get("X-GitHub-Hook-ID"), 10, 64)
	d.TargetID, _ = strconv.ParseInt(header.Get("X-GitHub-Hook-Installation-Target-ID"), 10, 64)
	switch {
	case d.GUID != attempt.GUID || !jobs.ValidGUID(d.GUID):
		return d, errors.New("its headers name another GUID than the log")
	case d.Event != attempt.Event || !eventForm.MatchString(d.Event):
		return d, errors.New("its headers name another event than the log")
	case header.Get("X-GitHub-Hook-Installation-Target-Type") != "integration" || d.TargetID != a.id || d.HookID <= 0:
		return d, errors.New("it was not meant for the App this server is")
	}
	var raw json.RawMessage
	if payload := got.GetRequest().RawPayload; payload != nil {
		raw = *payload
	}
	var body bytes.Buffer
	if err := json.Compact(&body, raw); err != nil || !bytes.HasPrefix(body.Bytes(), []byte("{")) {
		return d, errors.New("GitHub's log no longer holds its payload")
	}
	if body.Len() > jobs.MaxBody {
		return d, errors.New("its payload is above GitHub's own limit of 25 MB")
	}
	d.Body = body.Bytes()
	return d, nil
}
