package web

import (
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"

	"github.com/slipway-ci/slipway/jobs"
)

// The JSON API. openapi.yaml describes it. Errors are Problems. Runs are asked for by POST, all else is GET:
//
//	POST /api/v1/runs               RunRequest, answered by RunAccepted
//	POST /api/v1/requests           OperatorRequest, answered by RunAccepted; on the admin socket, instead of the above
//	/api/v1/                        the addresses below
//	/api/v1/openapi.json            openapi.yaml
//	/api/v1/runs                    RunList     ?repository=owner/name &state=active &before=N
//	/api/v1/runs/ID                 RunStatus   ?wait=60s: answered when the run is over, or after that time
//	/api/v1/runs/ID/jobs/JOB/log    text        ?attempt=N, the newest by default
//	                                            &follow=true: goes on until the job ends
//	                                            &tail=N: the last N lines, and with follow what comes then
//	                                            &raw=true: escape sequences as the job printed them
//	                                text/event-stream when asked for by Accept; see LogEvent. &from=N starts at line N, &tail=N
//	                                            as above
//	/api/v1/deliveries              DeliveryList  ?repository=owner/name &outcome=nothing &before=NEXT
//	/api/v1/deliveries/GUID         Delivery
//	/api/v1/github                  GitHubState
//	/api/v1/observed                Observed    ?since=2026-11-23T12:00:00Z, a week ago by default &repository=owner/name
type api struct {
	*Server
	operator bool // also tell what is meant for operators
}

const apiLogPath = "/api/v1/runs/:id/jobs/:job/log"

func (a api) mount(e *echo.Echo) {
	get(e, "/api/v1/", a.index)
	get(e, "/api/v1/openapi.json", a.openAPI)
	get(e, "/api/v1/runs", a.runList)
	get(e, apiRunPath, a.run)
	get(e, apiLogPath, a.ofRun(a.log))
	get(e, "/api/v1/deliveries", a.deliveryList)
	get(e, "/api/v1/deliveries/:guid", a.oneDelivery)
	get(e, "/api/v1/github", a.github)
	get(e, "/api/v1/observed", a.observed)
	if a.operator {
		e.POST(createOperatorRunPath, a.createOperatorRun)
	} else {
		e.POST(createRunPath, a.createRun)
	}
}

func (a api) index(c echo.Context) error {
	return c.JSON(http.StatusOK, map[string]string{
		"version":    a.o.Version,
		"openapi":    "/api/v1/openapi.json",
		"runs":       "/api/v1/runs{?repository,state,before}",
		"run":        "/api/v1/runs/{id}{?wait}",
		"log":        "/api/v1/runs/{id}/jobs/{job}/log{?attempt,follow,tail,raw,from}",
		"deliveries": "/api/v1/deliveries{?repository,outcome,before}",
		"delivery":   "/api/v1/deliveries/{guid}",
		"github":     "/api/v1/github",
		"observed":   "/api/v1/observed{?since,repository}",
	})
}

func (a api) runList(c echo.Context) error {
	q, err := readRunQuery(c)
	if err != nil {
		return err
	}
	if err := a.mayRead(c, q.Repository); err != nil {
		return err
	}
	list, err := a.runs(c.Request().Context(), q)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, list)
}

func (a api) deliveryList(c echo.Context) error {
	q, err := readDeliveryQuery(c)
	if err != nil {
		return err
	}
	if err := a.mayRead(c, q.Repository); err != nil {
		return err
	}
	list, err := a.deliveries(c.Request().Context(), q)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, list)
}

func (a api) oneDelivery(c echo.Context) error {
	token, err := a.bearer(c)
	if err != nil {
		return err
	}
	d, err := a.delivery(c.Request().Context(), param(c, "guid"))
	if err != nil {
		return err
	}
	if token != nil {
		if err := a.may(*token, MayRead, d.Repository); err != nil {
			return err
		}
	}
	return c.JSON(http.StatusOK, d)
}

// runStates and outcomes are what lists can be filtered by, in the order the pages offer them.
var (
	runStates = []jobs.RunState{jobs.RunActive, jobs.RunSucceeded, jobs.RunFailed, jobs.RunCancelled, jobs.RunHeld, jobs.RunWaits, jobs.RunNothing}
	outcomes  = []jobs.Outcome{
		jobs.OutcomeRun, jobs.OutcomeHeld, jobs.OutcomeFault, jobs.OutcomeActed, jobs.OutcomeRefused, jobs.OutcomeNoted, jobs.OutcomeNothing, jobs.OutcomeObserve, jobs.OutcomeIgnored,
	}
)

func readRunQuery(c echo.Context) (runQuery, error) {
	q := runQuery{Repository: c.QueryParam("repository")}
	var err error
	if q.Before, err = number(c, "before"); err != nil {
		return q, err
	}
	if err := checkRepository(q.Repository); err != nil {
		return q, err
	}
	q.State, err = oneOf(c, "state", runStates)
	return q, err
}

func readDeliveryQuery(c echo.Context) (deliveryQuery, error) {
	q := deliveryQuery{Repository: c.QueryParam("repository"), Before: c.QueryParam("before")}
	if len(q.Before) > 500 {
		return q, refuse(http.StatusBadRequest, "before is what an earlier answer named as next.")
	}
	if err := checkRepository(q.Repository); err != nil {
		return q, err
	}
	var err error
	q.Outcome, err = oneOf(c, "outcome", outcomes)
	return q, err
}

func oneOf[T ~string](c echo.Context, name string, known []T) (T, error) {
	v := T(c.QueryParam(name))
	if v == "" {
		return v, nil
	}
	for _, k := range known {
		if v == k {
			return v, nil
		}
	}
	return "", refuse(http.StatusBadRequest, "%s is one of %v.", name, known)
}

func number(c echo.Context, name string) (uint64, error) {
	text := c.QueryParam(name)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, refuse(http.StatusBadRequest, "%s is a number.", name)
	}
	return n, nil
}

// checkRepository keeps what can't be a repository's name from the stores.
func checkRepository(name string) error {
	if len(name) > 140 {
		return refuse(http.StatusBadRequest, "repository is a name such as owner/name.")
	}
	return nil
}
