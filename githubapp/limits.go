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

// A quota is what an answer says about the hour's calls.
type quota struct {
	limit, remaining int
	reset            time.Time
}

// quotaOf reads what GitHub says with nearly every answer ("Rate limits for the REST API", section "Checking the status of
// your rate limit"). Other resources than core, such as search, have limits of their own.
func quotaOf(header http.Header) (quota, bool) {
	if resource := header.Get("X-RateLimit-Resource"); resource != "" && resource != "core" {
		return quota{}, false
	}
	limit, err := strconv.Atoi(header.Get("X-RateLimit-Limit"))
	if err != nil || limit <= 0 {
		return quota{}, false
	}
	remaining, err := strconv.Atoi(header.Get("X-RateLimit-Remaining"))
	if err != nil || remaining < 0 {
		return quota{}, false
	}
	reset := resetTime(header)
	if reset.IsZero() {
		return quota{}, false
	}
	return quota{limit, remaining, reset}, true
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
