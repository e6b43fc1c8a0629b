package web

import (
	"bytes"
	"cmp"
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

// Submissions is what the API needs to take requests for runs.
type Submissions struct {
	Tokens   jobs.Set[Token]
	Requests jobs.Set[RequestRecord] // by run ID
	Accept   jobs.Acceptor
	// Match reports whether a name passes a list of patterns in GitHub's dialect, and which of them decided.
	Match     func(patterns []string, name string) (ok bool, pattern string)
	URL       func(run string) string // where people see a run
	Callbacks CallbackClient
}

// A CallbackClient sends requests to addresses that others chose, and refuses those inside our own network.
type CallbackClient interface {
	// Check says what is wrong with the text of an address, as a *jobs.Refusal. It looks nothing up.
	Check(address string) error
	// Do sends a request. What may not be reached is a *jobs.Refusal.
	Do(r *http.Request) (*http.Response, error)
}

const (
	maxRequest = 64 << 10 // bytes of a request's body
	maxKey     = 200      // bytes of an idempotency key

	// keyLife is how long after its first use a key is answered with the same run. Decisions are kept for a day longer, so that a
	// key never starts a second run.
	keyLife = 34 * 24 * time.Hour

	// A token may ask for askBurst runs at once, then for one more every askEvery.
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

// CallbackDestination is where the run's end is to be posted.
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

// request is what the leader is asked to plan, and the kind that a token needs for it. by is who asks.
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

// A runSubmission is the body of a request for a run, and what was made of it.
type runSubmission struct {
	body    RunRequest
	request jobs.Request // what body asks for, checked; its By is who asks, such as "token nightly"
	kind    string       // what a token must be allowed for this, one of the May constants
	key     string       // asked for again with the same key, it is the same run; "" when it is a new one every time
	token   *Token       // nil for the operator
}

// submission checks the body of a request. by is who asks.
func submission(body RunRequest, by, key string, token *Token) (runSubmission, error) {
	request, kind := body.request(by)
	return runSubmission{body, request, kind, key, token}, refused(request.Check())
}

// accept stores a request, so that the leader carries it out. When it returns without an error the request is on disk. repeated
// means that it was asked for before, with the same key.
func (s *Server) accept(ctx context.Context, r runSubmission) (accepted RunAccepted, repeated bool, err error) {
	q := r.request
	record := RequestRecord{By: q.By, What: q.What, Repository: q.Repository, Created: s.o.Now().UTC()}
	asker := "operator"
	if r.token != nil {
		record.Token, asker, q.Scope = r.token.ID, "token "+r.token.ID, r.token.scope()
	}
	if to := r.body.Callback; to != nil {
		if r.token == nil {
			return accepted, false, refuse(http.StatusBadRequest, "A callback takes a request with a token, whose secret signs it.")
		}
		if err := s.o.Submissions.Callbacks.Check(to.URL); err != nil {
			return accepted, false, refused(err)
		}
		record.Callback = newCallback(to.URL)
	}
	if record.Digest, err = digestOf(r.body); err != nil {
		return accepted, false, err
	}
	record.GUID = jobs.RequestGUID(asker, cmp.Or(r.key, rand.Text()))
	id := jobs.RunID(record.GUID)
	// The record comes first: what it says of the key must stand before anything can start.
	_, err = s.o.Submissions.Requests.Create(ctx, id, record)
	if repeated = errors.Is(err, jobs.ErrExists); repeated {
		var known RequestRecord
		known, _, err = s.o.Submissions.Requests.Get(ctx, id)
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
	s.o.Log.InfoContext(ctx, "a run was asked for", "run", id, "by", q.By, "repository", q.Repository, "repeated", repeated)
	self := "/api/v1/runs/" + id
	return RunAccepted{
		ID: id, State: StateAccepted, URL: s.o.Submissions.URL(id), Links: map[string]string{"self": self, "wait": self + "?wait=60s"},
	}, repeated, nil
}

// deliver stores the request's delivery. It also does so for a repeated request that nothing was decided about: the first time, the
// server may have stopped after storing the record.
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
	if _, err := s.o.Submissions.Accept.Accept(ctx, d); err != nil {
		return fmt.Errorf("store the delivery %s: %w", guid, err)
	}
	return nil
}

// digestOf is the same for requests that differ only in white space or in the order of fields.
func digestOf(r RunRequest) (string, error) {
	data, err := json.Marshal(r)
	if err != nil {
		return "", fmt.Errorf("digest a request: %w", err)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:16]), nil
}

// refused turns another package's refusal into an answer for whoever asked. Other errors, and nil, stay as they are.
func refused(err error) error {
	if r := (*jobs.Refusal)(nil); errors.As(err, &r) {
		return refuse(http.StatusBadRequest, "%s", r.Sentence)
	}
	return err
}

// Where runs are asked for by POST.
const (
	createRunPath         = "/api/v1/runs"     // on the pages' listener, with a token
	createOperatorRunPath = "/api/v1/requests" // on the admin socket
)

// acceptsPost reports whether a path answers POST. Nothing else changes anything.
func (s *Server) acceptsPost(path string, browsers bool) bool {
	return s.o.Submissions != nil && (browsers && path == createRunPath || !browsers && path == createOperatorRunPath)
}

// createRun answers POST /api/v1/runs.
func (a api) createRun(c echo.Context) error {
	token, err := a.bearer(c)
	switch {
	case err != nil:
		return err
	case token == nil:
		return unauthorized(c, "Starting something takes a token: `slipway token create` makes one. Send it as Authorization: Bearer.")
	}
	if wait := a.asks.take(token.ID, a.o.Now()); wait > 0 {
		return tooMany(c, wait, "The token %s asks for more than %d runs a minute.", token.Name, time.Minute/askEvery)
	}
	var body RunRequest
	key, err := readRequest(c, &body)
	if err != nil {
		return err
	}
	r, err := submission(body, "token "+token.Name, key, token)
	if err != nil {
		return err
	}
	if err := a.may(*token, r.kind, body.Repository); err != nil {
		return err
	}
	if command := body.Command; command != nil && len(token.Commands) > 0 && !slices.Contains(token.Commands, command.Name) {
		return refuse(http.StatusForbidden, "The token %s is not for the command %s, but for %s.", token.Name, command.Name, strings.Join(token.Commands, ", "))
	}
	return a.answer(c, r)
}

// OperatorRequest is the body of POST /api/v1/requests on the admin socket.
type OperatorRequest struct {
	RunRequest
	By string `json:"by"` // who runs the command, as far as the machine knows
}

// createOperatorRun answers POST /api/v1/requests: who may open the socket needs no token.
func (a api) createOperatorRun(c echo.Context) error {
	var body OperatorRequest
	key, err := readRequest(c, &body)
	if err != nil {
		return err
	}
	r, err := submission(body.RunRequest, "operator "+jobs.Cut(body.By, 100), key, nil)
	if err != nil {
		return err
	}
	return a.answer(c, r)
}

func (a api) answer(c echo.Context, r runSubmission) error {
	accepted, repeated, err := a.accept(c.Request().Context(), r)
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
	// Nobody is waited for who sends it a byte at a time. A connection that has no deadlines is a test's.
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
