package web

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

func TestATokensLife(t *testing.T) {
	o := newOffice(t)
	tokens := Tokens{Records: o.tokens, Match: globs, Now: o.clock}
	made := o.token(MayBuild)
	text := made.Token
	record, _, err := o.tokens.Get(t.Context(), made.ID)
	if err != nil || !tokenText.MatchString(text) || strings.Contains(string(o.tokens.records[made.ID]), text[len(text)-64:]) || record.Callback != made.Callback {
		t.Fatalf("%+v: %v", record, err)
	}
	if masked := jobs.NewMask(nil)("a " + text + " b " + made.Callback); masked != "a *** b ***" {
		t.Errorf("not masked: %s", masked)
	}
	for name, wrong := range map[string]string{
		"none": "", "another secret": text[:len(text)-1] + flip(text[len(text)-1]), "another ID": strings.Replace(text, made.ID, "abcdefghabcd", 1),
		"cut": text[:len(text)-2], "upper case": strings.ToUpper(text), "a record's key": "slp_../../x_" + strings.Repeat("0", 64), "its hash": "slp_" + made.ID + "_" + record.Hash,
	} {
		if _, err := tokens.Authenticate(t.Context(), wrong); !errors.Is(err, errInvalidToken) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Its use is noted, but not every time.
	used := func() time.Time {
		if _, err := tokens.Authenticate(t.Context(), text); err != nil {
			t.Fatal(err)
		}
		record, _, err := o.tokens.Get(t.Context(), made.ID)
		if err != nil {
			t.Fatal(err)
		}
		return record.Used
	}
	first := used()
	o.later(30 * time.Minute)
	if second := used(); first.IsZero() || !second.Equal(first) {
		t.Errorf("used %v, then %v", first, second)
	}
	o.later(30 * time.Minute) // the end of its hour
	if _, err := tokens.Authenticate(t.Context(), text); !errors.Is(err, errInvalidToken) {
		t.Errorf("expired: %v", err)
	}
	fresh := o.token(MayBuild)
	info, err := tokens.Revoke(t.Context(), fresh.ID)
	if err != nil || info.State(o.clock()) != "revoked" {
		t.Errorf("%+v: %v", info, err)
	}
	if _, err := tokens.Authenticate(t.Context(), fresh.Token); !errors.Is(err, errInvalidToken) {
		t.Errorf("revoked: %v", err)
	}
	if record, _, _ := o.tokens.Get(t.Context(), fresh.ID); record.Callback != "" {
		t.Error("a revoked token's callback secret is still there")
	}
	if _, err := tokens.Revoke(t.Context(), "nobody"); !errors.Is(err, jobs.ErrNotFound) {
		t.Errorf("%v", err)
	}
	// What ended long ago goes when the next one is made.
	o.later(tokensKept + 2*time.Hour)
	o.token(MayBuild)
	if list, err := tokens.List(t.Context()); err != nil || len(list) != 1 {
		t.Errorf("%d tokens: %v", len(list), err)
	}
}

func flip(c byte) string {
	if c == '0' {
		return "1"
	}
	return "0"
}

func TestTokensThatAreNotMade(t *testing.T) {
	o := newOffice(t)
	good := TokenRequest{Name: "nightly", Repositories: []string{"acme/*"}, Kinds: []string{MayBuild}, Expires: o.clock().Add(time.Hour)}
	for name, spoil := range map[string]func(*TokenRequest){
		"no name":         func(r *TokenRequest) { r.Name = "" },
		"a strange name":  func(r *TokenRequest) { r.Name = "a\nb" },
		"no repositories": func(r *TokenRequest) { r.Repositories = nil },
		"not a pattern":   func(r *TokenRequest) { r.Repositories = []string{"acme"} },
		"only takes away": func(r *TokenRequest) { r.Repositories = []string{"!acme/x"} },
		"no kinds":        func(r *TokenRequest) { r.Kinds = nil },
		"unknown kind":    func(r *TokenRequest) { r.Kinds = []string{"admin"} },
		"no end":          func(r *TokenRequest) { r.Expires = time.Time{} },
		"over a year":     func(r *TokenRequest) { r.Expires = o.clock().Add(MaxTokenLife + time.Second) },
		"a short secret":  func(r *TokenRequest) { r.Callback = "short" },
		"no such right":   func(r *TokenRequest) { r.Commands = []string{"greet"} },
		"no command": func(r *TokenRequest) {
			r.Kinds, r.Commands = []string{MayCommand}, []string{"/greet"}
		},
	} {
		r := good
		spoil(&r)
		_, err := Tokens{Records: o.tokens, Match: globs, Now: o.clock}.Create(t.Context(), r)
		if refusal := (*jobs.Refusal)(nil); !errors.As(err, &refusal) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(o.tokens.records) != 0 {
		t.Error("one was stored")
	}
}

// TestFailedAuthenticationIsLimited: by address; behind a proxy here, by what the proxy says, not by what the client says. A token that
// works is let in from everywhere: behind a proxy elsewhere all clients have one address.
func TestFailedAuthenticationIsLimited(t *testing.T) {
	o := newOffice(t)
	good := o.token(MayRead).Token
	bad := "slp_abcdefgh_" + strings.Repeat("0", 64)
	via := func(client string) func(*http.Request) { return header("X-Forwarded-For", client) }
	for i := range failBurst {
		if w := o.get(bad, "/api/v1/runs?repository=acme/shop", via("spoofed, 192.0.2.1")); w.Code != 401 {
			t.Fatalf("attempt %d: %d", i, w.Code)
		}
	}
	for name, c := range map[string]struct {
		token, from string
		want        int
	}{
		"the same":              {bad, "192.0.2.1", 429},
		"the same, malformed":   {"x", "192.0.2.1", 429},
		"the same, a good one":  {good, "x, 192.0.2.1", 200},
		"the same, none":        {"", "192.0.2.1", 401},
		"another":               {good, "192.0.2.1, 192.0.2.2", 200},
		"a wrong one elsewhere": {bad, "2001:db8::1", 401},
	} {
		w := o.get(c.token, "/api/v1/runs?repository=acme/shop", via(c.from))
		if w.Code != c.want || c.want == 429 && w.Header().Get("Retry-After") != "6" {
			t.Errorf("%s: %d, want %d, %v", name, w.Code, c.want, w.Header())
		}
	}
	o.later(failEvery)
	if w := o.get(bad, "/api/v1/runs?repository=acme/shop", via("192.0.2.1")); w.Code != 401 {
		t.Errorf("after a while: %d", w.Code)
	}
}

// lookups counts how often the store is asked for a token.
type lookups struct {
	jobs.Set[Token]
	n atomic.Int64
}

func (l *lookups) Get(ctx context.Context, key string) (Token, uint64, error) {
	l.n.Add(1)
	return l.Set.Get(ctx, key)
}

// TestWhatIsNoTokenReachesNoStore: whatever else somebody sends costs a comparison.
func TestWhatIsNoTokenReachesNoStore(t *testing.T) {
	o := newOffice(t)
	seen := &lookups{Set: o.tokens}
	o.server.o.Submissions.Tokens = seen
	for _, text := range []string{"x", "slp_", "slp_abcdefgh_short", "slp_abc.defgh_" + strings.Repeat("0", 64), "slp_" + strings.Repeat("a", 21) + "_" + strings.Repeat("0", 64)} {
		o.get(text, "/api/v1/runs?repository=acme/shop")
	}
	if n := seen.n.Load(); n != 0 {
		t.Errorf("%d were looked up", n)
	}
	if o.get(o.token(MayRead).Token, "/api/v1/runs?repository=acme/shop"); seen.n.Load() == 0 {
		t.Error("nothing is counted")
	}
}

func TestWhatATokenReads(t *testing.T) {
	o := newOffice(t)
	starter, reader := o.token(MayDispatch), o.token(MayRead)
	id := read[RunAccepted](t, o.post(starter.Token, hello), 202).ID
	run := o.decided(id, jobs.OutcomeRun, "1 job")
	foreign := fillSample(t, o.world, o.clock()) // of other repositories of acme
	for name, c := range map[string]struct {
		token, path string
		want        int
	}{
		"its own run":                     {starter.Token, "/api/v1/runs/" + id, 200},
		"its own log":                     {starter.Token, "/api/v1/runs/" + id + "/jobs/image/log", 200},
		"another's run":                   {starter.Token, "/api/v1/runs/" + foreign.green.ID, 403},
		"another's log":                   {starter.Token, "/api/v1/runs/" + foreign.green.ID + "/jobs/image/log", 403},
		"lists":                           {starter.Token, "/api/v1/runs?repository=acme/shop", 403},
		"the reader's run":                {reader.Token, "/api/v1/runs/" + id, 200},
		"the reader's log":                {reader.Token, "/api/v1/runs/" + foreign.green.ID + "/jobs/image/log", 200},
		"the reader's list":               {reader.Token, "/api/v1/runs?repository=acme/shop", 200},
		"a list of all":                   {reader.Token, "/api/v1/runs", 403},
		"of one that is not its":          {reader.Token, "/api/v1/runs?repository=acme/secret", 403},
		"deliveries":                      {reader.Token, "/api/v1/deliveries?repository=acme/shop", 200},
		"deliveries of all":               {reader.Token, "/api/v1/deliveries", 403},
		"one delivery":                    {reader.Token, "/api/v1/deliveries/" + run.Delivery, 200},
		"one delivery, without the right": {starter.Token, "/api/v1/deliveries/" + run.Delivery, 403},
		"limits":                          {reader.Token, "/api/v1/github", 403},
		"limits, of one repository":       {reader.Token, "/api/v1/github?repository=acme/shop", 403},
		"observed":                        {reader.Token, "/api/v1/observed?repository=acme/shop", 200},
		"a wrong token":                   {"x", "/api/v1/", 200}, // the index tells nothing
		"a wrong token on a run":          {"x", "/api/v1/runs/" + id, 401},
		"no token":                        {"", "/api/v1/runs/" + id, 200},
	} {
		if w := o.get(c.token, c.path); w.Code != c.want {
			t.Errorf("%s: %d, want %d: %s", name, w.Code, c.want, w.Body)
		}
	}
}

// TestReadingFromElsewhereTakesAToken: on every address of the API that tells anything, also for whoever a proxy on this machine lets
// through, and with pages that are open to all. Only this machine itself, and the operator's socket, read without.
func TestReadingFromElsewhereTakesAToken(t *testing.T) {
	o := newOffice(t, func(o *Options) { o.Public = true })
	token := o.token(MayDispatch, MayRead).Token
	id := read[RunAccepted](t, o.post(token, hello), 202).ID
	run := o.decided(id, jobs.OutcomeRun, "1 job")
	o.logs.print(jobs.LogKey{Run: id, Job: "image", Attempt: 1}, true, "hello")
	of := "?repository=acme/shop"
	from := func(address, host string) func(*http.Request) {
		return func(r *http.Request) { r.RemoteAddr, r.Host = address, host }
	}
	const here = "127.0.0.1:50000"
	ways := map[string]struct {
		edit func(*http.Request)
		open bool
	}{
		"this machine":               {from(here, "localhost:8081"), true},
		"this machine, by IPv6":      {from("[::1]:50000", "[::1]:8081"), true},
		"a proxy here":               {header("X-Forwarded-For", "192.0.2.1"), false},
		"a proxy here, by RFC 7239":  {header("Forwarded", "for=192.0.2.1"), false},
		"a proxy here, by RFC 9110":  {header("Via", "1.1 proxy"), false},
		"a proxy here, for the name": {from(here, "slipway.example.com"), false},
		"a proxy here, empty":        {header("X-Forwarded-For", ""), false},
		"another machine":            {from("192.0.2.1:50000", "localhost:8081"), false},
		"another machine's proxy": {func(r *http.Request) {
			from("10.0.0.9:50000", "slipway.example.com")(r)
			header("X-Forwarded-For", "127.0.0.1")(r)
		}, false},
	}
	for name, way := range ways {
		for _, path := range []string{
			"/api/v1/runs", "/api/v1/runs" + of, "/api/v1/runs/" + id, "/api/v1/runs/" + id + "?wait=1ms", "/api/v1/runs/" + id + "/jobs/image/log",
			"/api/v1/deliveries", "/api/v1/deliveries" + of, "/api/v1/deliveries/" + run.Delivery, "/api/v1/github", "/api/v1/observed", "/api/v1/observed" + of,
			"/api/v1/runs/r-nothing", "/api/v1/runs/r-nothing/jobs/image/log", "/api/v1/deliveries/" + guid(1),
		} {
			w := o.get("", path, way.edit)
			switch refused := w.Code == 401 && w.Header().Get("WWW-Authenticate") != ""; {
			case way.open && w.Code != 200 && w.Code != 404, !way.open && !refused:
				t.Errorf("%s, without a token: %s: %d %s", name, path, w.Code, w.Body)
			case !way.open && strings.Contains(w.Body.String(), "hello"):
				t.Errorf("%s: %s tells something: %s", name, path, w.Body)
			}
		}
		for path, want := range map[string]int{
			"/api/v1/runs" + of: 200, "/api/v1/runs/" + id: 200, "/api/v1/runs/" + id + "/jobs/image/log": 200, "/api/v1/deliveries/" + run.Delivery: 200,
		} {
			if w := o.get(token, path, way.edit); w.Code != want {
				t.Errorf("%s, with a token: %s: %d, want %d", name, path, w.Code, want)
			}
		}
		// What tells nothing, and what people see who passed the proxy's own sign-in.
		for _, path := range []string{"/api/v1/", "/api/v1/openapi.json", "/", "/runs/" + id, "/runs/" + id + "/jobs/image/log", "/runs/" + id + "/jobs/image/log.txt", "/deliveries"} {
			if w := o.get("", path, way.edit); w.Code != 200 {
				t.Errorf("%s: %s: %d", name, path, w.Code)
			}
		}
	}
}
