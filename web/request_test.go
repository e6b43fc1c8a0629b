package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

// inbox takes deliveries as a queue does.
type inbox struct {
	mu   sync.Mutex
	list []jobs.Delivery
	err  error
}

func (b *inbox) Accept(_ context.Context, d jobs.Delivery) (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return false, b.err
	}
	for _, known := range b.list {
		if known.GUID == d.GUID {
			return false, nil
		}
	}
	b.list = append(b.list, d)
	return true, nil
}

func (b *inbox) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = err
}

// office is a world whose API takes requests.
type office struct {
	*world
	t         testing.TB
	inbox     *inbox
	tokens    *set[Token]
	requests  *set[RequestRecord]
	callbacks *outsider
	server    *Server
	pages     http.Handler

	mu  sync.Mutex
	now time.Time
}

func newOffice(t testing.TB, change ...func(*Options)) *office {
	o := &office{
		world: newWorld(), t: t, inbox: &inbox{}, tokens: newSet[Token](), requests: newSet[RequestRecord](), callbacks: &outsider{},
		now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC),
	}
	o.server = o.world.server(t, append([]func(*Options){func(options *Options) {
		options.Now = o.clock
		options.Submissions = &Submissions{Tokens: o.tokens, Requests: o.requests, Accept: o.inbox, Match: globs, Callbacks: o.callbacks,
			URL: func(run string) string { return "https://slipway.example.com/runs/" + run }}
	}}, change...)...)
	o.server.pace = pace{sweep: 20 * time.Millisecond, beat: time.Second, settle: 5 * time.Millisecond, write: time.Second, answer: 5 * time.Second}
	o.pages = o.server.Pages()
	return o
}

// globs is enough of GitHub's dialect here: the last pattern that fits decides.
func globs(patterns []string, name string) (bool, string) {
	for i := len(patterns) - 1; i >= 0; i-- {
		rest, no := strings.CutPrefix(patterns[i], "!")
		if ok, err := path.Match(rest, name); ok && err == nil {
			return !no, patterns[i]
		}
	}
	return false, ""
}

func (o *office) clock() time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.now
}

func (o *office) later(d time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.now = o.now.Add(d)
}

func (o *office) token(kinds ...string) NewToken {
	o.t.Helper()
	return o.create(TokenRequest{Kinds: kinds, Expires: o.clock().Add(time.Hour)})
}

func (o *office) create(r TokenRequest) NewToken {
	o.t.Helper()
	r.Name, r.Repositories, r.By = "nightly", []string{"Acme/*", "!acme/secret"}, "root"
	made, err := Tokens{Records: o.tokens, Match: globs, Now: o.clock}.Create(o.t.Context(), r)
	if err != nil {
		o.t.Fatal(err)
	}
	return made
}

// post sends a request to the API, and compares the exchange with the API's description.
func (o *office) post(token, body string, edit ...func(*http.Request)) *httptest.ResponseRecorder {
	o.t.Helper()
	r := httptest.NewRequest(http.MethodPost, "/api/v1/runs", strings.NewReader(body))
	r.Host, r.RemoteAddr = "localhost:8081", "127.0.0.1:50000"
	r.Header.Set("Content-Type", "application/json")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for _, e := range edit {
		e(r)
	}
	w := httptest.NewRecorder()
	o.pages.ServeHTTP(w, r)
	conforms(o.t, r, []byte(body), w)
	return w
}

func (o *office) get(token, path string, edit ...func(*http.Request)) *httptest.ResponseRecorder {
	o.t.Helper()
	return ask(o.t, o.pages, path, append(edit, func(r *http.Request) {
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
	})...)
}

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

func read[T any](tb testing.TB, w *httptest.ResponseRecorder, code int) (v T) {
	tb.Helper()
	if w.Code != code {
		tb.Fatalf("status %d, want %d: %s", w.Code, code, w.Body)
	}
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
		tb.Fatal(err)
	}
	return v
}

// decided stores what the leader decided about a request; run is nil when there is none.
func (o *office) decided(id string, outcome jobs.Outcome, reason string) jobs.Run {
	o.t.Helper()
	record, _, err := o.requests.Get(o.t.Context(), id)
	if err != nil {
		o.t.Fatal(err)
	}
	d := jobs.Decision{Delivery: record.GUID, Time: o.clock(), Outcome: outcome, Reason: reason}
	d.Run.Repository = jobs.Repository{ID: 5, Owner: "acme", Name: "shop"}
	if outcome == jobs.OutcomeRun {
		d.Plan.Jobs = []jobs.PlannedJob{{Name: "image", Kind: jobs.KindBuild, Planned: true}}
	}
	return o.add(o.t, jobs.RequestDelivery, d, nil)
}

// finish ends a run.
func (o *office) finish(run jobs.Run) {
	o.t.Helper()
	run.State, run.Finished = jobs.RunSucceeded, o.clock()
	_, revision, err := o.runs.Get(o.t.Context(), run.ID)
	if err == nil {
		_, err = o.runs.Update(o.t.Context(), run.ID, run, revision)
	}
	if err != nil {
		o.t.Fatal(err)
	}
}

const hello = `{"repository": "acme/shop", "dispatch": {"workflow": "hello.yaml", "inputs": {"name": "Slipway", "loud": true, "times": 1.50}}}`

func TestARequestIsStoredBeforeItIsAnswered(t *testing.T) {
	o := newOffice(t)
	token := o.token(MayDispatch)
	w := o.post(token.Token, hello, header("Idempotency-Key", "one"))
	accepted := read[RunAccepted](t, w, 202)
	if w.Header().Get("Location") != "/api/v1/runs/"+accepted.ID || accepted.URL != "https://slipway.example.com/runs/"+accepted.ID || w.Header().Get("Idempotent-Replayed") != "" {
		t.Errorf("%+v %v", accepted, w.Header())
	}
	if len(o.inbox.list) != 1 {
		t.Fatalf("%d deliveries", len(o.inbox.list))
	}
	d := o.inbox.list[0]
	var body jobs.RequestBody
	if err := json.Unmarshal(d.Body, &body); err != nil || d.Event != jobs.RequestDelivery || !jobs.ValidGUID(d.GUID) || jobs.RunID(d.GUID) != accepted.ID {
		t.Errorf("%+v: %v", d, err)
	}
	if got := fmt.Sprint(body.Dispatch.Inputs); body.ID != d.GUID || body.By != "token nightly" || got != "map[loud:true name:Slipway times:1.50]" ||
		body.What != "dispatch hello.yaml loud=true name=Slipway times=1.50" {
		t.Errorf("%+v %s", body, got)
	}
	if strings.Contains(string(d.Body)+fmt.Sprint(o.requests.records), token.Token[20:]) {
		t.Error("the token is stored")
	}

	// The same again, whatever its white space, is the same; another body is not; another key is another run.
	w = o.post(token.Token, " "+strings.ReplaceAll(hello, " ", "\n"), header("Idempotency-Key", "one"))
	if again := read[RunAccepted](t, w, 202); again.ID != accepted.ID || w.Header().Get("Idempotent-Replayed") != "true" || len(o.inbox.list) != 1 {
		t.Errorf("%+v, %d deliveries", again, len(o.inbox.list))
	}
	if w = o.post(token.Token, strings.Replace(hello, "Slipway", "x", 1), header("Idempotency-Key", "one")); w.Code != 409 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if other := read[RunAccepted](t, o.post(token.Token, hello, header("Idempotency-Key", "two")), 202); other.ID == accepted.ID {
		t.Error("another key is the same run")
	}
	if a, b := read[RunAccepted](t, o.post(token.Token, hello), 202), read[RunAccepted](t, o.post(token.Token, hello), 202); a.ID == b.ID {
		t.Error("two requests without a key are one run")
	}
	// Another token's keys are its own.
	if other := read[RunAccepted](t, o.post(o.token(MayDispatch).Token, hello, header("Idempotency-Key", "one")), 202); other.ID == accepted.ID {
		t.Error("two tokens share a key")
	}
}

// TestARequestWhoseDeliveryWasNotStored: the server died, or the queue was full, between the two; the same key mends it.
func TestARequestWhoseDeliveryWasNotStored(t *testing.T) {
	o := newOffice(t)
	token := o.token(MayDispatch).Token
	o.inbox.fail(errors.New("the queue is full"))
	w := o.post(token, hello, header("Idempotency-Key", "one"))
	if w.Code != 503 || w.Header().Get("Retry-After") == "" || strings.Contains(w.Body.String(), "queue is full") {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
	o.inbox.fail(nil)
	if read[RunAccepted](t, o.post(token, hello, header("Idempotency-Key", "one")), 202); len(o.inbox.list) != 1 {
		t.Errorf("%d deliveries", len(o.inbox.list))
	}
}

func TestRequestsThatAreRefused(t *testing.T) {
	o := newOffice(t)
	all := o.token(MayDispatch, MayBuild, MayDeploy, MayCommand).Token
	build := o.token(MayBuild).Token
	for name, c := range map[string]struct {
		token, body string
		edit        func(*http.Request)
		status      int
		says        string
	}{
		"no token":           {"", hello, nil, 401, "slipway token create"},
		"no such token":      {"slp_abcdefgh_" + strings.Repeat("0", 64), hello, nil, 401, "no token that works"},
		"another scheme":     {all, hello, header("Authorization", "Basic "+all), 401, "no token"},
		"another kind":       {build, hello, nil, 403, "The token nightly lacks the kind dispatch; it has build."},
		"another repository": {all, strings.Replace(hello, "acme/shop", "other/shop", 1), nil, 403, "is not for other/shop"},
		"taken away":         {all, strings.Replace(hello, "acme/shop", "ACME/Secret", 1), nil, 403, "is not for ACME/Secret"},
		"no JSON":            {all, "x", nil, 400, "can't be read"},
		"an unknown field":   {all, `{"repository": "acme/shop", "builds": {}}`, nil, 400, "unknown field"},
		"two objects":        {all, hello + "{}", nil, 400, "follows"},
		"two wishes":         {all, `{"repository": "acme/shop", "build": {}, "deploy": {"environment": "x"}}`, nil, 400, "Exactly one"},
		"no wish":            {all, `{"repository": "acme/shop"}`, nil, 400, "Exactly one"},
		"no repository":      {all, `{"build": {}}`, nil, 400, "owner/name"},
		"a bad repository":   {all, `{"repository": "acme/..", "build": {}}`, nil, 400, "owner/name"},
		"a control":          {all, `{"repository": "acme/shop", "ref": "a\nb", "build": {}}`, nil, 400, "ref"},
		"no environment":     {all, `{"repository": "acme/shop", "deploy": {"environment": ""}}`, nil, 400, "deploy.environment is missing"},
		"a nested input":     {all, strings.Replace(hello, "true", "{}", 1), nil, 400, "texts, numbers or booleans"},
		"null":               {all, strings.Replace(hello, "true", "null", 1), nil, 400, "texts, numbers or booleans"},
		"too large":          {all, hello + strings.Repeat(" ", 64<<10), nil, 413, "65536"},
		"a form":             {all, hello, header("Content-Type", "application/x-www-form-urlencoded"), 415, "application/json"},
		"an empty key":       {all, hello, header("Idempotency-Key", ""), 400, "Idempotency-Key"},
		"a long key":         {all, hello, header("Idempotency-Key", strings.Repeat("x", 201)), 400, "Idempotency-Key"},
		"a foreign key":      {all, hello, header("Idempotency-Key", "ä"), 400, "Idempotency-Key"},
		"a callback inside":  {all, strings.TrimSuffix(hello, "}") + `, "callback": {"url": "https://inside.example"}}`, nil, 400, "inside"},
		"from elsewhere":     {all, hello, func(r *http.Request) { r.RemoteAddr = "192.0.2.7:1" }, 403, "this machine only"},
		"a rebound name":     {all, hello, func(r *http.Request) { r.Host = "evil.example" }, 421, "not known"},
	} {
		w := o.post(c.token, c.body, append([]func(*http.Request){}, nonNil(c.edit)...)...)
		if w.Code != c.status || !strings.Contains(read[Problem](t, w, w.Code).Detail, c.says) {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	if len(o.inbox.list) != 0 || len(o.requests.records) != 0 {
		t.Errorf("%d deliveries and %d records of what was refused", len(o.inbox.list), len(o.requests.records))
	}
	many := map[string]string{}
	for i := range 26 {
		many[fmt.Sprint("i", i)] = ""
	}
	text, _ := json.Marshal(map[string]any{"repository": "acme/shop", "command": map[string]any{"name": "greet", "args": many}})
	if w := o.post(all, string(text)); w.Code != 400 || !strings.Contains(w.Body.String(), "25") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	for _, method := range []string{http.MethodPut, http.MethodDelete, http.MethodOptions} {
		if w := ask(t, o.pages, "/api/v1/runs", func(r *http.Request) { r.Method = method }); w.Code != 405 || w.Header().Get("Allow") != "GET, HEAD, POST" {
			t.Errorf("%s: %d %s", method, w.Code, w.Header().Get("Allow"))
		}
	}
	if w := o.post(all, hello, func(r *http.Request) { r.URL.Path = "/runs" }); w.Code != 405 {
		t.Errorf("a page takes a POST: %d", w.Code)
	}
	if w := o.post(all, hello, func(r *http.Request) { r.URL.Path = createOperatorRunPath }); w.Code != 405 {
		t.Errorf("the pages take what is the operator's: %d", w.Code)
	}
}

func nonNil(edit func(*http.Request)) []func(*http.Request) {
	if edit == nil {
		return nil
	}
	return []func(*http.Request){edit}
}

// scopes are what the requests that were stored may start.
func (o *office) scopes() (list []*jobs.Scope) {
	o.t.Helper()
	for _, d := range o.inbox.list {
		var body jobs.RequestBody
		if err := json.Unmarshal(d.Body, &body); err != nil {
			o.t.Fatal(err)
		}
		list = append(list, body.Scope)
	}
	return list
}

// TestARequestCarriesItsTokensScope: planning, which knows what jobs there are, holds them against it.
func TestARequestCarriesItsTokensScope(t *testing.T) {
	o := newOffice(t)
	token := o.create(TokenRequest{Kinds: []string{MayRead, MayCommand, MayDeploy, MayBuild}, Commands: []string{"greet"}, Expires: o.clock().Add(time.Hour)})
	give := func(name string) string {
		return fmt.Sprintf(`{"repository": "acme/shop", "command": {"name": %q}}`, name)
	}
	read[RunAccepted](t, o.post(token.Token, give("greet")), 202)
	if w := o.post(token.Token, give("ship")); w.Code != 403 || !strings.Contains(w.Body.String(), "not for the command ship, but for greet") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	read[RunAccepted](t, o.post(o.token(MayCommand).Token, give("ship")), 202) // whether the operator keeps it is found out by planning
	want := []*jobs.Scope{{Kinds: []jobs.KindName{jobs.KindDeploy, jobs.KindBuild}, Commands: []string{"greet"}}, {}}
	if got := o.scopes(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
}

// TestAsksAreLimited: of each token by itself, whatever becomes of them.
func TestAsksAreLimited(t *testing.T) {
	o := newOffice(t)
	token := o.token(MayDispatch).Token
	for i := range askBurst {
		if w := o.post(token, hello, header("Idempotency-Key", fmt.Sprint(i%2))); w.Code != 202 {
			t.Fatalf("request %d: %d", i, w.Code)
		}
	}
	w := o.post(token, hello)
	if w.Code != 429 || w.Header().Get("Retry-After") != "1" || !strings.Contains(w.Body.String(), "60 runs a minute") {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
	read[RunAccepted](t, o.post(o.token(MayDispatch).Token, hello), 202)
	o.later(askEvery)
	read[RunAccepted](t, o.post(token, hello), 202)
	if w := o.post(token, hello); w.Code != 429 {
		t.Errorf("%d", w.Code)
	}
}

// TestAnOldKeyStartsNothing: a record that its callback renewed outlives the decision, which would then be made anew.
func TestAnOldKeyStartsNothing(t *testing.T) {
	o := newOffice(t)
	token := o.create(TokenRequest{Kinds: []string{MayDispatch}, Expires: o.clock().Add(100 * 24 * time.Hour)}).Token
	one := header("Idempotency-Key", "one")
	first := read[RunAccepted](t, o.post(token, hello, one), 202)
	o.later(keyLife)
	if again := read[RunAccepted](t, o.post(token, hello, one), 202); again.ID != first.ID {
		t.Errorf("%+v, want %+v", again, first)
	}
	o.later(time.Second)
	if w := o.post(token, hello, one); w.Code != 409 || !strings.Contains(w.Body.String(), "too old to be repeated (run "+first.ID+")") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if len(o.inbox.list) != 1 {
		t.Errorf("%d deliveries", len(o.inbox.list))
	}
}

// TestTheOperatorNeedsNoToken: on the admin socket, who asks is the operator, who is not called back.
func TestTheOperatorNeedsNoToken(t *testing.T) {
	o := newOffice(t)
	send := func(body string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodPost, createOperatorRunPath, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		o.server.API().ServeHTTP(w, r)
		return w
	}
	accepted := read[RunAccepted](t, send(`{"repository": "acme/shop", "ref": "main", "build": {"jobs": ["image"]}, "by": "root"}`), 202)
	if record, _, err := o.requests.Get(t.Context(), accepted.ID); err != nil || record.By != "operator root" || record.Token != "" || record.What != "build image on main" {
		t.Errorf("%+v: %v", record, err)
	}
	if scopes := o.scopes(); len(scopes) != 1 || scopes[0] != nil {
		t.Errorf("the operator is bounded by %+v", scopes)
	}
	if w := send(`{"repository": "acme/shop", "build": {}, "by": "root", "callback": {"url": "https://hooks.example.com"}}`); w.Code != 400 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
