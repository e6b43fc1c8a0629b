package githubtest

import (
	"net/http"
	"strconv"
	"time"
)

// budget is what one installation (or an App speaking for itself) may still ask, as GitHub counts it.
type budget struct {
	limit, used int
	reset       time.Time

	running        int         // requests in flight
	points         []spent     // within the last minute
	contentCreated []time.Time // within the last hour
}

type spent struct {
	at     time.Time
	points int
}

// The secondary limits, from GitHub's page "Rate limits for the REST API".
const (
	maxConcurrent       = 100
	maxPointsPerMinute  = 900
	maxContentPerMinute = 80
	maxContentPerHour   = 500
)

// SetRateLimit changes the primary budget of one installation, in requests per hour, and starts its hour anew.
func (s *Server) SetRateLimit(installation *Installation, limit int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.budgets[installation.budgetKey()] = &budget{limit: limit, reset: s.now().Add(time.Hour)}
}

func (s *Server) budgetFor(key string) *budget {
	b := s.budgets[key]
	if b == nil {
		b = &budget{limit: s.options.RateLimit, reset: s.now().Add(time.Hour)}
		s.budgets[key] = b
	}
	if now := s.now(); !now.Before(b.reset) {
		b.used, b.reset = 0, now.Add(time.Hour)
	}
	return b
}

// charge counts a request and says what it hits, if anything. GET /rate_limit is free in the primary budget only.
func (s *Server) charge(b *budget, operation, method string) (answer, bool) {
	now := s.now()
	if s.options.SecondaryLimits {
		switch b.secondary(now, operation, method) {
		case tooFast:
			return secondaryLimited(s.options.SecondaryStatus, time.Minute), true
		case tooMuchContent:
			a := secondaryLimited(s.options.SecondaryStatus, time.Minute)
			a.body.(object)["message"] = "You have exceeded a secondary rate limit and have been temporarily blocked from content creation. Please retry your request again later. " + support
			return a, true
		}
	}
	if operation == "rate-limit/get" {
		return answer{}, false
	}
	if b.used >= b.limit {
		return primaryLimited(http.StatusForbidden), true
	}
	b.used++
	return answer{}, false
}

// excess says which secondary limit a request breaks.
type excess int

const (
	none excess = iota
	tooFast
	tooMuchContent
)

func (b *budget) secondary(now time.Time, operation, method string) excess {
	for len(b.points) > 0 && now.Sub(b.points[0].at) >= time.Minute {
		b.points = b.points[1:]
	}
	for len(b.contentCreated) > 0 && now.Sub(b.contentCreated[0]) >= time.Hour {
		b.contentCreated = b.contentCreated[1:]
	}
	sum := 0
	for _, p := range b.points {
		sum += p.points
	}
	points := 1
	if method != http.MethodGet {
		points = 5
	}
	if sum+points > maxPointsPerMinute || b.running > maxConcurrent {
		return tooFast
	}
	if createsContent(operation) {
		lastMinute := 0
		for _, at := range b.contentCreated {
			if now.Sub(at) < time.Minute {
				lastMinute++
			}
		}
		if lastMinute >= maxContentPerMinute || len(b.contentCreated) >= maxContentPerHour {
			return tooMuchContent
		}
		b.contentCreated = append(b.contentCreated, now)
	}
	b.points = append(b.points, spent{now, points})
	return none
}

// createsContent tells the operations that count as creating content. GitHub doesn't list them; these are the ones its
// description marks as notifying people, and those that change what such an operation made.
func createsContent(operation string) bool {
	switch operation {
	case "issues/create-comment", "issues/update-comment", "reactions/create-for-issue-comment",
		"repos/create-commit-comment", "repos/update-commit-comment", "reactions/create-for-commit-comment":
		return true
	}
	return false
}

func (b *budget) headers(header http.Header) {
	if header.Get("X-RateLimit-Limit") != "" {
		return // a failure on demand has set its own
	}
	header.Set("X-RateLimit-Limit", strconv.Itoa(b.limit))
	header.Set("X-RateLimit-Remaining", strconv.Itoa(max(0, b.limit-b.used)))
	header.Set("X-RateLimit-Used", strconv.Itoa(b.used))
	header.Set("X-RateLimit-Reset", strconv.FormatInt(b.reset.Unix(), 10))
	header.Set("X-RateLimit-Resource", "core")
}

func (b *budget) shape() object {
	return object{"limit": b.limit, "used": b.used, "remaining": max(0, b.limit-b.used), "reset": b.reset.Unix()}
}
