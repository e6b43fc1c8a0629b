package web

import (
	"errors"
	"net/http"
	"net/url"

	"github.com/labstack/echo/v4"

	"github.com/slipway-ci/slipway/jobs"
)

type runsPage struct {
	RunList
	Query  runQuery
	States []jobs.RunState
	Held   []jobs.RateLimitState // by GitHub's limits
}

func (s *Server) listRuns(c echo.Context) error {
	q, err := readRunQuery(c)
	if err != nil {
		return err
	}
	list, err := s.runs(c.Request().Context(), q)
	if err != nil {
		return err
	}
	p := page{Title: "Runs", Nav: "runs", Body: runsPage{list, q, runStates, s.heldBack()}}
	if q.Before == 0 {
		p.Live, p.Refresh = "/live", 15
	}
	return s.render(c, http.StatusOK, "runs", p)
}

// toRuns is for whoever shortens a run's address.
func (s *Server) toRuns(c echo.Context) error {
	return c.Redirect(http.StatusMovedPermanently, (&url.URL{Path: "/", RawQuery: c.QueryString()}).String())
}

type runPage struct {
	Run      Run
	Delivery *Delivery        // with the decision; nil when it is no longer kept
	Graph    bool             // worth drawing
	Tails    map[string]*tail // of the logs of jobs that run, by the job's name
}

func (s *Server) showRun(c echo.Context) error {
	ctx := c.Request().Context()
	run, err := s.wholeRun(ctx, param(c, "id"), false)
	if err != nil {
		return notFound(err, "There is no run of this name, or it is no longer kept.")
	}
	body := runPage{Run: run, Graph: len(run.Jobs) > 1, Tails: s.tails(ctx, run)}
	if jobs.ValidGUID(run.Delivery) {
		decision, err := s.decision(ctx, run.Delivery)
		if err != nil {
			return err
		}
		if decision != nil {
			d := shapeDelivery(run.Delivery, nil, decision, true)
			d.Faults, d.Notes = nil, nil // the run has them, above
			body.Delivery = &d
		}
	}
	title := run.Title
	if title == "" {
		title = run.What
	}
	p := page{Title: stateOf(run.State).Word + ": " + title, Nav: "runs", Body: body}
	if !run.State.Over() {
		p.Live, p.Refresh = "/runs/"+url.PathEscape(run.ID)+"/live", 5
	}
	return s.render(c, http.StatusOK, "run", p)
}

// orDelivery answers for a request that has no run, or none yet, with its delivery's page: what was decided about it is there.
func (s *Server) orDelivery(show echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		err := show(c)
		theirs := (*refusal)(nil)
		missing := errors.As(err, &theirs) && theirs.status == http.StatusNotFound
		if id := param(c, "id"); missing && s.o.Submissions != nil && validKey(id) {
			if record, _, unknown := s.o.Submissions.Requests.Get(c.Request().Context(), id); unknown == nil {
				return c.Redirect(http.StatusSeeOther, "/deliveries/"+record.GUID)
			}
		}
		return err
	}
}

type logPage struct {
	Run     Run
	Job     Job
	Attempt int
	logTail
	Live string // address of the lines to come, "" when there are none
	Raw  string
}

func (s *Server) showLog(c echo.Context) error {
	run, job, key, err := s.logOf(c)
	if err != nil {
		return notFound(err, "There is no such run, or it is no longer kept.")
	}
	tail, err := s.readTail(c.Request().Context(), key, "", maxLogLines)
	if err != nil {
		return err
	}
	body := logPage{Run: s.shapeRun(run, 0), Attempt: key.Attempt, logTail: tail}
	for _, j := range body.Run.Jobs {
		if j.Name == job.Name {
			body.Job = j
		}
	}
	path := logPath(run.ID, job.Name, 0)
	attempt := logPath(run.ID, job.Name, key.Attempt)[len(path):]
	body.Raw = path + ".txt" + attempt
	p := page{Title: "Log of " + job.Name, Nav: "runs", Body: &body}
	if !tail.Ended && !logOver(&job, key) {
		body.Live, p.Refresh = path+"/live"+attempt, 5
	}
	return s.render(c, http.StatusOK, "log", p)
}

type deliveriesPage struct {
	DeliveryList
	Query    deliveryQuery
	Outcomes []jobs.Outcome
}

func (s *Server) listDeliveries(c echo.Context) error {
	q, err := readDeliveryQuery(c)
	if err != nil {
		return err
	}
	list, err := s.deliveries(c.Request().Context(), q)
	if err != nil {
		return err
	}
	return s.render(c, http.StatusOK, "deliveries", page{Title: "Deliveries", Nav: "deliveries", Body: deliveriesPage{list, q, outcomes}})
}

func (s *Server) showDelivery(c echo.Context) error {
	d, err := s.delivery(c.Request().Context(), param(c, "guid"))
	if err != nil {
		return notFound(err, "There is no such delivery, or it is no longer kept. GitHub shows what it sent under the App's settings, Advanced, Recent deliveries.")
	}
	p := page{Title: "Delivery " + d.GUID, Nav: "deliveries", Body: d}
	if d.Outcome == "" {
		p.Refresh = 5
	}
	return s.render(c, http.StatusOK, "delivery", p)
}

// notFound gives a missing record a sentence of its own.
func notFound(err error, detail string) error {
	if errors.Is(err, jobs.ErrNotFound) {
		return refuse(http.StatusNotFound, "%s", detail)
	}
	return err
}
