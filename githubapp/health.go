package githubapp

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-github/v50/github"
)

// Health is the App as GitHub sees it, asked as the App itself, for who looks for what is wrong with a setup.
// Identity, Hook, Installations and Recent are one question each; none of them changes anything.
type Health struct{ app *App }

// Health returns the App's view of itself.
func (a *App) Health() Health { return Health{a} }

// Identity is the App that our key belongs to.
type Identity struct {
	ID          int64
	Slug        string
	Owner       string
	URL         string            // the App's public page
	Permissions map[string]string // that it asks for
	Events      []string          // that it subscribes to

	// Skew is how far this machine's clock is ahead of GitHub's (negative: behind) at the least, when SkewKnown.
	Skew      time.Duration
	SkewKnown bool
}

// Identity asks who we are. The skew of the clock is known whenever GitHub answered at all, also beside an error, as when it
// refused our key.
func (h Health) Identity(ctx context.Context) (id Identity, err error) {
	var said struct {
		ID    int64  `json:"id"`
		Slug  string `json:"slug"`
		URL   string `json:"html_url"`
		Owner struct {
			Login string `json:"login"`
			Slug  string `json:"slug"` // of an enterprise
		} `json:"owner"`
		Permissions map[string]string `json:"permissions"`
		Events      []string          `json:"events"`
	}
	before := h.app.now()
	resp, err := h.ask(ctx, "apps/get-authenticated", "app", &said)
	if resp != nil {
		if theirs, parseErr := http.ParseTime(resp.Header.Get("Date")); parseErr == nil {
			id.Skew, id.SkewKnown = skew(before, h.app.now(), theirs), true
		}
	}
	if err != nil {
		return id, explain(ctx, "ask GitHub who this App is", err)
	}
	id.ID, id.Slug, id.Owner, id.URL, id.Permissions, id.Events = said.ID, said.Slug, said.Owner.Login, said.URL, said.Permissions, said.Events
	if id.Owner == "" {
		id.Owner = said.Owner.Slug
	}
	return id, nil
}

// skew is how far a clock that asked between two moments is ahead at the least of another, which answered with its time cut to whole
// seconds; 0 when both may be right.
func skew(before, after, theirs time.Time) time.Duration {
	if ahead := before.Sub(theirs.Add(time.Second)); ahead > 0 {
		return ahead
	}
	return min(after.Sub(theirs), 0)
}

// A Hook is the App's webhook as GitHub has it. Its secret is not told.
type Hook struct {
	URL         string
	ContentType string // json or form
	InsecureSSL bool   // GitHub does not check our certificate
}

// Hook asks where GitHub sends the App's webhooks.
func (h Health) Hook(ctx context.Context) (Hook, error) {
	var said struct {
		URL         string          `json:"url"`
		ContentType string          `json:"content_type"`
		InsecureSSL json.RawMessage `json:"insecure_ssl"` // "1" or 1
	}
	if _, err := h.ask(ctx, "apps/get-webhook-config-for-app", "app/hook/config", &said); err != nil {
		return Hook{}, explain(ctx, "ask for the App's webhook", err)
	}
	return Hook{said.URL, said.ContentType, strings.Trim(string(said.InsecureSSL), `"`) == "1"}, nil
}

// An Installed is one installation of the App.
type Installed struct {
	ID          int64
	Account     string
	URL         string // its settings, where permissions are accepted
	Suspended   bool
	Selected    bool // on some repositories of the account only
	Permissions map[string]string
	Events      []string
}

// Pending tells what the App asks for by now that this installation has not granted: permissions with their level, sorted.
func (i Installed) Pending(asked map[string]string) []string {
	var list []string
	for name, want := range asked {
		if !covers(i.Permissions[name], want) {
			list = append(list, name+": "+want)
		}
	}
	slices.Sort(list)
	return list
}

const maxInstallationPages = 10 // of 100

// Installations lists where the App is installed; cut is true when there are more than 1,000.
func (h Health) Installations(ctx context.Context) (list []Installed, cut bool, err error) {
	for page := 1; page != 0; {
		if page > maxInstallationPages {
			return list, true, nil
		}
		var said []struct {
			ID      int64  `json:"id"`
			URL     string `json:"html_url"`
			Account struct {
				Login string `json:"login"`
				Slug  string `json:"slug"`
			} `json:"account"`
			Suspended   *time.Time        `json:"suspended_at"`
			Selection   string            `json:"repository_selection"`
			Permissions map[string]string `json:"permissions"`
			Events      []string          `json:"events"`
		}
		resp, err := h.ask(ctx, "apps/list-installations", "app/installations?per_page=100&page="+strconv.Itoa(page), &said)
		if err != nil {
			return list, false, explain(ctx, "list the App's installations", err)
		}
		for _, s := range said {
			account := s.Account.Login
			if account == "" {
				account = s.Account.Slug
			}
			list = append(list, Installed{s.ID, account, s.URL, s.Suspended != nil, s.Selection == "selected", s.Permissions, s.Events})
		}
		page = resp.NextPage
	}
	return list, false, nil
}

// Recent is how the newest deliveries of the App's webhook went.
type Recent struct {
	Events int // looked at; attempts to deliver the same event count once
	Failed int // of them, those of which no attempt succeeded
	// Status is what the newest of the failed ones ended with, such as "failed to connect to host", and Last when.
	Status string
	Last   time.Time
}

// Recent asks how the newest 100 attempts of delivery went.
func (h Health) Recent(ctx context.Context) (Recent, error) {
	var said []struct {
		GUID      string    `json:"guid"`
		Delivered time.Time `json:"delivered_at"`
		Status    string    `json:"status"`
		Code      int       `json:"status_code"`
	}
	if _, err := h.ask(ctx, "apps/list-webhook-deliveries", "app/hook/deliveries?per_page=100", &said); err != nil {
		return Recent{}, explain(ctx, "ask how the last deliveries went", err)
	}
	arrived := map[string]bool{}
	for _, d := range said {
		arrived[d.GUID] = arrived[d.GUID] || d.Code >= 200 && d.Code < 400
	}
	r := Recent{Events: len(arrived)}
	counted := map[string]bool{}
	for _, d := range said { // newest first
		if arrived[d.GUID] || counted[d.GUID] {
			continue
		}
		counted[d.GUID] = true
		if r.Failed++; r.Failed == 1 {
			r.Status, r.Last = d.Status, d.Delivered
		}
	}
	return r, nil
}

// ask reads one answer, as the App.
func (h Health) ask(ctx context.Context, name, path string, into any) (*github.Response, error) {
	req, err := h.app.asApp.NewRequest(http.MethodGet, path, nil)
	if err != nil {
		return nil, err
	}
	return h.app.asApp.Do(operation(ctx, name), req, into)
}

// String says how the App is called and whose it is.
func (i Identity) String() string { return fmt.Sprintf("%s of %s (%d)", i.Slug, i.Owner, i.ID) }
