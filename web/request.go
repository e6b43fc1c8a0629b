package web

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/slipway-ci/slipway/jobs"
)

// Writing is what the API takes requests with.
type Writing struct {
	Tokens   jobs.Set[Token]
	Requests jobs.Set[RequestRecord] // by run ID
	Accept   jobs.Acceptor
	// Match reports whether a name passes a list of patterns in GitHub's dialect, and which of them decided.
	Match func(patterns []string, name string) (ok bool, pattern string)
	URL   func(run string) string // where people see a run
	// Outside carries callbacks.
	Outside Outside
}

// Outside reaches addresses that others chose, and refuses those that lie inside.
type Outside interface {
	// Check says what is wrong with an address by itself, as a *jobs.Refusal, or nothing.
	Check(address string) error
	Do(r *http.Request) (*http.Response, error)
}

const (
	maxRequest = 64 << 10 // bytes of a request's body
	maxKey     = 200      // bytes of an idempotency key

	// keyLife is for how long a key's repetition is answered with its run. Decisions are kept for a day longer: a key never starts
	// a second run.
	keyLife = 34 * 24 * time.Hour

	// So many runs a token may ask for at once, then one more each while.
	askBurst = 60
	askEvery = time.Second
)

// RunRequest is the body of POST /api/v1/runs: exactly one of Build, Deploy, Dispatch and Command is set.
type RunRequest struct {
	Repository string               `json:"repository"`    // owner/name
	Ref        string               `json:"ref,omitempty"` // branch, or a full SHA of the default branch; "" for the default branch's head
	Build      *jobs.RequestBuild   `json:"build,omitempty"`
	Deploy     *jobs.RequestDeploy  `json:"deploy,omitempty"`
	Dispatch   *DispatchRequest     `json:"dispatch,omitempty"`
	Command    *CommandRequest      `json:"command,omitempty"`
	Callback   *CallbackDestination `json:"callback,omitempty"`
}

// DispatchRequest asks for a workflow of GitHub Actions.
type DispatchRequest struct {
	Workflow string            `json:"workflow"`      // file name below .github/workflows, or ID
	Ref      string            `json:"ref,omitempty"` // branch or tag to dispatch on; "" for that of the run
	Inputs   map[string]scalar `json:"inputs,omitempty"`
}

// Set adds an input.
func (d *DispatchRequest) Set(name, text string) {
	if d.Inputs == nil {
		d.Inputs = map[string]scalar{}
	}
	d.Inputs[name] = scalar(text)
}

// CommandRequest asks for a command that the pipeline declares.
type CommandRequest struct {
	Name string            `json:"name"`
	Args map[string]scalar `json:"args,omitempty"`
}

// CallbackDestination is where the run's end is to be told.
type CallbackDestination struct {
	URL string `json:"url"`
}

// scalar is a text, a number or a boolean, kept as it was written.
type scalar string

// UnmarshalJSON takes any of the three.
func (v *scalar) UnmarshalJSON(data []byte) error {
	switch data[0] {
	case '"':
		return json.Unmarshal(data, (*string)(v))
	case '{', '[', 'n':
		return errors.New("inputs and arguments are texts, numbers or booleans")
	}
	*v = scalar(data)
	return nil
}

func texts(values map[string]scalar) map[string]string {
	if values == nil {
		return nil
	}
	out := make(map[string]string, len(values))
	for name, v := range values {
		out[name] = string(v)
	}
	return out
}

// request is what is planned. by is who asks.
func (r RunRequest) request(by string) (q jobs.Request, kind string) {
	q = jobs.Request{Repository: r.Repository, Ref: r.Ref, By: by, Build: r.Build, Deploy: r.Deploy}
	var words []string
	switch {
	case r.Build != nil:
		kind, words = MayBuild, r.Build.Jobs
	case r.Deploy != nil:
		kind, words = MayDeploy, []string{r.Deploy.Environment, r.Deploy.Release}
	case r.Dispatch != nil:
		kind = MayDispatch
		q.Dispatch = &jobs.AskDispatch{Workflow: r.Dispatch.Workflow, Ref: r.Dispatch.Ref, Inputs: texts(r.Dispatch.Inputs)}
		words = append([]string{r.Dispatch.Workflow}, assignments(q.Dispatch.Inputs)...)
	case r.Command != nil:
		kind = MayCommand
		q.Command = &jobs.RequestCommand{Name: r.Command.Name, Args: texts(r.Command.Args)}
		words = append([]string{r.Command.Name}, assignments(q.Command.Args)...)
	}
	q.What = kind
	if kind == MayCommand {
		q.What = ""
	}
	for _, word := range words {
		if word != "" {
			q.What += " " + word
		}
	}
	if r.Ref != "" {
		q.What += " on " + r.Ref
	}
	q.What = jobs.Cut(Plain(strings.TrimSpace(q.What)), 300)
	return q, kind
}

func assignments(values map[string]string) (list []string) {
	for _, name := range slices.Sorted(maps.Keys(values)) {
		list = append(list, name+"="+values[name])
	}
	return list
}

// A RequestRecord is what is kept of a request beside its delivery.
type RequestRecord struct {
	GUID       string    `json:"guid"`            // of the delivery
	Token      string    `json:"token,omitempty"` // ID of the token; "" when it came from the server's command line
	By         string    `json:"by"`
	What       string    `json:"what"`
	Repository string    `json:"repository"`
	Digest     string    `json:"digest"` // of the request
	Created    time.Time `json:"created"`
	Callback   *Callback `json:"callback,omitempty"`
}

// A RunAccepted is the answer of POST /api/v1/runs.
type RunAccepted struct {
	ID    string            `json:"id"`    // of the run to be
	State jobs.RunState     `json:"state"` // accepted
	URL   string            `json:"url"`   // where people see it
	Links map[string]string `json:"links"` // self and wait, in this API
}

// A wish is a request with who asks.
type wish struct {
	RunRequest
	key   string // makes the same wish the same run; "" for one that is never the same
	by    string // such as "token nightly"
	token *Token // nil for the operator
}

// accept stores a request, so that the leader carries it out. When it returns without an error the request is on disk. repeated
// means that it was asked for before, with the same key.
func (s *Server) accept(ctx context.Context, w wish) (accepted RunAccepted, repeated bool, err error) {
	if s.o.Writing == nil {
		return accepted, false, refuse(http.StatusNotFound, "This server takes no requests.")
	}
	q, _ := w.request(w.by)
	if err := q.Check(); err != nil {
		return accepted, false, refused(err)
	}
	record := RequestRecord{By: w.by, What: q.What, Repository: q.Repository, Created: s.o.Now().UTC()}
	asker := "operator"
	if w.token != nil {
		record.Token, asker, q.Scope = w.token.ID, "token "+w.token.ID, w.token.scope()
	}
	if w.Callback != nil {
		if w.token == nil {
			return accepted, false, refuse(http.StatusBadRequest, "Only what a token asks for is called back about: it signs the call.")
		}
		if err := s.o.Writing.Outside.Check(w.Callback.URL); err != nil {
			return accepted, false, refused(err)
		}
		record.Callback = newCallback(w.Callback.URL)
	}
	if w.key == "" {
		w.key = rand.Text()
	}
	if record.Digest, err = digestOf(w.RunRequest); err != nil {
		return accepted, false, err
	}
	record.GUID = jobs.RequestGUID(asker, w.key)
	id := jobs.RunID(record.GUID)
	// The record comes first: what it says of the key must stand before anything can start.
	_, err = s.o.Writing.Requests.Create(ctx, id, record)
	if repeated = errors.Is(err, jobs.ErrExists); repeated {
		var known RequestRecord
		known, _, err = s.o.Writing.Requests.Get(ctx, id)
		switch {
		case err != nil:
		case known.Digest != record.Digest:
			return accepted, false, refuse(http.StatusConflict, "This Idempotency-Key was used for another request (run %s). Use a fresh key.", id)
		case record.Created.Sub(known.Created) > keyLife:
			return accepted, false, refuse(http.StatusConflict, "This Idempotency-Key was used on %s, and is too old to be repeated (run %s). Use a fresh key.",
				known.Created.Format(time.DateOnly), id)
		}
	}
	if err != nil {
		return accepted, false, fmt.Errorf("store the request %s: %w", id, err)
	}
	if err := s.deliver(ctx, q, record.GUID, repeated); err != nil {
		return accepted, false, err
	}
	s.o.Log.InfoContext(ctx, "a run was asked for", "run", id, "by", w.by, "repository", q.Repository, "repeated", repeated)
	self := "/api/v1/runs/" + id
	return RunAccepted{
		ID: id, State: StateAccepted, URL: s.o.Writing.URL(id), Links: map[string]string{"self": self, "wait": self + "?wait=60s"},
	}, repeated, nil
}

// deliver stores the request's delivery. Of one that came before it may be that nothing but the record was stored.
func (s *Server) deliver(ctx context.Context, q jobs.Request, guid string, repeated bool) error {
	if repeated {
		if decision, err := s.decision(ctx, guid); err != nil || decision != nil {
			return err
		}
	}
	d, err := q.Delivery(guid, s.o.Now())
	if err != nil {
		return err
	}
	if _, err := s.o.Writing.Accept.Accept(ctx, d); err != nil {
		return fmt.Errorf("store the delivery %s: %w", guid, err)
	}
	return nil
}

// digestOf tells one request from another, whatever its white space.
func digestOf(r RunRequest) (string, error) {
	data, err := json.Marshal(r)
	if err != nil {
		return "", fmt.Errorf("digest a request: %w", err)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:16]), nil
}

// refused turns a refusal of another package into an answer.
func refused(err error) error {
	if r := (*jobs.Refusal)(nil); errors.As(err, &r) {
		return refuse(http.StatusBadRequest, "%s", r.Sentence)
	}
	return err
}

// What takes requests, on the pages and on the admin socket.
const (
	takePath         = "/api/v1/runs"
	takeOperatorPath = "/api/v1/requests"
)

// takes reports whether something is asked for at a path by POST. Nothing else changes anything.
func (s *Server) takes(path string, browsers bool) bool {
	return s.o.Writing != nil && (browsers && path == takePath || !browsers && path == takeOperatorPath)
}

// take answers POST /api/v1/runs.
func (a api) take(c echo.Context) error {
	token, err := a.bearer(c)
	switch {
	case err != nil:
		return err
	case token == nil:
		c.Response().Header().Set("WWW-Authenticate", `Bearer realm="slipway"`)
		return refuse(http.StatusUnauthorized, "Starting something takes a token: `slipway token create` makes one. Send it as Authorization: Bearer.")
	}
	if wait := a.asks.take(token.ID, a.o.Now()); wait > 0 {
		return tooMany(c, wait, "The token %s asks for more than %d runs a minute.", token.Name, time.Minute/askEvery)
	}
	w := wish{token: token, by: "token " + token.Name}
	if w.key, err = readRequest(c, &w.RunRequest); err != nil {
		return err
	}
	q, kind := w.request(w.by)
	if err := q.Check(); err != nil {
		return refused(err)
	}
	if err := a.may(*token, kind, w.Repository); err != nil {
		return err
	}
	if q.Command != nil && len(token.Commands) > 0 && !slices.Contains(token.Commands, q.Command.Name) {
		return refuse(http.StatusForbidden, "The token %s is not for the command %s, but for %s.", token.Name, q.Command.Name, strings.Join(token.Commands, ", "))
	}
	return a.answer(c, w)
}

// OperatorRequest is the body of POST /api/v1/requests on the admin socket.
type OperatorRequest struct {
	RunRequest
	By string `json:"by"` // who runs the command, as far as the machine knows
}

// takeOperator answers POST /api/v1/requests: who may open the socket needs no token.
func (a api) takeOperator(c echo.Context) error {
	var body OperatorRequest
	key, err := readRequest(c, &body)
	if err != nil {
		return err
	}
	return a.answer(c, wish{RunRequest: body.RunRequest, key: key, by: "operator " + jobs.Cut(body.By, 100)})
}

func (a api) answer(c echo.Context, w wish) error {
	accepted, repeated, err := a.accept(c.Request().Context(), w)
	if err != nil {
		return err
	}
	if repeated {
		c.Response().Header().Set("Idempotent-Replayed", "true")
	}
	c.Response().Header().Set("Location", accepted.Links["self"])
	return c.JSON(http.StatusAccepted, accepted)
}

// readRequest reads a request's body, strictly, and its Idempotency-Key.
func readRequest(c echo.Context, request any) (key string, err error) {
	r := c.Request()
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return "", refuse(http.StatusUnsupportedMediaType, "Send Content-Type: application/json.")
	}
	if key, err = idempotencyKey(r.Header); err != nil {
		return "", err
	}
	// Whoever sends it a byte at a time is not waited for. A connection that can't be told so is a test's.
	_ = http.NewResponseController(c.Response()).SetReadDeadline(time.Now().Add(pageTimeout))
	body, err := io.ReadAll(io.LimitReader(r.Body, maxRequest+1))
	switch {
	case err != nil:
		return "", refuse(http.StatusBadRequest, "The body broke off, or took too long.")
	case len(body) > maxRequest:
		return "", refuse(http.StatusRequestEntityTooLarge, "A request has at most %d bytes.", maxRequest)
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(request); err != nil {
		return "", refuse(http.StatusBadRequest, "The body can't be read: %s.", jobs.Cut(strings.TrimPrefix(err.Error(), "json: "), 200))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return "", refuse(http.StatusBadRequest, "The body can't be read: something follows the JSON object.")
	}
	return key, nil
}

func idempotencyKey(h http.Header) (string, error) {
	keys := h.Values("Idempotency-Key")
	if len(keys) == 0 {
		return "", nil
	}
	key := keys[0]
	if len(keys) > 1 || key == "" || len(key) > maxKey || strings.ContainsFunc(key, func(c rune) bool { return c < ' ' || c > '~' }) {
		return "", refuse(http.StatusBadRequest, "Idempotency-Key is one text of 1 to %d printable ASCII characters.", maxKey)
	}
	return key, nil
}
