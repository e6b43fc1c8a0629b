package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/slipway-ci/slipway/jobs"
	"github.com/slipway-ci/slipway/outbound"
	"github.com/slipway-ci/slipway/pipeline"
	"github.com/slipway-ci/slipway/web"
)

// APIConfig is about what machines ask for by the API.
type APIConfig struct {
	Callbacks CallbacksConfig `yaml:"callbacks"`
}

// CallbacksConfig is where callbacks may go: to any public address by https, and to what is listed.
type CallbacksConfig struct {
	// Allow lists what may be reached although it lies inside this network, by http also: networks such as 10.1.0.0/16, addresses,
	// host names.
	Allow []string `yaml:"allow"`
}

func (a APIConfig) validate() error {
	if _, err := outbound.New(outbound.Options{Allow: a.Callbacks.Allow}); err != nil {
		return fmt.Errorf("api.callbacks.%w", err)
	}
	return nil
}

// callbacks sends callbacks, by the proxy and with the authorities of everything else.
func (c Config) callbacks() (*outbound.Client, error) {
	apply, err := c.Outgoing.apply()
	if err != nil {
		return nil, err
	}
	var usual http.Transport
	apply(&usual)
	client, err := outbound.New(outbound.Options{Allow: c.API.Callbacks.Allow, Proxy: usual.Proxy, TLS: usual.TLSClientConfig})
	if err != nil {
		return nil, fmt.Errorf("api.callbacks.%w", err)
	}
	return client, nil
}

// submissions is what the API needs to take requests for runs.
func (p parts) submissions() (*web.Submissions, error) {
	callbacks, err := p.c.callbacks()
	if err != nil {
		return nil, err
	}
	return &web.Submissions{
		Tokens: p.stores.tokens, Requests: p.stores.requests, Accept: p.stores.accept, Match: pipeline.MatchAny, URL: p.runURL, Callbacks: callbacks,
	}, nil
}

func (s *server) tokens() web.Tokens {
	return web.Tokens{Records: s.stores.tokens, Match: pipeline.MatchAny, Now: time.Now}
}

// answerError answers an error: a refusal to whoever asked, all else as trouble of ours.
func answerError(w http.ResponseWriter, err error) {
	var refusal *jobs.Refusal
	var gone *jobs.Gone
	switch {
	case errors.As(err, &refusal):
		problem(w, http.StatusBadRequest, refusal.Sentence)
	case errors.As(err, &gone):
		problem(w, http.StatusNotFound, gone.Reason)
	case errors.Is(err, jobs.ErrNotFound):
		problem(w, http.StatusNotFound, "there is no such record, or it is no longer kept")
	default:
		problem(w, http.StatusServiceUnavailable, err.Error())
	}
}

// createToken makes a token, and shows it the one time.
func (s *server) createToken(w http.ResponseWriter, r *http.Request) {
	var request web.TokenRequest
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10))
	d.DisallowUnknownFields()
	if err := d.Decode(&request); err != nil {
		problem(w, http.StatusBadRequest, "the request can't be read: "+err.Error())
		return
	}
	made, err := s.tokens().Create(r.Context(), request)
	if err != nil {
		answerError(w, err)
		return
	}
	s.log.InfoContext(r.Context(), "a token was made", "token", made.ID, "name", made.Name, "by", made.By, "expires", made.Expires)
	reply(w, made)
}

// tokenList is the answer of GET /api/v1/tokens.
type tokenList struct {
	Tokens []web.TokenInfo `json:"tokens"`
}

func (s *server) listTokens(w http.ResponseWriter, r *http.Request) {
	list, err := s.tokens().List(r.Context())
	if err != nil {
		answerError(w, err)
		return
	}
	reply(w, tokenList{list})
}

func (s *server) revokeToken(w http.ResponseWriter, r *http.Request) {
	info, err := s.tokens().Revoke(r.Context(), r.PathValue("id"))
	if err != nil {
		answerError(w, err)
		return
	}
	s.log.InfoContext(r.Context(), "a token was revoked", "token", info.ID, "name", info.Name)
	reply(w, info)
}

// workflowList is the answer of GET /api/v1/workflows.
type workflowList struct {
	Workflows []jobs.Workflow `json:"workflows"`
}

// listWorkflows asks GitHub for the workflows of a repository.
func (s *server) listWorkflows(w http.ResponseWriter, r *http.Request) {
	installation, repo, err := s.app.Repository(r.Context(), r.FormValue("repository"))
	if err == nil {
		var list []jobs.Workflow
		if list, err = s.app.Workflows(r.Context(), installation, repo); err == nil {
			reply(w, workflowList{append([]jobs.Workflow{}, list...)})
			return
		}
	}
	answerError(w, err)
}

// workflowRunList is the answer of GET /api/v1/workflow-runs.
type workflowRunList struct {
	Runs []jobs.WorkflowRun `json:"workflow_runs"`
}

const maxWorkflowRuns = 1000

// listWorkflowRuns asks GitHub for the runs of a repository's workflows.
func (s *server) listWorkflowRuns(w http.ResponseWriter, r *http.Request) {
	limit, err := strconv.Atoi(r.FormValue("limit"))
	if err != nil || limit < 1 || limit > maxWorkflowRuns {
		problem(w, http.StatusBadRequest, fmt.Sprintf("limit must be from 1 to %d", maxWorkflowRuns))
		return
	}
	installation, repo, err := s.app.Repository(r.Context(), r.FormValue("repository"))
	if err == nil {
		var list []jobs.WorkflowRun
		filter := jobs.WorkflowFilter{Workflow: r.FormValue("workflow"), Branch: r.FormValue("branch")}
		if list, err = s.app.WorkflowRuns(r.Context(), installation, repo, filter, limit); err == nil {
			reply(w, workflowRunList{append([]jobs.WorkflowRun{}, list...)})
			return
		}
	}
	answerError(w, err)
}

// followedWorkflow answers what is known, without asking GitHub, of a workflow run that a run of ours follows.
func (s *server) followedWorkflow(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.ParseInt(r.PathValue("workflow"), 10, 64)
	if err != nil {
		problem(w, http.StatusBadRequest, "a workflow run's ID is a number")
		return
	}
	run, _, err := s.stores.runs.Get(r.Context(), r.PathValue("id"))
	if errors.Is(err, jobs.ErrNotFound) {
		run, _, err = s.stores.archive.Get(r.Context(), r.PathValue("id"))
	}
	var known jobs.WorkflowRun
	if err == nil {
		known, _, err = s.stores.workflows.Get(r.Context(), jobs.WorkflowKey(run.Repository.ID, id))
	}
	if err != nil {
		answerError(w, err)
		return
	}
	reply(w, known)
}
