package web

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

// How a callback stands.
const (
	CallbackOpen      = "open"
	CallbackDelivered = "delivered"
	CallbackGivenUp   = "given_up"
)

// A Callback is where a run's end is to be posted, and how that goes.
type Callback struct {
	URL string `json:"url"` // it may hold a secret, and is not shown
	CallbackState
}

// CallbackState is what is shown of a callback.
type CallbackState struct {
	Host     string    `json:"host"`
	State    string    `json:"state"` // open, delivered or given_up
	Attempts int       `json:"attempts"`
	First    time.Time `json:"first,omitzero"`   // attempt
	Next     time.Time `json:"next,omitzero"`    // attempt
	Status   int       `json:"status,omitempty"` // of the last answer
	Error    string    `json:"error,omitempty"`  // why the last attempt failed
	Done     time.Time `json:"done,omitzero"`
}

func newCallback(address string) *Callback {
	c := &Callback{URL: address, CallbackState: CallbackState{State: CallbackOpen}}
	if u, err := url.Parse(address); err == nil {
		c.Host = u.Host
	}
	return c
}

// Limits of callbacks.
const (
	callbackPatience = 24 * time.Hour
	callbackFirst    = 5 * time.Second // between two attempts, doubled each time
	callbackLongest  = time.Hour
	callbackAnswer   = 4 << 10 // bytes read of an answer
	callbacksAtOnce  = 8
	callbackSweep    = time.Minute     // between two looks at a run, in case nobody told of its end
	callbackRelist   = 5 * time.Minute // between two lists of the open callbacks, in case nobody told of a new one
	// A request without delivery or decision for so long was never accepted.
	callbackOrphan = time.Hour
)

// Callbacks post the end of runs to where it was asked for, at least once each. They run on the leader alone. What is to be posted is in
// the records: when the leader dies nothing is lost, and a call that was made but not noted is made again.
type Callbacks struct {
	s   *Server
	log *slog.Logger

	// Times that a test shortens.
	first  time.Duration // between two attempts
	relist time.Duration // between two lists of the open callbacks
}

// Callbacks returns nil when the server takes no requests.
func (s *Server) Callbacks() *Callbacks {
	if s.o.Submissions == nil {
		return nil
	}
	return &Callbacks{s: s, log: s.o.Log, first: callbackFirst, relist: callbackRelist}
}

// An agenda is which requests have an open callback, and when to look at each. Run alone changes it.
type agenda struct {
	due  map[string]time.Time
	busy map[string]bool // being looked at; true when its run or request changed meanwhile
}

// start returns a request to look at now; without one, id is "" and next is when to ask again.
func (a *agenda) start(now time.Time) (id string, next time.Time) {
	next = now.Add(callbackSweep)
	for id, at := range a.due {
		if _, working := a.busy[id]; working || len(a.busy) >= callbacksAtOnce {
			continue
		}
		if !at.After(now) {
			a.busy[id] = false
			return id, now
		}
		if at.Before(next) {
			next = at
		}
	}
	return "", next
}

// heard notes that a run changed or, with isNew, a request.
func (a *agenda) heard(id string, isNew bool, now time.Time) {
	if _, working := a.busy[id]; working {
		a.busy[id] = true
	} else if _, open := a.due[id]; open || isNew {
		a.due[id] = now
	}
}

// looked notes that a request was looked at, and after what time to look again; 0 for never.
func (a *agenda) looked(id string, again time.Duration, now time.Time) {
	happened := a.busy[id]
	delete(a.busy, id)
	switch {
	case again == 0:
		delete(a.due, id)
	case happened:
		a.due[id] = now
	default:
		a.due[id] = now.Add(again)
	}
}

// Run calls back until ctx is done.
func (b *Callbacks) Run(ctx context.Context) {
	type outcome struct {
		id    string
		again time.Duration
	}
	requests, runs, outcomes := make(chan string), make(chan string), make(chan outcome)
	var working sync.WaitGroup
	defer working.Wait()
	working.Go(func() { b.listen(ctx, requests, b.s.o.Submissions.Requests.Watch, b.open) })
	working.Go(func() { b.listen(ctx, runs, b.s.o.Runs.Watch, nil) })
	todo := agenda{due: map[string]time.Time{}, busy: map[string]bool{}}
	for ctx.Err() == nil {
		id, next := todo.start(time.Now())
		if id != "" {
			working.Go(func() {
				o := outcome{id, b.look(ctx, id)}
				select {
				case outcomes <- o:
				case <-ctx.Done():
				}
			})
			continue
		}
		timer := time.NewTimer(time.Until(next))
		select {
		case <-ctx.Done():
		case id := <-requests:
			todo.heard(id, true, time.Now())
		case id := <-runs:
			todo.heard(id, false, time.Now())
		case o := <-outcomes:
			todo.looked(o.id, o.again, time.Now())
		case <-timer.C:
		}
		timer.Stop()
	}
}

// look calls Step; after an error it is called again soon.
func (b *Callbacks) look(ctx context.Context, id string) time.Duration {
	again, err := b.Step(ctx, id)
	if err == nil {
		return again
	}
	if ctx.Err() == nil {
		b.log.WarnContext(ctx, "call back; trying again", "run", id, "error", err)
	}
	return b.first
}

// open calls each with the requests that have an open callback.
func (b *Callbacks) open(ctx context.Context, each func(id string) error) error {
	return b.s.o.Submissions.Requests.All(ctx, func(key string, r RequestRecord, _ uint64) error {
		if r.Callback == nil || r.Callback.State != CallbackOpen {
			return nil
		}
		return each(key)
	})
}

// listen passes on the keys of what changes and, where all is not nil, those that all lists.
func (b *Callbacks) listen(ctx context.Context, to chan<- string, watch func(context.Context) (<-chan string, error),
	all func(context.Context, func(string) error) error) {
	send := func(key string) {
		select {
		case to <- key:
		case <-ctx.Done():
		}
	}
	f := jobs.Follower{
		Watch: watch, Changed: send, Every: b.relist,
		Trouble: func(err error) { b.log.WarnContext(ctx, "can't look for callbacks; trying again", "error", err) },
	}
	if all != nil {
		f.List = func(ctx context.Context) error {
			return all(ctx, func(key string) error { send(key); return ctx.Err() })
		}
	}
	f.Run(ctx)
}

// Step does what is due about one request's callback, and says after what time to look again; 0 for never.
func (b *Callbacks) Step(ctx context.Context, id string) (again time.Duration, err error) {
	record, _, err := b.s.o.Submissions.Requests.Get(ctx, id)
	if errors.Is(err, jobs.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the request %s: %w", id, err)
	}
	c := record.Callback
	if c == nil || c.State != CallbackOpen {
		return 0, nil
	}
	now := b.s.o.Now()
	found, over, err := b.s.isOver(ctx, id)
	switch {
	case err != nil:
		return 0, err
	case !over && !found && now.Sub(record.Created) > callbackOrphan:
		return b.orphan(ctx, id, record.GUID)
	case !over:
		return callbackSweep, nil
	case c.Next.After(now):
		return c.Next.Sub(now), nil
	}
	status, _, err := b.s.status(ctx, id, false)
	if err != nil {
		return 0, err
	}
	token, _, err := b.s.o.Submissions.Tokens.Get(ctx, record.Token)
	if err != nil && !errors.Is(err, jobs.ErrNotFound) {
		return 0, fmt.Errorf("look up token %s: %w", record.Token, err)
	}
	if token.Callback == "" {
		return 0, b.note(ctx, id, func(c *Callback) { c.State, c.Error = CallbackGivenUp, "The token was revoked or removed." })
	}
	code, failure := b.post(ctx, c.URL, token.Callback, id, status)
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	err = b.note(ctx, id, func(c *Callback) {
		now := b.s.o.Now().UTC()
		if c.Attempts++; c.Attempts == 1 {
			c.First = now
		}
		c.Status, c.Error, c.Next = code, failure, time.Time{}
		again = min(b.first<<min(c.Attempts-1, 20), callbackLongest)
		switch {
		case failure == "":
			c.State, c.Done, again = CallbackDelivered, now, 0
		case code == http.StatusGone, now.Add(again).Sub(c.First) > callbackPatience:
			c.State, c.Done, again = CallbackGivenUp, now, 0
		default:
			c.Next = now.Add(again)
		}
	})
	switch {
	case err != nil || again > 0:
	case failure == "":
		b.log.InfoContext(ctx, "called back", "run", id, "status", code)
	default:
		b.log.InfoContext(ctx, "gave up a callback", "run", id, "status", code, "error", failure)
	}
	return again, err
}

// orphan gives up the callback of a request that was never accepted: its record was stored, its delivery was not.
func (b *Callbacks) orphan(ctx context.Context, id, guid string) (time.Duration, error) {
	_, err := b.s.o.Deliveries.Delivery(ctx, guid)
	if errors.Is(err, jobs.ErrNotFound) {
		return 0, b.note(ctx, id, func(c *Callback) { c.State, c.Error = CallbackGivenUp, "The request was never accepted." })
	}
	if err != nil {
		return 0, fmt.Errorf("look up the delivery of %s: %w", id, err)
	}
	return callbackSweep, nil
}

func (b *Callbacks) note(ctx context.Context, id string, edit func(*Callback)) error {
	_, err := jobs.Change(ctx, b.s.o.Submissions.Requests, id, func(r *RequestRecord) error {
		if r.Callback == nil || r.Callback.State != CallbackOpen {
			return jobs.ErrUnchanged
		}
		edit(r.Callback)
		return nil
	})
	if err != nil {
		return fmt.Errorf("note the callback of %s: %w", id, err)
	}
	return nil
}

// post sends a run's end to an address. failure is a sentence unless the answer was 2xx; code is 0 when there was no answer.
func (b *Callbacks) post(ctx context.Context, address, secret, id string, status RunStatus) (code int, failure string) {
	body, err := json.Marshal(status)
	if err != nil {
		return 0, "The run can't be written as JSON."
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return 0, "The address can't be used."
	}
	stamp := strconv.FormatInt(b.s.o.Now().Unix(), 10)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "slipway/"+b.s.o.Version)
	r.Header.Set("X-Slipway-Delivery", id)
	r.Header.Set("X-Slipway-Timestamp", stamp)
	r.Header.Set("X-Slipway-Signature-256", Sign(secret, stamp, body))
	answer, err := b.s.o.Submissions.Callbacks.Do(r)
	if err != nil {
		b.log.InfoContext(ctx, "a callback got no answer", "run", id, "host", r.URL.Host, "error", unaddressed(err))
		return 0, plainly(err)
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, callbackAnswer)) // what it says does not matter
	if answer.StatusCode/100 != 2 {
		return answer.StatusCode, fmt.Sprintf("The answer was %d %s.", answer.StatusCode, http.StatusText(answer.StatusCode))
	}
	return answer.StatusCode, ""
}

// Sign is the signature of a callback: an HMAC with SHA-256 over the timestamp, a dot and the body.
func Sign(secret, stamp string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(stamp + "."))
	mac.Write(body)
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}

// unaddressed is an error without the URL: it may hold a secret.
func unaddressed(err error) error {
	if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

// plainly says why there was no answer, to whoever chose the address. It does not tell what the host name resolves to, and says the same
// of a name inside our network as of one that nobody knows: else one could find out which names there are inside.
func plainly(err error) string {
	var wrapped *url.Error
	var refusal *jobs.Refusal
	var unknown *net.DNSError
	var network *net.OpError
	switch {
	case errors.As(err, &wrapped) && wrapped.Timeout():
		return "There was no answer in time."
	case errors.As(err, &refusal) && wrapped == nil: // for what the address says itself
		return refusal.Sentence
	case refusal != nil, errors.As(err, &unknown):
		return "The name is not known, or it leads inside this network, which the operator does not allow (api.callbacks.allow)."
	}
	err = unaddressed(err)
	for errors.As(err, &network) {
		err = network.Err // without the addresses at both ends
	}
	return jobs.Cut("There was no answer: "+err.Error(), 300)
}
