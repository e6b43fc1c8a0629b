package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/slipway-ci/slipway/jobs"
	"github.com/slipway-ci/slipway/web"
)

// openSocket listens on a Unix socket that only this user may open. A socket that a killed server left is replaced;
// one that still answers is not.
func openSocket(ctx context.Context, path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("server.admin_socket: %w", err)
	}
	if conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "unix", path); err == nil {
		conn.Close()
		return nil, fmt.Errorf("server.admin_socket: another server listens on %s", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("server.admin_socket: %w", err)
	}
	l, err := new(net.ListenConfig).Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("server.admin_socket: %w (such a path holds at most 107 bytes)", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("server.admin_socket: %w", err), l.Close())
	}
	return l, nil
}

// admin answers the operator's commands on the admin socket: the JSON API of the pages, and what changes something.
func (s *server) admin() http.Handler {
	mux := http.NewServeMux()
	api := s.web.API()
	mux.Handle("GET /api/v1/", api)
	mux.Handle("POST /api/v1/requests", api)
	mux.HandleFunc("GET /api/v1/tokens", s.listTokens)
	mux.HandleFunc("POST /api/v1/tokens", s.createToken)
	mux.HandleFunc("POST /api/v1/tokens/{id}/revoke", s.revokeToken)
	mux.HandleFunc("GET /api/v1/workflows", s.listWorkflows)
	mux.HandleFunc("GET /api/v1/workflow-runs", s.listWorkflowRuns)
	mux.HandleFunc("GET /api/v1/runs/{id}/workflow-runs/{workflow}", s.followedWorkflow)
	mux.HandleFunc("GET /api/v1/begin", s.begun)
	mux.HandleFunc("POST /api/v1/begin", s.begin)
	mux.HandleFunc("POST /api/v1/deliveries/recover", s.recover)
	mux.HandleFunc("GET /api/v1/deliveries/{guid}/replay", s.rehearse)
	mux.HandleFunc("POST /api/v1/deliveries/{guid}/replay", s.replay)
	return mux
}

// beginRequest asks the server to act on deliveries received since a moment.
type beginRequest struct {
	Since time.Time `json:"since"`
	By    string    `json:"by"`
}

// begin notes since when this data folder may act. It can be said once: what was observed before stays observed.
func (s *server) begin(w http.ResponseWriter, r *http.Request) {
	var request beginRequest
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<10))
	d.DisallowUnknownFields()
	if err := d.Decode(&request); err != nil || request.Since.IsZero() {
		problem(w, http.StatusBadRequest, "the request must name since when to act")
		return
	}
	// GitHub's log of deliveries knows whole seconds.
	start := jobs.Start{Since: request.Since.UTC().Truncate(time.Second), By: jobs.Cut(request.By, 100), At: time.Now().UTC()}
	known, first, err := s.start(r.Context(), start)
	switch {
	case err != nil:
		problem(w, http.StatusServiceUnavailable, err.Error())
	case !first:
		problem(w, http.StatusConflict, fmt.Sprintf("this server acts since %s already", known.Since.Format(time.RFC3339)))
	default:
		s.log.InfoContext(r.Context(), "acting from now on", "since", start.Since, "by", start.By)
		reply(w, start)
	}
}

// start notes since when this data folder may act; first is false when that was said before, and known what counts.
func (s *server) start(ctx context.Context, start jobs.Start) (known jobs.Start, first bool, err error) {
	_, err = s.stores.meta.Create(ctx, jobs.StartKey, start)
	if !errors.Is(err, jobs.ErrExists) {
		return start, err == nil, err
	}
	known, _, err = s.stores.meta.Get(ctx, jobs.StartKey)
	return known, false, err
}

// begun answers since when this data folder may act.
func (s *server) begun(w http.ResponseWriter, r *http.Request) {
	start, _, err := s.stores.meta.Get(r.Context(), jobs.StartKey)
	switch {
	case errors.Is(err, jobs.ErrNotFound):
		problem(w, http.StatusNotFound, "nobody said since when this server may act")
	case err != nil:
		problem(w, http.StatusServiceUnavailable, err.Error())
	default:
		reply(w, start)
	}
}

// problem answers with RFC 9457 problem details, as the rest of the API does.
func problem(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(web.Problem{Title: http.StatusText(status), Status: status, Detail: detail})
}
