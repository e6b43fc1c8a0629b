package githubapp

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Call is one exchange with GitHub, for whoever counts them.
type Call struct {
	Operation string // GitHub's name, such as checks/create
	Status    int    // HTTP status; 0 when there was no answer, or the call was not made because of a limit
	Limited   bool   // not made because of a limit, or answered with one
	Took      time.Duration
}

const (
	callTimeout  = 30 * time.Second
	maxAnswer    = 32 << 20 // bytes of an answer that is read as JSON
	maxErrorBody = 64 << 10 // bytes of an error's body that are looked at
)

type operationKey struct{}

// operation names what is asked, as GitHub's OpenAPI description does, for errors and metrics.
func operation(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, operationKey{}, name)
}

func operationOf(req *http.Request) string {
	if name, ok := req.Context().Value(operationKey{}).(string); ok {
		return name
	}
	return req.Method
}

// A limiter is the RoundTripper that every request to the API passes. It keeps to the installation's budget, turns
// limits and server errors into typed errors, and bounds answers.
type limiter struct {
	next    http.RoundTripper
	budget  *budget
	now     func() time.Time
	observe func(Call)
}

func (l *limiter) RoundTrip(req *http.Request) (*http.Response, error) {
	call := Call{Operation: operationOf(req)}
	wants := demandOf(req)
	leave, err := l.budget.enter(req.Context(), wants)
	if err != nil {
		closeBody(req)
		if req.Context().Err() == nil {
			call.Limited = true
			l.observe(call)
		}
		return nil, err
	}
	began := l.now()
	resp, err := errandOf(req).carry(req, l.next)
	leave()
	call.Took = l.now().Sub(began)
	if resp != nil {
		call.Status = resp.StatusCode
	}
	resp, err = l.judge(call.Operation, wants, resp, err)
	if err != nil {
		var down *Unavailable
		call.Limited = !errors.As(err, &down) && !errors.Is(err, context.Canceled)
	}
	l.observe(call)
	return resp, err
}

func (l *limiter) judge(operation string, wants demand, resp *http.Response, err error) (*http.Response, error) {
	if err != nil {
		if errors.Is(err, context.Canceled) {
			return nil, err
		}
		return nil, &Unavailable{Operation: operation, After: l.budget.failed(), Cause: bare(err)}
	}
	if said, ok := quotaOf(resp.Header); ok {
		l.budget.counted(said)
	}
	switch {
	case resp.StatusCode >= 500:
		drop(resp)
		after := l.budget.failed()
		if at, ok := retryAfter(resp.Header, l.now()); ok {
			after = min(max(after, at.Sub(l.now())), limitMost)
		}
		return nil, &Unavailable{Operation: operation, Status: resp.StatusCode, After: after}
	case resp.StatusCode == http.StatusForbidden || resp.StatusCode == http.StatusTooManyRequests:
		body, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
		drop(resp)
		if err != nil {
			return nil, &Unavailable{Operation: operation, After: l.budget.failed(), Cause: bare(err)}
		}
		if limit, ok := classify(resp.StatusCode, resp.Header, body, l.now()); ok {
			return nil, l.budget.limited(limit, wants)
		}
		resp.Body = io.NopCloser(bytes.NewReader(body))
		l.budget.answered()
	default:
		l.budget.answered()
		if strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") { // archives have limits of their own
			resp.Body = &bounded{resp.Body, maxAnswer}
		}
	}
	// go-github would remember these and refuse calls by itself, by its own clock and with errors of its own.
	for _, name := range []string{"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"} {
		resp.Header.Del(name)
	}
	return resp, nil
}

// drop reads what little is left of a body, so that the connection can be used again, and closes it.
func drop(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, maxErrorBody)
	resp.Body.Close()
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		req.Body.Close()
	}
}

// bounded fails when more is read than is left.
type bounded struct {
	io.ReadCloser
	left int64
}

var errTooLong = errors.New("the answer is longer than it may be")

func (b *bounded) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, errTooLong
	}
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return n, errTooLong
	}
	return n, err
}

// An authorizer adds the installation's token, to requests for the API's own host only: a redirect elsewhere goes
// without it.
type authorizer struct {
	next   http.RoundTripper
	api    *url.URL
	tokens *tokenSource
}

func (a *authorizer) RoundTrip(req *http.Request) (*http.Response, error) {
	if !sameOrigin(req.URL, a.api) {
		closeBody(req)
		return nil, errors.New("the answer points to another host")
	}
	token, err := a.tokens.token(req.Context())
	if err != nil {
		closeBody(req)
		return nil, err
	}
	resp, err := a.next.RoundTrip(authorized(req, token))
	if err != nil || resp.StatusCode != http.StatusUnauthorized || (req.Body != nil && req.GetBody == nil) {
		return resp, err
	}
	// The token was revoked, or expired by GitHub's clock: once more with a new one.
	drop(resp)
	a.tokens.forget(token)
	if token, err = a.tokens.token(req.Context()); err != nil {
		return nil, err
	}
	again := authorized(req, token)
	if req.GetBody != nil {
		if again.Body, err = req.GetBody(); err != nil {
			return nil, err
		}
	}
	return a.next.RoundTrip(again)
}

func authorized(req *http.Request, token string) *http.Request {
	copied := req.Clone(req.Context())
	copied.Header.Set("Authorization", "Bearer "+token)
	return copied
}

func sameOrigin(a, b *url.URL) bool { return a.Scheme == b.Scheme && a.Host == b.Host }
