package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/slipway-ci/slipway/jobs"
)

// The states of a request for which there is no run, or none yet.
const (
	StateAccepted jobs.RunState = "accepted" // stored; not decided about yet
	StateRefused  jobs.RunState = "refused"  // there will be no run, and Sentence says why
)

const (
	maxWait       = time.Minute
	maxTokenWaits = 16              // answers that one token waits for at once
	waitAgain     = 5 * time.Second // when it waits for as many already
)

// waits counts the requests that wait for answers of the API, so that machines leave room for people's live pages.
type waits struct {
	mu  sync.Mutex
	all int
	by  map[string]int // token
}

// wait counts a request as waiting until leave is called, or refuses it when too many wait. The operator's are not counted.
func (a api) wait(c echo.Context, token *Token) (leave func(), err error) {
	if a.operator {
		return func() {}, nil
	}
	id, w := "", &a.waits
	if token != nil {
		id = token.ID
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case id != "" && w.by[id] >= maxTokenWaits:
		return nil, tooMany(c, waitAgain, "The token %s waits for %d answers already. Let one end, or ask without waiting.", token.Name, maxTokenWaits)
	case w.all >= max(a.o.MaxStreams/2, 1):
		return nil, refuse(http.StatusServiceUnavailable, "Too many requests wait for their answers (%d). Try again in a moment, or ask without waiting.", w.all)
	}
	if w.by == nil {
		w.by = map[string]int{}
	}
	w.all++
	w.by[id]++
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.all--
		if w.by[id]--; w.by[id] == 0 {
			delete(w.by, id)
		}
	}, nil
}

const apiRunPath = "/api/v1/runs/:id"

// RunStatus is the answer of /api/v1/runs/ID: the run, and what matters to a machine that waits for it.
type RunStatus struct {
	Run
	Over bool `json:"over"` // nothing will change any more
	// Conclusion is set when it is over: success, failure, cancelled, action_required (somebody must approve), neutral (nothing was
	// to be done), refused.
	Conclusion string `json:"conclusion,omitempty"`
	// Request is set when the run was asked for by the API or on the server's command line.
	Request *RequestState `json:"request,omitempty"`
}

// RequestState is what was asked for, and how its callback goes.
type RequestState struct {
	By       string    `json:"by"` // such as "token nightly"
	What     string    `json:"what"`
	Created  time.Time `json:"created"`
	Delivery string    `json:"delivery"` // GUID: /api/v1/deliveries/GUID has the decision

	Callback *CallbackState `json:"callback,omitempty"`
}

// conclusions say how a run ended in the words that GitHub uses for checks.
var conclusions = map[jobs.RunState]string{
	jobs.RunSucceeded: "success", jobs.RunFailed: "failure", jobs.RunCancelled: "cancelled", jobs.RunHeld: "action_required",
	jobs.RunWaits: "action_required", jobs.RunNothing: "neutral", StateRefused: "refused",
}

// status is where a run stands, or the request for it.
func (s *Server) status(ctx context.Context, id string, operator bool) (status RunStatus, record RequestRecord, err error) {
	known := false
	if s.o.Submissions != nil && validKey(id) {
		record, _, err = s.o.Submissions.Requests.Get(ctx, id)
		if err != nil && !errors.Is(err, jobs.ErrNotFound) {
			return status, record, fmt.Errorf("look up the request %s: %w", id, err)
		}
		known = err == nil
	}
	status.Run, err = s.wholeRun(ctx, id, operator)
	if known && errors.Is(err, jobs.ErrNotFound) {
		status.Run, err = s.beforeRun(ctx, id, record)
	}
	if err != nil {
		return status, record, err
	}
	status.Over = status.State.Over() && status.State != StateAccepted
	if status.Over {
		status.Conclusion = conclusions[status.State]
	}
	if known {
		status.Request = &RequestState{By: record.By, What: record.What, Created: record.Created, Delivery: record.GUID}
		if record.Callback != nil {
			status.Request.Callback = &record.Callback.CallbackState
		}
	}
	return status, record, nil
}

// beforeRun shows a request for which there is no run, or none yet, in the shape of a run.
func (s *Server) beforeRun(ctx context.Context, id string, record RequestRecord) (Run, error) {
	run := Run{
		ID: id, Repository: record.Repository, Delivery: record.GUID, Event: string(jobs.EventRequest), Created: record.Created,
		State: StateAccepted, Sentence: "Accepted; to be decided about.", Jobs: []Job{},
	}
	decision, err := s.decision(ctx, record.GUID)
	switch {
	case err != nil:
		return run, err
	case decision == nil:
	case decision.Run.ID != "":
		run.Sentence = "Decided; the run is about to begin."
	default:
		run.State, run.Outcome, run.Sentence, run.Reason = StateRefused, decision.Outcome, decision.Reason, decision.Reason
		run.Finished = decision.Time
	}
	return run, nil
}

// isOver reports whether a run exists, and whether it, or the request for it, is over; it reads less than status.
func (s *Server) isOver(ctx context.Context, id string) (found, over bool, err error) {
	run, _, err := s.findRun(ctx, id)
	if err == nil {
		return true, run.State.Over(), nil
	}
	if !errors.Is(err, jobs.ErrNotFound) {
		return false, false, err
	}
	status, _, err := s.status(ctx, id, false)
	return false, status.Over, err
}

func (a api) run(c echo.Context) error {
	ctx, id := c.Request().Context(), param(c, "id")
	wait, err := waitTime(c)
	if err != nil {
		return err
	}
	token, err := a.bearer(c)
	if err != nil {
		return err
	}
	status, record, err := a.status(ctx, id, a.operator)
	if err != nil {
		return err
	}
	if token != nil {
		if err := a.mayReadRun(*token, record, status.Repository); err != nil {
			return err
		}
	}
	if wait == 0 || status.Over || c.Request().Method == http.MethodHead {
		return c.JSON(http.StatusOK, status)
	}
	leave, err := a.wait(c, token)
	if err != nil {
		return err
	}
	defer leave()
	return a.longLived(c, func(ctx context.Context) error {
		waiting, cancel := context.WithTimeout(ctx, wait)
		defer cancel()
		if err := a.awaitEnd(waiting, id); err != nil && waiting.Err() == nil {
			return err
		}
		ctx = c.Request().Context()
		if status, _, err = a.status(ctx, id, a.operator); err != nil {
			return err
		}
		a.bound(c.Response()) // the time for the answer begins now
		return c.JSON(http.StatusOK, status)
	})
}

// awaitEnd returns when a run is over, when it is sure that there will be none, or with an error, such as the context's.
func (s *Server) awaitEnd(ctx context.Context, id string) error {
	wake, leave := s.hub.subscribe(id)
	defer leave()
	for {
		found, over, err := s.isOver(ctx, id)
		if err != nil || over {
			return err
		}
		again := s.pace.sweep
		if !found {
			again = s.pace.settle // no watch tells of a refusal
		}
		timer := time.NewTimer(again)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// waitTime is how long the caller wants to wait, by the query's "wait".
func waitTime(c echo.Context) (time.Duration, error) {
	text := c.QueryParam("wait")
	if text == "" {
		return 0, nil
	}
	wait, err := time.ParseDuration(text)
	if err != nil || wait < 0 || wait > maxWait {
		return 0, refuse(http.StatusBadRequest, "wait is a time from 0s to %s, such as 30s.", maxWait)
	}
	return wait, nil
}
