package githubtest

import (
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// When says whether a failing request still takes effect.
type When int

// The moments at which a request can fail.
const (
	Before When = iota // GitHub did nothing
	After              // GitHub did it, and then the answer went wrong
)

// FailureKind says how a request fails.
type FailureKind int

// The ways in which a request can fail.
const (
	Status         FailureKind = iota // Failure.Status is answered
	Timeout                           // no answer comes until the client gives up, at most Failure.RetryAfter (0: 60 s)
	LostAnswer                        // the connection is closed without an answer; Go's client then repeats a GET by itself
	PrimaryLimit                      // 403 (or Failure.Status), the budget is used up until Failure.RetryAfter from now
	SecondaryLimit                    // 403 (or Failure.Status) in today's wording, with Retry-After unless it is 0
)

// Failure is an order to fail requests. Filters left empty match everything.
type Failure struct {
	Operation    string // operationId such as "checks/create", or "git", "archive", or "storage" (logs and artifacts)
	Installation int64  // only requests with this installation's token
	Path         string // only requests to exactly this path

	Skip       int // let so many matching requests through first
	Times      int // how many requests fail; 0 means 1, negative all of them
	When       When
	Kind       FailureKind
	Status     int           // for Status: 500 when 0
	RetryAfter time.Duration // see the kinds
}

// Fail makes matching requests fail. Orders are tried in the order given; the first that matches and isn't used up counts.
func (s *Server) Fail(failure Failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if failure.Times == 0 {
		failure.Times = 1
	}
	s.failures = append(s.failures, &failure)
}

// ClearFailures withdraws all orders to fail.
func (s *Server) ClearFailures() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failures = nil
}

// failureFor finds the order that a request falls under and counts it.
func (s *Server) failureFor(operation, path string, installation int64) *Failure {
	for _, f := range s.failures {
		if f.Times == 0 || f.Operation != "" && f.Operation != operation || f.Path != "" && f.Path != path || f.Installation != 0 && f.Installation != installation {
			continue
		}
		if f.Skip > 0 {
			f.Skip--
			continue
		}
		if f.Times > 0 {
			f.Times--
		}
		return f
	}
	return nil
}

func (f *Failure) String() string {
	when := "before"
	if f.When == After {
		when = "after"
	}
	return [...]string{"status " + strconv.Itoa(f.status()), "timeout", "lost answer", "primary limit", "secondary limit"}[f.Kind] + " " + when + " taking effect"
}

func (f *Failure) status() int {
	switch {
	case f.Status != 0:
		return f.Status
	case f.Kind == Status:
		return http.StatusInternalServerError
	}
	return http.StatusForbidden
}

// answer is what the failing request gets; ok is false when it gets nothing at all.
func (f *Failure) answer(now time.Time) (a answer, ok bool) {
	switch f.Kind {
	case Timeout, LostAnswer:
		return answer{}, false
	case PrimaryLimit:
		a = primaryLimited(f.status())
		a.header.Set("X-RateLimit-Limit", "5000")
		a.header.Set("X-RateLimit-Remaining", "0")
		a.header.Set("X-RateLimit-Used", "5000")
		a.header.Set("X-RateLimit-Reset", strconv.FormatInt(now.Add(f.RetryAfter).Unix(), 10))
		return a, true
	case SecondaryLimit:
		return secondaryLimited(f.status(), f.RetryAfter), true
	}
	if f.status() >= 500 {
		// GitHub's front end answers with a page, not with JSON.
		return answer{status: f.status(), raw: []byte("<!DOCTYPE html><title>Unicorn! &middot; GitHub</title>\n"), header: http.Header{"Content-Type": {"text/html; charset=utf-8"}}}, true
	}
	return refuse(f.status(), http.StatusText(f.status())), true
}

// support ends GitHub's messages about limits.
const support = "If you reach out to GitHub Support for help, please include the request ID and timestamp."

func primaryLimited(status int) answer {
	a := refuse(status, "API rate limit exceeded for installation. "+support)
	a.body.(object)["documentation_url"] = "https://docs.github.com/rest/overview/rate-limits-for-the-rest-api"
	return a
}

func secondaryLimited(status int, after time.Duration) answer {
	a := refuse(status, "You have exceeded a secondary rate limit. Please wait a few minutes before you try again. "+support)
	a.body.(object)["documentation_url"] = "https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api#about-secondary-rate-limits"
	if after > 0 {
		a.header.Set("Retry-After", fmt.Sprint(int(after/time.Second)))
	}
	return a
}
