package githubtest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

type object = map[string]any

// maxRequestBody bounds what the API reads; GitHub's own bound is in the same region.
const maxRequestBody = 10 << 20

// call is one API request on its way through its handler.
type call struct {
	s      *Server
	r      *http.Request
	op     string
	params map[string]string
	query  url.Values
	body   []byte
	caller caller
	repo   *Repository // set when the path names one
}

// decode reads the JSON body; absent stays zero.
func (c *call) decode(into any) {
	if len(c.body) > 0 {
		_ = json.Unmarshal(c.body, into) // the contract check has refused what doesn't fit
	}
}

func (c *call) id(name string) int64 {
	id, _ := strconv.ParseInt(c.params[name], 10, 64)
	return id
}

// answer is what a handler says. body is sent as JSON unless raw is set.
type answer struct {
	status int
	header http.Header
	body   any
	raw    []byte
}

func ok(body any) answer { return answer{status: http.StatusOK, body: body, header: http.Header{}} }
func created(body any) answer {
	return answer{status: http.StatusCreated, body: body, header: http.Header{}}
}
func accepted() answer {
	return answer{status: http.StatusAccepted, body: object{}, header: http.Header{}}
}
func noContent() answer { return answer{status: http.StatusNoContent, header: http.Header{}} }

func refuse(status int, message string) answer {
	return answer{status: status, header: http.Header{}, body: object{"message": message, "documentation_url": "https://docs.github.com/rest", "status": strconv.Itoa(status)}}
}

func notFound() answer { return refuse(http.StatusNotFound, "Not Found") }

// invalid is GitHub's 422 with one entry of errors[].
func invalid(resource, field, code, message string) answer {
	a := refuse(http.StatusUnprocessableEntity, "Validation Failed")
	entry := object{"resource": resource, "code": code}
	if field != "" {
		entry["field"] = field
	}
	if message != "" {
		entry["message"] = message
	}
	a.body.(object)["errors"] = []any{entry}
	return a
}

// operation says who may call a handler. permission is "name:level" for installation tokens, "jwt" for the App itself,
// "token" for any installation token, "" for everyone; a bar parts alternatives.
type operation struct {
	permission string
	handle     func(*call) answer
}

// serveAPI takes one request from authentication to the recorded answer.
func (s *Server) serveAPI(w http.ResponseWriter, r *http.Request, path string) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequestBody))
	if err != nil {
		s.record(Request{Method: r.Method, Path: path, Query: r.URL.RawQuery, Failed: "the body was cut off or has more than 10 MB"})
		hangUp(w)
		return
	}
	matched, params := s.contract.match(r.Method, path)
	entry := Request{Method: r.Method, Path: path, Query: r.URL.RawQuery}
	operationID := ""
	if matched != nil {
		operationID = matched.id
		entry.Operation = matched.id
		if matched.id != "apps/create-installation-access-token" && matched.id != "apps/update-webhook-config-for-app" {
			entry.Body = cut(string(body), 64<<10)
		}
	}

	s.mu.Lock()
	who, refusal := s.authenticate(r.Header.Get("Authorization"))
	entry.Installation, entry.App = who.ids()
	failure := s.failureFor(operationID, path, entry.Installation)
	limits := s.budgetFor(who.budgetKey())
	limits.running++
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		limits.running--
		s.mu.Unlock()
	}()

	var given answer
	switch {
	case failure != nil && failure.When == Before:
	case matched == nil:
		if s.contract.isAPI(path) || r.Method != http.MethodGet {
			s.mu.Lock()
			s.violated([]Violation{{"request", r.Method + " " + path, "", "GitHub's description, as kept here, has no such operation"}})
			s.mu.Unlock()
		}
		given = notFound()
	case refusal != nil:
		given = *refusal
	default:
		c := &call{s: s, r: r, op: matched.id, params: params, query: r.URL.Query(), body: body, caller: who}
		given = s.perform(c, matched, limits)
	}

	if failure != nil {
		entry.Failed = failure.String()
		substitute, answered := failure.answer(s.now())
		if !answered {
			s.record(entry)
			s.keepSilent(w, r, failure)
			return
		}
		given = substitute
	}
	s.send(w, r, matched, params, given, limits, entry)
}

// perform checks a request against the description, the budget and the caller's rights, and lets its handler answer.
func (s *Server) perform(c *call, matched *route, limits *budget) answer {
	violations := s.contract.checkRequest(c.r, matched, c.params, c.body)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.violated(violations)
	if limited, hit := s.charge(limits, c.op, c.r.Method); hit {
		return limited
	}
	handler, known := operations[c.op]
	if !known {
		s.violated([]Violation{{"request", c.op, "", "the stand-in GitHub doesn't know how to do this yet"}})
		return refuse(http.StatusNotImplemented, "not modelled")
	}
	if refusal := s.authorize(c, handler.permission); refusal != nil {
		return *refusal
	}
	if refusal := c.archivedRefusal(); refusal != nil {
		return *refusal
	}
	for _, violation := range violations {
		if !violation.undocumentedOnly() && waiverFor(violation) < 0 {
			return invalid(strings.SplitN(c.op, "/", 2)[0], violation.Pointer, "invalid", violation.Detail)
		}
	}
	return handler.handle(c)
}

// send writes the answer with the headers GitHub puts on all of them, after comparing it with the description. The journal
// has the request before the client has the answer, so that who has got an answer can count on it.
func (s *Server) send(w http.ResponseWriter, r *http.Request, matched *route, params map[string]string, given answer, limits *budget, entry Request) {
	body := given.raw
	header := w.Header()
	for name, values := range given.header {
		header[name] = values
	}
	if given.raw == nil && given.body != nil {
		encoded, err := encodeJSON(given.body)
		if err != nil {
			encoded = []byte(`{"message": "the answer can't be encoded"}`)
			given.status = http.StatusInternalServerError
			s.log.Error("encode an answer", "operation", entry.Operation, "error", err)
		}
		body = encoded
		header.Set("Content-Type", "application/json; charset=utf-8")
	}
	header.Set("X-GitHub-Media-Type", "github.v3; format=json")
	header.Set("X-GitHub-Api-Version-Selected", "2022-11-28")
	status := given.status

	s.mu.Lock()
	header.Set("X-GitHub-Request-Id", fmt.Sprintf("%04X:%06X", s.lastID&0xffff, len(s.requests)))
	header.Set("Date", s.now().Format(http.TimeFormat))
	if r.Method == http.MethodGet && status == http.StatusOK {
		// An ETag holds for one token only: after the hourly renewal every entry of a cache misses once.
		sum := sha256.Sum256(append([]byte(r.Header.Get("Authorization")+"\n"+r.Header.Get("Accept")+"\n"), body...))
		tag := `"` + hex.EncodeToString(sum[:]) + `"`
		header.Set("ETag", tag)
		header.Set("Cache-Control", "private, max-age=60, s-maxage=60")
		header.Set("Vary", "Accept, Authorization, Cookie, X-GitHub-OTP,Accept-Encoding, Accept, X-Requested-With")
		if match := r.Header.Get("If-None-Match"); match != "" && strings.TrimPrefix(match, "W/") == tag {
			status, body = http.StatusNotModified, nil
			limits.used = max(0, limits.used-1) // GitHub doesn't count it
		}
	}
	limits.headers(header)
	s.mu.Unlock()

	if matched != nil && !strings.HasPrefix(header.Get("Content-Type"), "text/html") {
		if found := s.contract.checkResponse(r, matched, params, status, header, body); len(found) > 0 {
			s.mu.Lock()
			s.violated(found)
			s.mu.Unlock()
		}
	}
	if status != http.StatusNoContent && status != http.StatusNotModified {
		header.Set("Content-Length", strconv.Itoa(len(body)))
	}
	entry.Status = status
	s.record(entry)
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// keepSilent gives no answer: at once for a lost one, after a long wait for a timeout.
func (s *Server) keepSilent(w http.ResponseWriter, r *http.Request, failure *Failure) {
	if failure.Kind == Timeout {
		longest := failure.RetryAfter
		if longest == 0 {
			longest = time.Minute
		}
		timer := time.NewTimer(longest)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
		}
	}
	hangUp(w)
}

func encodeJSON(value any) ([]byte, error) {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return nil, fmt.Errorf("encode an answer: %w", err)
	}
	return bytes.TrimSuffix(buffer.Bytes(), []byte("\n")), nil
}

// page cuts one page out of a list as ?page and ?per_page (30, at most 100) ask, and gives the answer its Link header.
// wrap puts the page into the answer's body.
func page[T any](c *call, all []T, wrap func([]T) any) answer { return pageBy(c, 30, 100, all, wrap) }

// pageBy is page with other sizes: what a page has when nothing is asked for, and at most.
func pageBy[T any](c *call, standard, most int, all []T, wrap func([]T) any) answer {
	size := min(max(number(c.query.Get("per_page"), standard), 1), most)
	current := max(number(c.query.Get("page"), 1), 1)
	last := max(1, (len(all)+size-1)/size)
	from := min((current-1)*size, len(all))
	to := min(from+size, len(all))
	a := ok(wrap(append([]T{}, all[from:to]...)))
	var links []string
	link := func(rel string, page int) {
		query := c.r.URL.Query()
		query.Set("page", strconv.Itoa(page))
		target := strings.TrimSuffix(c.s.URL, "/") + c.r.URL.EscapedPath() + "?" + query.Encode()
		links = append(links, fmt.Sprintf("<%s>; rel=%q", target, rel))
	}
	if current > 1 {
		link("prev", min(current-1, last))
	}
	if current < last {
		link("next", current+1)
		link("last", last)
	}
	if current > 1 {
		link("first", 1)
	}
	if len(links) > 0 {
		a.header.Set("Link", strings.Join(links, ", "))
	}
	return a
}

func number(text string, otherwise int) int {
	if n, err := strconv.Atoi(text); err == nil {
		return n
	}
	return otherwise
}

// shapes turns a list of things into their JSON.
func shapes[T any](list []T, shape func(T) object) []object {
	out := make([]object, 0, len(list))
	for _, one := range list {
		out = append(out, shape(one))
	}
	return out
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// stampOrNil is null for a time that hasn't come yet.
func stampOrNil(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return stamp(t)
}

// orNil is null for an empty string.
func orNil(text string) any {
	if text == "" {
		return nil
	}
	return text
}
