package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/jobs"
	"github.com/slipway-ci/slipway/queue"
)

// A shore is GitHub as a Recovery sees it, with a clock that the test moves.
type shore struct {
	*jobs.Recovery
	t   *testing.T
	q   *queue.Queue
	now time.Time

	mu        sync.Mutex
	log       []jobs.LoggedAttempt // oldest first
	pageSize  int
	pages     int              // asked for
	fetched   []string         // GUIDs, in order
	trouble   map[string]error // by GUID; told once
	recovered map[string]int

	installations []jobs.Installation
	repositories  map[int64][]jobs.Repository // by installation
	heads         map[int64][]jobs.Head       // by repository
	looked        int                         // repositories
	headTrouble   map[int64]error             // by repository
	mode          map[int64]jobs.Mode
	through       time.Time
}

func newShore(t *testing.T) *shore {
	s := &shore{
		t: t, q: queue.Memory(), now: noon, pageSize: 100, trouble: map[string]error{}, recovered: map[string]int{},
		installations: []jobs.Installation{{ID: 3, Created: noon.Add(-1000 * time.Hour)}},
		repositories:  map[int64][]jobs.Repository{}, heads: map[int64][]jobs.Head{}, headTrouble: map[int64]error{}, mode: map[int64]jobs.Mode{},
	}
	s.Recovery = &jobs.Recovery{
		DeliveryLog: s, Installations: s, Heads: s, Rules: s, Accept: s.q, Stored: s.q,
		Decisions: queue.Set[jobs.Decision](s.q, queue.Decisions), Refs: queue.Set[jobs.RefRecord](s.q, queue.Refs),
		Meta: queue.Set[jobs.Start](s.q, queue.Meta), Watermarks: queue.Set[jobs.LogWatermark](s.q, queue.Meta),
		Requests: queue.Set[jobs.RecoverRequest](s.q, queue.Meta), Seen: queue.Set[jobs.SeenHeads](s.q, queue.Refs),
		Every: time.Minute, Settle: 10 * time.Minute, Now: func() time.Time { s.mu.Lock(); defer s.mu.Unlock(); return s.now },
		Recovered: func(from string) { s.mu.Lock(); defer s.mu.Unlock(); s.recovered[from]++ },
		HighWater: func(through time.Time) { s.through = through },
		Log:       slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	return s
}

// begin says since when to act.
func (s *shore) begin(since time.Time) {
	s.t.Helper()
	if _, err := s.Meta.Create(s.t.Context(), jobs.StartKey, jobs.Start{Since: since}); err != nil {
		s.t.Fatal(err)
	}
}

// ask notes that the operator asked to recover.
func (s *shore) ask(since time.Time) {
	s.t.Helper()
	request := jobs.RecoverRequest{Since: since, At: s.now}
	_, err := s.Requests.Create(s.t.Context(), jobs.RecoverKey, request)
	if errors.Is(err, jobs.ErrExists) {
		_, err = jobs.Change(s.t.Context(), s.Requests, jobs.RecoverKey, func(known *jobs.RecoverRequest) error { *known = request; return nil })
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// delivered adds an attempt to the log.
func (s *shore) delivered(guid, event, action string, at time.Time) {
	s.log = append(s.log, jobs.LoggedAttempt{ID: int64(len(s.log) + 1), GUID: guid, Event: event, Action: action, At: at})
}

func guidOf(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", n) }

// read reads the log and returns what was fetched by that, in order.
func (s *shore) read() []string {
	s.t.Helper()
	s.fetched, s.pages = nil, 0
	if err := s.ReadLog(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	return s.fetched
}

func (s *shore) want(got []string, want ...string) {
	s.t.Helper()
	if !slices.Equal(got, want) {
		s.t.Errorf("fetched %v, want %v", got, want)
	}
}

func (s *shore) Page(_ context.Context, cursor string) (page []jobs.LoggedAttempt, next string, err error) {
	if err := s.trouble["page"+strconv.Itoa(s.pages)]; err != nil {
		delete(s.trouble, "page"+strconv.Itoa(s.pages))
		return nil, "", err
	}
	s.pages++
	end := len(s.log)
	if cursor != "" {
		end, _ = strconv.Atoi(cursor)
	}
	begin := max(0, end-s.pageSize)
	page = slices.Clone(s.log[begin:end])
	slices.Reverse(page)
	if begin > 0 {
		next = strconv.Itoa(begin)
	}
	return page, next, nil
}

func (s *shore) Fetch(_ context.Context, a jobs.LoggedAttempt) (jobs.Delivery, error) {
	if err := s.trouble[a.GUID]; err != nil {
		delete(s.trouble, a.GUID)
		return jobs.Delivery{}, err
	}
	s.fetched = append(s.fetched, a.GUID)
	return jobs.Delivery{GUID: a.GUID, Event: a.Event, Received: a.At, Body: []byte(`{}`)}, nil
}

func TestReadLogFetchesWhatMatters(t *testing.T) {
	s := newShore(t)
	s.begin(noon.Add(-time.Hour))
	at := func(minute int) time.Time { return noon.Add(time.Duration(minute-60) * time.Minute) }
	s.delivered(guidOf(1), "push", "", at(-1)) // before begin
	s.delivered(guidOf(2), "push", "", at(1))
	s.delivered(guidOf(3), "check_run", "created", at(2)) // our own echo
	s.delivered(guidOf(4), "issue_comment", "edited", at(3))
	s.delivered(guidOf(5), "issue_comment", "created", at(4))
	s.delivered(guidOf(6), "star", "created", at(5))
	s.delivered(guidOf(7), "pull_request", "synchronize", at(6))
	s.delivered(guidOf(8), "push", "", at(7)) // stored
	s.delivered(guidOf(9), "push", "", at(8)) // decided, and its payload gone
	s.delivered(guidOf(2), "push", "", at(9)) // again
	s.delivered(guidOf(10), "check_run", "requested_action", at(10))
	s.delivered("../etc", "push", "", at(11))
	if _, err := s.q.Accept(t.Context(), jobs.Delivery{GUID: guidOf(8), Event: "push", Body: []byte(`{"first":1}`)}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Decisions.Create(t.Context(), guidOf(9), jobs.Decision{Delivery: guidOf(9)}); err != nil {
		t.Fatal(err)
	}
	s.want(s.read(), guidOf(2), guidOf(5), guidOf(7), guidOf(10))
	if d, err := s.q.Delivery(t.Context(), guidOf(2)); err != nil || !d.Received.Equal(at(1)) {
		t.Errorf("a delivery came when it was first tried, at %s, not %s, %v", at(1), d.Received, err)
	}
	if d, _ := s.q.Delivery(t.Context(), guidOf(8)); string(d.Body) != `{"first":1}` {
		t.Errorf("a stored delivery was changed: %s", d.Body)
	}
	if s.recovered["log"] != 4 || !s.through.Equal(noon) {
		t.Errorf("told of %v, through %s", s.recovered, s.through)
	}
	s.want(s.read())
}

func TestReadLogStopsAtTheMark(t *testing.T) {
	s := newShore(t)
	s.pageSize = 10
	s.begin(noon.Add(-30 * time.Hour))
	for i := range 200 {
		s.delivered(guidOf(i), "push", "", noon.Add(time.Duration(i-200)*6*time.Minute)) // 20 hours
	}
	if got := s.read(); len(got) != 200 || got[0] != guidOf(0) || s.pages != 20 {
		t.Fatalf("%d fetched, from %s on, %d pages", len(got), got[0], s.pages)
	}
	s.now = noon.Add(time.Hour)
	s.delivered(guidOf(300), "push", "", s.now.Add(-time.Minute))
	s.want(s.read(), guidOf(300))
	if s.pages != 1 {
		t.Errorf("%d pages were asked for", s.pages)
	}
	// What GitHub lists late is found: at once, or when a reading goes further back.
	s.now = s.now.Add(time.Minute)
	s.delivered(guidOf(301), "push", "", s.now.Add(-2*time.Minute))
	s.delivered(guidOf(302), "push", "", s.now.Add(-9*time.Minute))
	s.want(s.read(), guidOf(301))
	s.now = s.now.Add(5 * time.Minute)
	s.delivered(guidOf(303), "push", "", s.now)
	s.want(s.read(), guidOf(302), guidOf(303))
}

func TestReadLogWaitsForBegin(t *testing.T) {
	s := newShore(t)
	s.delivered(guidOf(1), "push", "", noon.Add(-time.Minute))
	s.want(s.read())
	if s.pages != 0 {
		t.Error("GitHub was asked")
	}
	// The first reading goes back to begin, and no reading behind it.
	s.begin(noon.Add(-30 * time.Second))
	s.delivered(guidOf(2), "push", "", noon.Add(-30*time.Second))
	s.want(s.read(), guidOf(2))
	s.want(s.read())
	// Unless the operator asks; then what comes out is older than begin, but once only.
	s.now = noon.Add(time.Second)
	s.ask(noon.Add(-time.Hour))
	s.want(s.read(), guidOf(1))
	s.pages = 0
	s.now = noon.Add(time.Hour)
	s.want(s.read())
}

// A server without webhooks observes from its first start on, also before begin.
func TestReadLogAsIntake(t *testing.T) {
	s := newShore(t)
	s.Intake = true
	s.now = noon.Add(500 * time.Millisecond)
	s.delivered(guidOf(1), "push", "", noon.Add(-time.Second))
	s.want(s.read())
	s.now = noon.Add(time.Second)
	s.delivered(guidOf(2), "push", "", noon) // GitHub knows whole seconds only
	s.want(s.read(), guidOf(2))
}

func TestReadLogGoesBackThreeDaysAndToTheInstallation(t *testing.T) {
	s := newShore(t)
	s.begin(noon.Add(-1000 * time.Hour))
	s.delivered(guidOf(1), "push", "", noon.Add(-73*time.Hour))
	s.delivered(guidOf(2), "push", "", noon.Add(-71*time.Hour))
	s.want(s.read(), guidOf(2))

	s = newShore(t)
	s.installations = []jobs.Installation{{ID: 4, Created: noon.Add(-time.Hour)}, {ID: 3, Created: noon.Add(-2 * time.Hour)}}
	s.begin(noon.Add(-1000 * time.Hour))
	s.delivered(guidOf(1), "push", "", noon.Add(-3*time.Hour))
	s.delivered(guidOf(2), "push", "", noon.Add(-2*time.Hour))
	s.want(s.read(), guidOf(2))
}

func TestReadLogTrouble(t *testing.T) {
	s := newShore(t)
	s.pageSize = 2
	s.begin(noon.Add(-time.Hour))
	for i := range 6 {
		s.delivered(guidOf(i), "push", "", noon.Add(time.Duration(i-30)*time.Minute))
	}
	away := errors.New("GitHub is away")
	s.trouble = map[string]error{
		"page0": &jobs.Later{After: time.Millisecond, Reason: "the limit"}, guidOf(1): &jobs.Later{After: time.Millisecond, Reason: "the limit"},
		guidOf(2): &jobs.Gone{Reason: "no payload"}, guidOf(4): away,
	}
	if err := s.ReadLog(t.Context()); !errors.Is(err, away) {
		t.Fatal(err)
	}
	// One that can't be had keeps back no other; the watermark stays before it.
	s.want(s.fetched, guidOf(0), guidOf(1), guidOf(3), guidOf(5))
	if !s.through.Before(noon.Add(-26 * time.Minute)) {
		t.Errorf("the watermark moved to %s", s.through)
	}
	// What is left is fetched the next time; by then the one without a payload has one.
	s.want(s.read(), guidOf(2), guidOf(4))
	s.trouble["page1"] = away
	s.now = noon.Add(time.Hour)
	for i := 10; i < 15; i++ {
		s.delivered(guidOf(i), "push", "", s.now.Add(-time.Minute))
	}
	s.fetched, s.pages = nil, 0
	if err := s.ReadLog(t.Context()); !errors.Is(err, away) || len(s.fetched) > 0 {
		t.Fatalf("%v, fetched %v", err, s.fetched)
	}
	s.want(s.read(), guidOf(10), guidOf(11), guidOf(12), guidOf(13), guidOf(14))
}

// More than can be held at once is fetched in turns, oldest first, and a request for older ones is answered once.
func TestReadLogManyAtOnce(t *testing.T) {
	s := newShore(t)
	s.begin(noon)
	const many = 23_000
	for i := range many {
		s.delivered(guidOf(i), "push", "", noon.Add(time.Duration(i-many)*time.Second))
	}
	s.ask(noon.Add(-50 * time.Hour))
	got := s.read()
	if len(got) != many || !slices.IsSorted(got) {
		t.Errorf("%d were fetched, in order %t", len(got), slices.IsSorted(got))
	}
	watermark, _, err := s.Watermarks.Get(t.Context(), jobs.LogWatermarkKey)
	if err != nil || !watermark.Through.Equal(noon) || !watermark.Asked.Equal(noon) {
		t.Errorf("%+v, %v", watermark, err)
	}
	s.want(s.read())
}

// TestRecoveryHearsOfBegin: the operator's word may come from another replica; no reading is waited for.
func TestRecoveryHearsOfBegin(t *testing.T) {
	s := newShore(t)
	s.Every = time.Hour
	s.delivered(guidOf(1), "push", "", noon.Add(-time.Minute))
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Run(ctx)
	}()
	defer func() { stop(); <-done }()
	s.begin(noon.Add(-time.Hour))
	deadline := time.After(2 * time.Minute)
	for {
		if _, err := s.q.Delivery(ctx, guidOf(1)); err == nil {
			return
		}
		select {
		case <-deadline:
			t.Fatal("waited in vain for the delivery")
		case <-time.After(5 * time.Millisecond):
		}
	}
}
