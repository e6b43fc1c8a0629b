package githubapp

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// A limit says that GitHub wants no more calls for now.
type limit struct {
	secondary bool
	until     time.Time // zero when GitHub named no time: a secondary limit without Retry-After
}

// classify tells whether an answer is a rate limit, after GitHub's rules ("Rate limits for the REST API", section
// "Exceeding the rate limit"): 403 or 429; remaining at 0 means to wait for the reset; else Retry-After; else at least a
// minute. go-github v50 knows neither the 429 nor today's documentation address of the secondary limit.
func classify(status int, header http.Header, body []byte, now time.Time) (limit, bool) {
	if status != http.StatusForbidden && status != http.StatusTooManyRequests {
		return limit{}, false
	}
	retry, hasRetry := retryAfter(header, now)
	if header.Get("X-RateLimit-Remaining") == "0" {
		until := resetTime(header)
		if hasRetry && retry.After(until) {
			until = retry
		}
		return limit{until: until}, true
	}
	var said struct {
		Message string `json:"message"`
		URL     string `json:"documentation_url"`
	}
	_ = json.Unmarshal(body, &said) // a body that is no JSON says nothing
	message := strings.ToLower(said.Message)
	switch {
	case hasRetry:
		return limit{secondary: true, until: retry}, true
	case strings.Contains(message, "secondary rate limit"), strings.Contains(message, "abuse detection"),
		strings.Contains(said.URL, "secondary-rate-limits"), strings.Contains(said.URL, "abuse-rate-limits"):
		return limit{secondary: true}, true
	case status == http.StatusTooManyRequests:
		return limit{secondary: true}, true
	case strings.Contains(message, "rate limit exceeded"):
		return limit{until: resetTime(header)}, true
	}
	return limit{}, false
}

// exhausted tells whether a good answer was the last one before the reset.
func exhausted(header http.Header) (until time.Time, ok bool) {
	resource := header.Get("X-RateLimit-Resource")
	if header.Get("X-RateLimit-Remaining") != "0" || (resource != "" && resource != "core") {
		return time.Time{}, false
	}
	until = resetTime(header)
	return until, !until.IsZero()
}

func resetTime(header http.Header) time.Time {
	seconds, err := strconv.ParseInt(header.Get("X-RateLimit-Reset"), 10, 64)
	if err != nil || seconds <= 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0)
}

// retryAfter reads the header in both of its forms (RFC 9110, section 10.2.3).
func retryAfter(header http.Header, now time.Time) (time.Time, bool) {
	text := header.Get("Retry-After")
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return now.Add(time.Duration(seconds) * time.Second), true
	}
	if at, err := http.ParseTime(text); err == nil {
		return at, true
	}
	return time.Time{}, false
}
