package web

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

// outsider is whoever is called back: it answers as told, the last answer over and over.
type outsider struct {
	mu      sync.Mutex
	answers []int // 0: none comes
	calls   []call
}

type call struct {
	header http.Header
	body   []byte
}

func (o *outsider) Check(address string) error {
	if strings.Contains(address, "inside") {
		return &jobs.Refusal{Sentence: "The address leads inside this network."}
	}
	return nil
}

func (o *outsider) Do(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.calls = append(o.calls, call{r.Header, body})
	code := http.StatusNoContent
	if len(o.answers) > 0 {
		code = o.answers[0]
		if len(o.answers) > 1 {
			o.answers = o.answers[1:]
		}
	}
	if err != nil || code == 0 {
		return nil, &url.Error{Op: "Post", URL: "https://hooks.example.com/?secret=1", Err: errors.New("connection refused")}
	}
	w := httptest.NewRecorder()
	w.WriteHeader(code)
	return w.Result(), nil
}

func (o *outsider) answer(codes ...int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.answers = codes
}

func (o *outsider) called() []call {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]call{}, o.calls...)
}

const withCallback = `{"repository": "acme/shop", "build": {}, "callback": {"url": "https://hooks.example.com/?secret=1"}}`

// asked is a request with a callback whose run is over.
func (o *office) asked(token NewToken) (id string) {
	o.t.Helper()
	id = read[RunAccepted](o.t, o.post(token.Token, withCallback), 202).ID
	o.finish(o.decided(id, jobs.OutcomeRun, "1 job"))
	return id
}

func (o *office) callback(id string) CallbackState {
	o.t.Helper()
	w := o.get("", "/api/v1/runs/"+id)
	if strings.Contains(w.Body.String(), "secret") {
		o.t.Errorf("the API tells the callback's address: %s", w.Body)
	}
	return *read[RunStatus](o.t, w, 200).Request.Callback
}

func TestACallback(t *testing.T) {
	o := newOffice(t)
	token := o.token(MayBuild)
	b := o.server.Callbacks()
	id := read[RunAccepted](t, o.post(token.Token, withCallback), 202).ID
	step := func() time.Duration {
		t.Helper()
		again, err := b.Step(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return again
	}
	if again := step(); again != callbackSweep || len(o.callbacks.called()) != 0 {
		t.Errorf("before the decision: again in %s, called %d times", again, len(o.callbacks.called()))
	}
	run := o.decided(id, jobs.OutcomeRun, "1 job")
	if again := step(); again != callbackSweep || len(o.callbacks.called()) != 0 {
		t.Errorf("before the end: again in %s, called %d times", again, len(o.callbacks.called()))
	}
	o.finish(run)
	o.callbacks.answer(0, 500, 302, 204)
	for i, want := range []struct {
		again  time.Duration
		status int
		says   string
	}{{5 * time.Second, 0, "connection refused"}, {10 * time.Second, 500, "500"}, {20 * time.Second, 302, "302"}, {0, 204, ""}} {
		if again := step(); again != want.again {
			t.Errorf("attempt %d: again in %s, want %s", i+1, again, want.again)
		}
		c := o.callback(id)
		if c.Attempts != i+1 || c.Status != want.status || !strings.Contains(c.Error, want.says) || (want.says == "") != (c.Error == "") || c.Host != "hooks.example.com" {
			t.Errorf("attempt %d: %+v", i+1, c)
		}
		if want.again > 0 {
			if again := step(); again != want.again { // too early
				t.Errorf("again in %s, want %s", again, want.again)
			}
		}
		o.later(want.again)
	}
	if c := o.callback(id); c.State != CallbackDelivered || c.Done.IsZero() {
		t.Errorf("%+v", c)
	}
	if step(); len(o.callbacks.called()) != 4 {
		t.Errorf("called %d times", len(o.callbacks.called()))
	}
	doc, err := described()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range o.callbacks.called() {
		stamp := c.header.Get("X-Slipway-Timestamp")
		if c.header.Get("X-Slipway-Delivery") != id || c.header.Get("X-Slipway-Signature-256") != Sign(token.Callback, stamp, c.body) {
			t.Errorf("%v", c.header)
		}
		var body any
		if err := json.Unmarshal(c.body, &body); err != nil {
			t.Fatal(err)
		}
		if err := doc.Components.Schemas["RunStatus"].Value.VisitJSON(body); err != nil {
			t.Errorf("the callback is not as described: %v", err)
		}
		if body.(map[string]any)["conclusion"] != "success" {
			t.Errorf("%s", c.body)
		}
	}
}

const signedByOpenSSL = "sha256=b8569b78799ff9e3cbff0fc2d63a33a2b57f3282abd07c37ae5e8e7d79a5f163"

// TestSign holds the signature to what docs/api.md tells receivers to compute, by an independent calculation:
// printf '1700000000.{}' | openssl dgst -sha256 -hmac secret
func TestSign(t *testing.T) {
	if got := Sign("secret", "1700000000", []byte("{}")); got != signedByOpenSSL {
		t.Errorf("%s", got)
	}
	if Sign("secret", "1700000001", []byte("{}")) == signedByOpenSSL {
		t.Error("the timestamp is not signed")
	}
}

func TestCallbacksThatAreGivenUp(t *testing.T) {
	o := newOffice(t)
	tokens := Tokens{Records: o.tokens, Match: globs, Now: o.clock}
	token := o.token(MayBuild)
	b := o.server.Callbacks()

	gone := o.asked(token)
	o.callbacks.answer(410)
	if again, err := b.Step(t.Context(), gone); err != nil || again != 0 || o.callback(gone).State != CallbackGivenUp {
		t.Errorf("%s %v %+v", again, err, o.callback(gone))
	}

	day := o.asked(token)
	o.callbacks.answer(500)
	attempts := 0
	for began := o.clock(); ; attempts++ {
		again, err := b.Step(t.Context(), day)
		if err != nil || again > callbackLongest || attempts > 100 {
			t.Fatalf("%s %v", again, err)
		}
		if again == 0 {
			if took := o.clock().Sub(began); took < callbackPatience-2*callbackLongest || took > callbackPatience {
				t.Errorf("given up after %s", took)
			}
			break
		}
		o.later(again)
	}
	if c := o.callback(day); c.State != CallbackGivenUp || c.Attempts != attempts+1 || attempts > 40 {
		t.Errorf("%+v after %d attempts", c, attempts)
	}

	// The token expired meanwhile: what it started is told all the same. It was revoked: nothing is.
	o.callbacks.answer(204)
	lasting, revoked := o.token(MayBuild), o.token(MayBuild)
	one, two := o.asked(lasting), o.asked(revoked)
	o.later(2 * time.Hour)
	if _, err := tokens.Revoke(t.Context(), revoked.ID); err != nil {
		t.Fatal(err)
	}
	before := len(o.callbacks.called())
	for _, id := range []string{one, two} {
		if again, err := b.Step(t.Context(), id); err != nil || again != 0 {
			t.Errorf("%s %v", again, err)
		}
	}
	if o.callback(one).State != CallbackDelivered || o.callback(two).State != CallbackGivenUp || len(o.callbacks.called()) != before+1 {
		t.Errorf("%+v\n%+v", o.callback(one), o.callback(two))
	}

	// The server died before it stored the delivery, and nobody asked again.
	o.inbox.fail(errors.New("the queue is full"))
	if w := o.post(o.token(MayBuild).Token, withCallback, header("Idempotency-Key", "orphan")); w.Code != 503 {
		t.Fatal(w.Code)
	}
	orphan := ""
	_ = o.requests.All(t.Context(), func(key string, r RequestRecord, _ uint64) error {
		if r.Callback.State == CallbackOpen {
			orphan = key
		}
		return nil
	})
	if again, err := b.Step(t.Context(), orphan); err != nil || again != callbackSweep {
		t.Errorf("%s %v", again, err)
	}
	o.later(callbackOrphan + time.Second)
	if again, err := b.Step(t.Context(), orphan); err != nil || again != 0 || o.callback(orphan).State != CallbackGivenUp {
		t.Errorf("%s %v", again, err)
	}
}

// TestCallbacksRun: what was open when the leader began and what comes later is told, as soon as the run is over; and told again when
// a leader died before it noted that it had told.
func TestCallbacksRun(t *testing.T) {
	o := newOffice(t)
	token := o.token(MayBuild)
	before := o.asked(token)
	ctx, cancel := context.WithCancel(t.Context())
	run := func() (stop func()) {
		ctx, cancel := context.WithCancel(ctx)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			b := o.server.Callbacks()
			b.first = time.Millisecond
			b.Run(ctx)
		}()
		return func() {
			cancel()
			<-ended
		}
	}
	defer cancel()
	stop := run()
	told := func(id string) func() bool {
		return func() bool { return o.callback(id).State == CallbackDelivered }
	}
	until(t, "what was open", told(before))
	later := read[RunAccepted](t, o.post(token.Token, withCallback), 202).ID
	active := o.decided(later, jobs.OutcomeRun, "1 job")
	until(t, "both to be watched", func() bool { return o.requests.watched() > 0 && o.runs.watched() > 0 })
	o.finish(active)
	until(t, "what came later", told(later))
	stop()

	if n := len(o.callbacks.called()); n != 2 {
		t.Errorf("called %d times", n)
	}
	// As if the first had died right after the call.
	_, err := jobs.Change(t.Context(), o.requests, later, func(r *RequestRecord) error {
		r.Callback.State, r.Callback.Attempts, r.Callback.Next = CallbackOpen, 0, time.Time{}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	stop = run()
	defer stop()
	until(t, "the second leader", told(later))
	if n := len(o.callbacks.called()); n != 3 {
		t.Errorf("called %d times", n)
	}
}

// unreliable is a set whose lists fail for a while, or whose watches tell of nothing.
type unreliable struct {
	jobs.Set[RequestRecord]
	failing atomic.Int64 // lists still to fail
	deaf    bool
}

func (u *unreliable) All(ctx context.Context, each func(string, RequestRecord, uint64) error) error {
	if u.failing.Add(-1) >= 0 {
		return errors.New("the store is away")
	}
	return u.Set.All(ctx, each)
}

func (u *unreliable) Watch(ctx context.Context) (<-chan string, error) {
	changes, err := u.Set.Watch(ctx)
	if err != nil || !u.deaf {
		return changes, err
	}
	nothing := make(chan string)
	context.AfterFunc(ctx, func() { close(nothing) })
	return nothing, nil
}

// calling runs callbacks until the test ends.
func (o *office) calling(relist time.Duration) {
	b := o.server.Callbacks()
	b.first, b.relist = time.Millisecond, relist
	ctx, cancel := context.WithCancel(o.t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b.Run(ctx)
	}()
	o.t.Cleanup(func() {
		cancel()
		<-ended
	})
}

// TestOpenCallbacksAreListedAgain: after the list failed while the watch worked, and now and then, since a watch may miss some.
func TestOpenCallbacksAreListedAgain(t *testing.T) {
	t.Run("after trouble", func(t *testing.T) {
		o := newOffice(t)
		id := o.asked(o.token(MayBuild))
		store := &unreliable{Set: o.requests}
		store.failing.Store(2)
		o.server.o.Submissions.Requests = store
		o.calling(callbackRelist)
		until(t, "the callback", func() bool { return o.callback(id).State == CallbackDelivered })
		until(t, "one watch of the requests", func() bool { return o.requests.watched() == 1 })
	})
	t.Run("now and then", func(t *testing.T) {
		o := newOffice(t)
		o.server.o.Submissions.Requests = &unreliable{Set: o.requests, deaf: true}
		o.calling(10 * time.Millisecond)
		until(t, "the runs to be watched", func() bool { return o.runs.watched() > 0 })
		id := o.asked(o.token(MayBuild))
		until(t, "the callback", func() bool { return o.callback(id).State == CallbackDelivered })
	})
}

// TestAVainCallbackTellsNoAddress: who chooses addresses learns neither what names resolve to nor which of them there are inside.
func TestAVainCallbackTellsNoAddress(t *testing.T) {
	dial := func(err error) error {
		return &url.Error{Op: "Post", URL: "https://db.corp.example/?secret=1", Err: &net.OpError{
			Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(10, 1, 2, 3), Port: 443}, Err: err}}
	}
	inside := plainly(dial(&jobs.Refusal{Sentence: "The address leads inside this network.", Cause: errors.New("10.1.2.3 is inside")}))
	unknown := plainly(dial(&net.DNSError{Err: "no such host", Name: "db.corp.example", Server: "10.1.0.2:53", IsNotFound: true}))
	if inside != unknown || !strings.Contains(inside, "api.callbacks.allow") {
		t.Errorf("a name inside: %s\nno name: %s", inside, unknown)
	}
	for name, c := range map[string]struct {
		err  error
		says string
	}{
		"refused":         {dial(&os.SyscallError{Syscall: "connect", Err: syscall.ECONNREFUSED}), "connection refused"},
		"a proxy refused": {dial(&net.OpError{Op: "proxyconnect", Addr: &net.TCPAddr{IP: net.IPv4(10, 1, 2, 3)}, Err: syscall.ECONNREFUSED}), "connection refused"},
		"late":            {dial(os.ErrDeadlineExceeded), "in time"},
		"by its name":     {&jobs.Refusal{Sentence: "db is a name inside this network."}, "db is a name inside"},
	} {
		if got := plainly(c.err); !strings.Contains(got, c.says) || strings.Contains(got, "10.1.") || strings.Contains(got, "secret") {
			t.Errorf("%s: %s", name, got)
		}
	}
}
