package web

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

// observedJob is a job that would have run.
func observedJob(name string, kind jobs.KindName, spec string) jobs.PlannedJob {
	return jobs.PlannedJob{Name: name, Kind: kind, Planned: true, Spec: json.RawMessage(spec)}
}

func TestObserved(t *testing.T) {
	w := newWorld()
	now := time.Now().UTC().Truncate(time.Second)
	other := repository
	other.Name = "other"
	n := 0
	add := func(ago time.Duration, repo jobs.Repository, edit func(*jobs.Decision)) {
		n++
		d := jobs.Decision{Delivery: guid(n), Time: now.Add(-ago), Outcome: jobs.OutcomeObserve, Run: push(repo, n, "main", "m", mona)}
		d.Plan.Jobs = []jobs.PlannedJob{
			observedJob("image", jobs.KindBuild, `{"image":"r.example.com/acme/shop"}`),
			{Name: "release", Kind: jobs.KindDeploy, Planned: true, Template: json.RawMessage(`{"environments":["staging","production"]}`)},
			{Name: "docs", Kind: jobs.KindBuild, Spec: json.RawMessage(`{"image":"r.example.com/never"}`)},
		}
		edit(&d)
		w.add(t, "push", d, nil)
	}
	plain := func(*jobs.Decision) {}
	add(8*24*time.Hour, repository, plain) // too long ago
	add(7*time.Hour, repository, plain)
	add(6*time.Hour, other, func(d *jobs.Decision) { d.Plan.Jobs = d.Plan.Jobs[:1] })
	add(5*time.Hour, repository, func(d *jobs.Decision) { d.Run.Trust.Level = jobs.Untrusted })
	add(4*time.Hour, repository, func(d *jobs.Decision) { d.Plan = jobs.Plan{Faults: []jobs.Fault{{Message: "no YAML"}}} })
	add(3*time.Hour, repository, func(d *jobs.Decision) { d.Outcome = jobs.OutcomeNothing })
	add(2*time.Hour, repository, func(d *jobs.Decision) { d.Outcome = "" }) // not decided yet
	add(time.Hour, repository, func(d *jobs.Decision) { d.Plan.Jobs = d.Plan.Jobs[1:] })
	h := w.server(t).Pages()

	shop := ObservedRepository{
		Repository: repository.FullName(), Runs: 2, Held: 1, Faults: 1, Jobs: map[string]int{"image": 1, "release": 2},
		Images: []string{"r.example.com/acme/shop"}, Environments: []string{"production", "staging"},
	}
	got := decode[Observed](t, h, "/api/v1/observed")
	second := ObservedRepository{Repository: other.FullName(), Runs: 1, Jobs: map[string]int{"image": 1}, Images: []string{"r.example.com/acme/shop"}, Environments: []string{}}
	if !reflect.DeepEqual(got.Repositories, []ObservedRepository{second, shop}) && !reflect.DeepEqual(got.Repositories, []ObservedRepository{shop, second}) {
		t.Errorf("got %+v", got.Repositories)
	}
	if got.Deliveries != 7 || got.Cut || !got.Oldest.Equal(now.Add(-7*time.Hour)) {
		t.Errorf("%d deliveries, back to %s, cut %v", got.Deliveries, got.Oldest, got.Cut)
	}
	got = decode[Observed](t, h, "/api/v1/observed?repository="+other.FullName()+"&since="+url.QueryEscape(now.Add(-6*time.Hour).Format(time.RFC3339)))
	if len(got.Repositories) != 1 || got.Repositories[0].Repository != other.FullName() || got.Deliveries != 6 {
		t.Errorf("of one repository: %+v", got)
	}
	for _, bad := range []string{"?since=yesterday", "?repository=" + fmt.Sprintf("%0200d", 1)} {
		if w := ask(t, h, "/api/v1/observed"+bad); w.Code != 400 {
			t.Errorf("%s: %d", bad, w.Code)
		}
	}
}

// A report looks at a bounded number of deliveries and names, and says when that cut something off.
func TestObservedIsBounded(t *testing.T) {
	w := newWorld()
	for i := range maxObservedNames + 5 {
		d := jobs.Decision{Delivery: guid(i), Time: time.Now(), Outcome: jobs.OutcomeObserve, Run: push(repository, i, "main", "m", mona)}
		d.Plan.Jobs = []jobs.PlannedJob{observedJob(fmt.Sprintf("job%d", i), jobs.KindBuild, fmt.Sprintf(`{"image":"r/%d"}`, i))}
		w.add(t, "push", d, nil)
	}
	h := w.server(t).Pages()
	got := decode[Observed](t, h, "/api/v1/observed")
	if len(got.Repositories) != 1 || !got.Repositories[0].Cut || len(got.Repositories[0].Jobs) != maxObservedNames || len(got.Repositories[0].Images) != maxObservedNames || got.Cut {
		t.Errorf("got %+v", got)
	}
	for range maxObserved { // without decisions
		w.deliveries.list = append(w.deliveries.list, jobs.Delivery{GUID: "0a0a0a0a-undecided", Received: time.Now()})
	}
	if got = decode[Observed](t, h, "/api/v1/observed"); !got.Cut || got.Deliveries != maxObserved || len(got.Repositories) != 0 {
		t.Errorf("%d deliveries, cut %v, %+v", got.Deliveries, got.Cut, got.Repositories)
	}
}

// slowDeliveries are listed when the test says so.
type slowDeliveries struct {
	*deliveryList
	asked, answer chan struct{}
}

func (s slowDeliveries) Deliveries(ctx context.Context, before string, n int) ([]jobs.Delivery, string, error) {
	s.asked <- struct{}{}
	select {
	case <-s.answer:
	case <-ctx.Done():
		return nil, "", ctx.Err()
	}
	return s.deliveryList.Deliveries(ctx, before, n)
}

// TestOneReportAtATime: it looks up thousands of decisions. The operator's socket is not kept waiting by others.
func TestOneReportAtATime(t *testing.T) {
	w := newWorld()
	slow := slowDeliveries{w.deliveries, make(chan struct{}, 4), make(chan struct{})}
	s := w.server(t, func(o *Options) { o.Deliveries = slow })
	const path = "/api/v1/observed"
	codes := make(chan int, 2)
	begin := func(h http.Handler) {
		go func() { codes <- ask(t, h, path).Code }()
		<-slow.asked
	}
	begin(s.Pages())
	if w := ask(t, s.Pages(), path); w.Code != 503 || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), "one at a time") {
		t.Errorf("a second report: %d %v %s", w.Code, w.Header(), w.Body)
	}
	begin(s.API())
	close(slow.answer)
	for range 2 {
		if code := <-codes; code != 200 {
			t.Errorf("%d", code)
		}
	}
	begin(s.Pages())
	if code := <-codes; code != 200 {
		t.Errorf("after the first: %d", code)
	}
}
