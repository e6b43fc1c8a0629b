package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

// An Acceptor makes a delivery durable. created is false when the GUID is stored already. It returns only when the
// delivery is on disk.
type Acceptor interface {
	Accept(ctx context.Context, d jobs.Delivery) (created bool, err error)
}

// Options say what a Handler accepts.
type Options struct {
	AppID   int64    // deliveries to another App or to a plain repository webhook are refused
	Secrets [][]byte // any of them may have signed; at least one, none empty. Two while rotating
	Accept  Acceptor
	// InFlight is how many bytes of bodies may be in memory at once; what comes on top gets 503. 0 means 128 MB.
	InFlight int64
	// ReadTimeout is how long a body may take to arrive. GitHub gives up after 10 s. 0 means 8 s.
	ReadTimeout time.Duration
	// Observe is told how each request ended, such as "accepted" or "signature"; may be nil.
	Observe func(outcome string)
	Now     func() time.Time
	Log     *slog.Logger
}

// A Handler answers POST requests from GitHub. It is safe for concurrent use.
type Handler struct {
	Options
	signatures signatures
	budget     *budget
}

// New returns a Handler, or an error that says which option is wrong.
func New(o Options) (*Handler, error) {
	s, err := newSignatures(o.Secrets)
	if err != nil {
		return nil, err
	}
	if o.AppID <= 0 {
		return nil, errors.New("github.app_id is missing: deliveries can't be told from those of other Apps")
	}
	if o.InFlight == 0 {
		o.InFlight = 128 << 20
	}
	if o.ReadTimeout == 0 {
		o.ReadTimeout = 8 * time.Second
	}
	if o.Observe == nil {
		o.Observe = func(string) {}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Handler{Options: o, signatures: s, budget: &budget{limit: o.InFlight}}, nil
}

// A refusal is an answer to a request that is not accepted.
type refusal struct {
	status  int
	outcome string // for metrics
	message string
}

var eventForm = regexp.MustCompile(`^[a-z0-9_]{1,64}$`)

// ServeHTTP stores the delivery and answers 202, or refuses it:
//
//	400 malformed headers, a body that broke off      405 not POST           413 above 25 MB
//	401 no signature, or one by none of the secrets   408 too slow           415 not JSON
//	403 meant for another App                         503 not known to be stored: send it again
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d, created, no := h.accept(w, r)
	if no != nil {
		h.Observe(no.outcome)
		if no.status == http.StatusServiceUnavailable {
			w.Header().Set("Retry-After", "30")
		}
		// The rest of a refused body is not read.
		w.Header().Set("Connection", "close")
		answer(w, no.status, map[string]string{"error": no.message})
		return
	}
	outcome := "accepted"
	if !created {
		outcome = "duplicate"
	}
	h.Observe(outcome)
	answer(w, http.StatusAccepted, map[string]string{"delivery": d.GUID, "status": outcome})
}

func (h *Handler) accept(w http.ResponseWriter, r *http.Request) (d jobs.Delivery, created bool, no *refusal) {
	d, signature, no := h.headers(r)
	if no != nil {
		return d, false, no
	}
	// A body must arrive in time, and its bytes are counted as they come, so that neither slow nor many senders can
	// hold memory.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(h.ReadTimeout))
	body, free, err := h.budget.read(r.Body, r.ContentLength, jobs.MaxBody)
	defer free()
	if err != nil {
		return d, false, h.unread(err)
	}
	if !h.signatures.match(signature, body) {
		return d, false, &refusal{http.StatusUnauthorized, "signature", "the signature is by none of the configured webhook secrets"}
	}
	d.Body, d.Received = body, h.Now().UTC()
	ctx, cancel := context.WithTimeout(r.Context(), 9*time.Second)
	defer cancel()
	created, err = h.Accept.Accept(ctx, d)
	if err != nil {
		h.Log.ErrorContext(ctx, "a delivery could not be stored; GitHub is told so", "delivery", d.GUID, "event", d.Event, "bytes", len(body), "error", err)
		return d, false, &refusal{http.StatusServiceUnavailable, "queue", "the queue can't confirm deliveries now; send it again"}
	}
	return d, created, nil
}

// headers checks what can be known before the body is read.
func (h *Handler) headers(r *http.Request) (d jobs.Delivery, signature []byte, no *refusal) {
	bad := func(status int, outcome, message string) (jobs.Delivery, []byte, *refusal) {
		return d, nil, &refusal{status, outcome, message}
	}
	if r.Method != http.MethodPost {
		return bad(http.StatusMethodNotAllowed, "method", "webhooks are sent by POST")
	}
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return bad(http.StatusUnsupportedMediaType, "type", "set the App's webhook content type to application/json")
	}
	if r.ContentLength > jobs.MaxBody {
		return bad(http.StatusRequestEntityTooLarge, "size", "the body is above GitHub's own limit of 25 MB")
	}
	signature, ok := parseSignature(r.Header.Get("X-Hub-Signature-256"))
	if !ok {
		return bad(http.StatusUnauthorized, "signature", "X-Hub-Signature-256 is missing or malformed; set the App's webhook secret")
	}
	d.GUID, d.Event = r.Header.Get("X-GitHub-Delivery"), r.Header.Get("X-GitHub-Event")
	if !jobs.ValidGUID(d.GUID) || !eventForm.MatchString(d.Event) {
		return bad(http.StatusBadRequest, "headers", "X-GitHub-Delivery or X-GitHub-Event is missing or malformed")
	}
	d.HookID, _ = strconv.ParseInt(r.Header.Get("X-GitHub-Hook-ID"), 10, 64)
	d.TargetID, _ = strconv.ParseInt(r.Header.Get("X-GitHub-Hook-Installation-Target-ID"), 10, 64)
	if r.Header.Get("X-GitHub-Hook-Installation-Target-Type") != "integration" || d.TargetID != h.AppID {
		return bad(http.StatusForbidden, "target", "this delivery is not meant for the App this server is")
	}
	return d, signature, nil
}

func (h *Handler) unread(err error) *refusal {
	switch {
	case errors.Is(err, errBusy):
		return &refusal{http.StatusServiceUnavailable, "busy", "too many bodies are arriving at once; nothing was stored"}
	case errors.Is(err, errLarge):
		return &refusal{http.StatusRequestEntityTooLarge, "size", "the body is above GitHub's own limit of 25 MB"}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &refusal{http.StatusRequestTimeout, "slow", "the body took too long to arrive"}
	case errors.Is(err, io.ErrUnexpectedEOF):
		return &refusal{http.StatusBadRequest, "truncated", "the body broke off"}
	}
	return &refusal{http.StatusBadRequest, "body", "the body could not be read"}
}

func answer(w http.ResponseWriter, status int, body map[string]string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the sender is gone if this fails
}
