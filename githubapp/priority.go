package githubapp

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

// A priority says who goes first when an installation may not ask all it wants to at once.
type priority int

const (
	priorityFinal    priority = iota // how something ended; goes on until GitHub has nothing left
	priorityNew                      // that something began, and what deciding needs to know
	priorityProgress                 // how something under way stands
	priorityAside                    // comments, reactions, and what may as well be said later
	priorities                       // how many there are
)

// A priorityShare is what a priority gets.
type priorityShare struct {
	// reserve is the share of the hour's calls, in percent, that is left to those before.
	reserve int
	// floor is the share of each secondary limit, in percent, that is left to those before.
	floor int
	// grace is how much longer it waits when one of GitHub's limits is over, so that those before have said theirs.
	grace time.Duration
}

var priorityShares = [priorities]priorityShare{
	priorityFinal:    {},
	priorityNew:      {reserve: 2, floor: 10, grace: time.Second},
	priorityProgress: {reserve: 10, floor: 50, grace: 5 * time.Second},
	priorityAside:    {reserve: 20, floor: 60, grace: 10 * time.Second},
}

type (
	priorityKey struct{}
	subjectKey  struct{}
)

// urgency says how much calls matter, and what they are about: a name by which one that is held back is known again.
func urgency(ctx context.Context, p priority, subject string) context.Context {
	return context.WithValue(context.WithValue(ctx, priorityKey{}, p), subjectKey{}, subject)
}

// asking names what is asked, and how much it matters.
func asking(ctx context.Context, p priority, name string) context.Context {
	return context.WithValue(operation(ctx, name), priorityKey{}, p)
}

// A demand is a call that wants to be made.
type demand struct {
	priority priority
	write    bool   // takes five points, and only one is under way at a time
	content  bool   // counts as creating content
	reads    int    // calls that come before it, when it is asked whether there is room
	subject  string // what it is about
}

// demandOf reads a request.
//
// GitHub does not list what counts as creating content. Its description marks what notifies people; here every POST of an
// installation counts, for checks, deployments, statuses, comments and reactions alike, and every change of a comment.
// A change of a check (PATCH) creates nothing and notifies nobody, so it is a write of five points only: otherwise the
// end of a check would wait for the hour in which many began.
func demandOf(req *http.Request) demand {
	d := demand{
		priority: priorityNew,
		write:    req.Method != http.MethodGet && req.Method != http.MethodHead,
		content:  req.Method == http.MethodPost,
		subject:  req.Method + " " + req.URL.Path,
	}
	name := operationOf(req)
	if d.write && strings.HasSuffix(name, "-comment") {
		d.content = true
	}
	if name == opCancel { // it ends something, and must not wait for the hour in which much began
		d.content = false
	}
	if p, ok := req.Context().Value(priorityKey{}).(priority); ok {
		d.priority = p
	} else if strings.HasPrefix(name, "reactions/") || strings.HasPrefix(name, "issues/") || strings.Contains(name, "-commit-comment") {
		d.priority = priorityAside
	}
	if subject, ok := req.Context().Value(subjectKey{}).(string); ok {
		d.subject = subject
	}
	return d
}

// checkDemand is that of showing a check: done or not, known to GitHub or not.
func checkDemand(done, known bool, subject string) demand {
	d := demand{priority: priorityNew, write: true, content: !known, subject: subject}
	switch {
	case done:
		d.priority = priorityFinal
	case known:
		d.priority = priorityProgress
	}
	return d
}

// heldBack says whether a call would have to wait.
func (a *App) heldBack(run jobs.RunInfo, d demand) *jobs.Later {
	c, err := a.client(run.Installation, run.Repository)
	if err != nil {
		return nil // the call itself will say
	}
	var later *jobs.Later
	errors.As(c.budget.open(d), &later)
	return later
}
