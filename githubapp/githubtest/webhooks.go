package githubtest

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// Delivery is one attempt to deliver a webhook, as the App's delivery log keeps it.
type Delivery struct {
	ID             int64  // of the attempt
	GUID           string // of the event: a redelivery keeps it
	Event          string
	Action         string // empty for events without actions
	App            int64
	Installation   int64 // 0 for none
	Repository     int64 // 0 for none
	Redelivery     bool
	DeliveredAt    time.Time
	ThrottledAt    time.Time // when GitHub began to hold it back; zero for most
	Duration       time.Duration
	Status         string // OK, the HTTP status text, "timed out" or "failed to connect to host"
	StatusCode     int    // 0 when there was no answer
	RequestHeader  http.Header
	Payload        []byte
	ResponseHeader http.Header
	ResponseBody   string // cut at 64 KB
}

// Handling says what happens to a delivery on its way.
type Handling struct {
	Drop     bool // it never arrives; the log says that the host couldn't be reached
	Unsent   bool // GitHub never sends it and the log doesn't know it, as with bodies over 25 MB
	Hold     bool // it waits for Release, which may let deliveries pass in another order
	Throttle bool // it is held like that by GitHub itself, and the log says since when
	Times    int  // how often it arrives, with the same GUID; 0 means 1
}

// OnDelivery lets decide choose what happens to each delivery; nil delivers all of them once. Released and redelivered ones
// are not asked about again.
func (s *Server) OnDelivery(decide func(Delivery) Handling) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hooks.decide = decide
}

// hooks sends webhooks one after the other, so that a test sees them in one order unless it asks for another.
type hooks struct {
	client *http.Client
	decide func(Delivery) Handling
	queue  []*outgoing
	held   []*outgoing
	moving int
	log    []*Delivery // oldest first
	ready  chan struct{}
}

type outgoing struct {
	app      *App
	delivery Delivery
	asked    bool // decide has had its say
}

// The delivery log goes back three days, from GitHub's page "Redelivering webhooks". The bound in number is this server's.
const (
	logRetention  = 3 * 24 * time.Hour
	logMaximum    = 20_000
	maxPayload    = 25 << 20
	keptResponse  = 64 << 10
	maxTagsAtOnce = 3
	maxPushed     = 2048
)

func (h *hooks) start(s *Server) {
	h.ready = make(chan struct{}, 1)
	h.client = &http.Client{
		Timeout:       s.options.WebhookTimeout,
		Transport:     &http.Transport{DisableKeepAlives: true}, // a receiver that was restarted must not meet an old connection
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	s.serving.Go(func() {
		for {
			select {
			case <-s.done.Done():
				return
			case <-h.ready:
				for s.deliverNextUnlocked() {
				}
			}
		}
	})
}

func (h *hooks) wake() {
	select {
	case h.ready <- struct{}{}:
	default:
	}
}

func (h *hooks) pending() int { return len(h.queue) + h.moving }

// emit sends an event to every App that is installed on the repository and subscribed to it.
func (s *Server) emit(r *Repository, sender *User, event, action string, fields object) {
	for _, app := range s.sortedApps() {
		for _, i := range app.installations {
			if i.covers(r) && !i.suspended && slices.Contains(i.events, event) {
				s.notify(app, i, r, event, action, with(fields, "sender", s.userShape(sender)))
			}
		}
	}
}

// with copies fields and adds more: names and values in turn.
func with(fields object, more ...any) object {
	copied := make(object, len(fields)+len(more)/2+4)
	maps.Copy(copied, fields)
	for i := 0; i < len(more); i += 2 {
		copied[more[i].(string)] = more[i+1]
	}
	return copied
}

// notify sends one event to one App, after comparing the payload with its schema.
func (s *Server) notify(app *App, i *Installation, r *Repository, event, action string, fields object) {
	if app.webhookURL == "" {
		return
	}
	payload := fields
	if action != "" {
		payload = with(payload, "action", action)
	}
	d := Delivery{Event: event, Action: action, App: app.ID}
	if r != nil {
		payload = with(payload, "repository", s.repositoryShape(r))
		d.Repository = r.ID
		if r.Owner.Type == "Organization" {
			payload["organization"] = s.organizationShape(r.Owner)
		}
	}
	if i != nil {
		d.Installation = i.ID
		if payload["installation"] == nil {
			payload = with(payload, "installation", object{"id": i.ID, "node_id": nodeID("I", i.ID)})
		}
	}
	body, err := encodeJSON(payload)
	if err != nil {
		s.violated([]Violation{{"webhook", event + "." + action, "", err.Error()}})
		return
	}
	if len(body) > s.options.MaxPayload {
		return // GitHub doesn't send it and doesn't say so
	}
	s.violated(s.contract.checkWebhook(event, action, body))
	d.GUID, d.Payload = newGUID(), body
	s.hooks.queue = append(s.hooks.queue, &outgoing{app: app, delivery: d})
	s.hooks.wake()
}

func newGUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// deliverNextUnlocked takes one delivery off the queue and attempts it. It reports whether there may be more.
func (s *Server) deliverNextUnlocked() bool {
	s.mu.Lock()
	if s.down || len(s.hooks.queue) == 0 || s.done.Err() != nil {
		s.mu.Unlock()
		return false
	}
	next := s.hooks.queue[0]
	s.hooks.queue = s.hooks.queue[1:]
	s.hooks.moving++
	decide := s.hooks.decide
	s.mu.Unlock()

	handling := Handling{}
	if decide != nil && !next.asked {
		handling = decide(next.delivery)
	}
	next.asked = true
	switch {
	case handling.Unsent:
		s.mu.Lock()
	case handling.Hold || handling.Throttle:
		s.mu.Lock()
		if handling.Throttle {
			next.delivery.ThrottledAt = s.now()
		}
		s.hooks.held = append(s.hooks.held, next)
	default:
		for range max(1, handling.Times) {
			s.attemptUnlocked(next, handling.Drop)
		}
		s.mu.Lock()
	}
	s.hooks.moving--
	s.settled()
	s.mu.Unlock()
	return true
}

func (s *Server) attemptUnlocked(out *outgoing, drop bool) {
	s.mu.Lock()
	d := out.delivery
	d.ID, d.DeliveredAt = s.nextID(), s.now()
	url, secret := out.app.webhookURL, out.app.webhookSecret
	d.RequestHeader = s.webhookHeader(out.app, d, secret)
	s.mu.Unlock()

	begun := time.Now()
	d.Status = "failed to connect to host"
	if !drop {
		s.post(url, &d)
	}
	d.Duration = time.Since(begun)

	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.hooks.log) >= logMaximum {
		s.hooks.log = slices.Delete(s.hooks.log, 0, logMaximum/2)
	}
	s.hooks.log = append(s.hooks.log, &d)
	s.log.Debug("webhook", "event", d.Event, "action", d.Action, "guid", d.GUID, "status", d.Status)
}

func (s *Server) post(url string, d *Delivery) {
	request, err := http.NewRequestWithContext(s.done, http.MethodPost, url, bytes.NewReader(d.Payload))
	if err != nil {
		return
	}
	request.Header = d.RequestHeader
	response, err := s.hooks.client.Do(request)
	if err != nil {
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() || errors.Is(err, context.DeadlineExceeded) {
			d.Status = "timed out"
		}
		return
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, keptResponse))
	if err != nil {
		d.Status = "timed out"
		return
	}
	d.StatusCode, d.ResponseHeader, d.ResponseBody = response.StatusCode, response.Header, string(body)
	d.Status = http.StatusText(response.StatusCode)
	if response.StatusCode/100 == 2 {
		d.Status = "OK"
	}
}

func (s *Server) webhookHeader(app *App, d Delivery, secret string) http.Header {
	header := http.Header{
		"Content-Type": {"application/json"}, "Accept": {"*/*"}, "User-Agent": {"GitHub-Hookshot/5c1b6e2"},
		"X-Github-Delivery": {d.GUID}, "X-Github-Event": {d.Event}, "X-Github-Hook-Id": {strconv.FormatInt(app.hookID, 10)},
		"X-Github-Hook-Installation-Target-Id": {strconv.FormatInt(app.ID, 10)}, "X-Github-Hook-Installation-Target-Type": {"integration"},
	}
	if secret != "" {
		header.Set("X-Hub-Signature", "sha1="+sign(sha1.New, secret, d.Payload))
		header.Set("X-Hub-Signature-256", "sha256="+sign(sha256.New, secret, d.Payload))
	}
	return header
}

func sign(newHash func() hash.Hash, secret string, body []byte) string {
	mac := hmac.New(newHash, []byte(secret))
	mac.Write(body)
	return hex.EncodeToString(mac.Sum(nil))
}

// Sign returns the X-Hub-Signature-256 that GitHub would send for a body, for tests that post webhooks by themselves.
func Sign(secret string, body []byte) string { return "sha256=" + sign(sha256.New, secret, body) }
