package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/slipway-ci/slipway/jobs"
	"github.com/slipway-ci/slipway/web"
)

// recovery makes what finds the deliveries that no webhook brought; nil when a test counts calls.
func (p parts) recovery() *jobs.Recovery {
	s, every := p.stores, p.c.GitHub.Every()
	switch {
	case s.timing.recover < 0:
		return nil
	case s.timing.recover > 0:
		every = s.timing.recover
	}
	heads := p.app.Heads()
	return &jobs.Recovery{
		DeliveryLog: p.app.DeliveryLog(p.c.GitHub.Polls()), Installations: heads, Heads: heads, Rules: p.rules, Accept: s.accept, Stored: p.q,
		Decisions: s.decisions, Refs: s.refs, Meta: s.meta, Watermarks: s.watermarks, Requests: s.recoveries, Seen: s.seen,
		Intake: p.c.GitHub.Polls(), Every: every, Settle: s.timing.settle,
		Recovered: p.metrics.DeliveryRecovered, HighWater: p.metrics.HighWater, Now: time.Now, Log: p.log,
	}
}

// A recoverRequest asks the server to fetch everything since a moment that is not stored, and to act on it.
type recoverRequest struct {
	Since time.Time `json:"since"`
	By    string    `json:"by"`
}

type recoverAnswer struct {
	Since time.Time `json:"since"` // what was received since is acted on
	Reads time.Time `json:"reads"` // how far back GitHub's log is read
	Begun bool      `json:"begun"` // the server acts on deliveries from before what it acted on until now
}

// recover notes what the operator asks for; the leader sees it and fetches.
func (s *server) recover(w http.ResponseWriter, r *http.Request) {
	var request recoverRequest
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<10))
	d.DisallowUnknownFields()
	now := time.Now().UTC()
	if err := d.Decode(&request); err != nil || request.Since.IsZero() || request.Since.After(now) {
		problem(w, http.StatusBadRequest, "the request must name since when to recover, a moment in the past")
		return
	}
	since, by := request.Since.UTC().Truncate(time.Second), jobs.Cut(request.By, 100)
	begun, err := s.actSince(r, jobs.Start{Since: since, By: by, At: now})
	if err == nil {
		recovery := jobs.RecoverRequest{Since: since, By: by, At: now}
		_, err = jobs.Upsert(r.Context(), s.stores.recoveries, jobs.RecoverKey, func(known *jobs.RecoverRequest) error {
			*known = recovery
			return nil
		})
	}
	if err != nil {
		problem(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	s.log.InfoContext(r.Context(), "recovering what was missed", "since", since, "by", by)
	reads := now.Add(-jobs.LogKept).Truncate(time.Second)
	if since.After(reads) {
		reads = since
	}
	reply(w, recoverAnswer{Since: since, Reads: reads, Begun: begun})
}

// actSince lets the server act on deliveries received since start.Since, if it does not do so already.
func (s *server) actSince(r *http.Request, start jobs.Start) (begun bool, err error) {
	known, first, err := s.start(r.Context(), start)
	if err != nil || first || !start.Since.Before(known.Since) {
		return first, err
	}
	_, err = jobs.Change(r.Context(), s.stores.meta, jobs.StartKey, func(known *jobs.Start) error {
		if begun = start.Since.Before(known.Since); !begun {
			return jobs.ErrUnchanged
		}
		*known = start
		return nil
	})
	return begun, err
}

// stored reads the delivery a request names, or answers that there is none.
func (s *server) stored(w http.ResponseWriter, r *http.Request) (jobs.Delivery, bool) {
	d, err := s.queue.Delivery(r.Context(), r.PathValue("guid"))
	if err == nil {
		if err = jobs.Replayable(d); err == nil {
			return d, true
		}
	}
	if refusal := (*jobs.Refusal)(nil); errors.As(err, &refusal) {
		problem(w, http.StatusConflict, refusal.Sentence)
	} else if errors.Is(err, jobs.ErrNotFound) {
		problem(w, http.StatusNotFound, "the payload of this delivery is not stored, or no longer; only what was decided may be")
	} else {
		problem(w, http.StatusServiceUnavailable, err.Error())
	}
	return d, false
}

// rehearse answers what would be decided about a stored delivery today.
func (s *server) rehearse(w http.ResponseWriter, r *http.Request) {
	d, ok := s.stored(w, r)
	if !ok {
		return
	}
	decision, err := s.leader.Planner.Rehearse(r.Context(), d)
	if err != nil {
		problem(w, http.StatusBadGateway, err.Error())
		return
	}
	reply(w, web.DescribeDelivery(d, decision))
}

type replayAnswer struct {
	GUID string `json:"guid"` // of the new delivery
}

// maxReplays bounds how often one delivery is run again.
const maxReplays = 100

// replay stores a delivery once more under a GUID of its own, so that it is decided about and runs as a new cause.
func (s *server) replay(w http.ResponseWriter, r *http.Request) {
	d, ok := s.stored(w, r)
	if !ok {
		return
	}
	original := d.GUID
	d.ReplayOf, d.Received = original, time.Now().UTC()
	for n := 1; n <= maxReplays; n++ {
		d.GUID = jobs.ReplayGUID(original, n)
		_, _, err := s.stores.decisions.Get(r.Context(), d.GUID) // outlives the delivery
		if err == nil {
			continue
		}
		created := false
		if errors.Is(err, jobs.ErrNotFound) {
			created, err = s.stores.accept.Accept(r.Context(), d)
		}
		switch {
		case err != nil:
			problem(w, http.StatusServiceUnavailable, err.Error())
			return
		case created:
			s.log.InfoContext(r.Context(), "a delivery runs again", "delivery", original, "as", d.GUID)
			reply(w, replayAnswer{GUID: d.GUID})
			return
		}
	}
	problem(w, http.StatusConflict, fmt.Sprintf("this delivery was replayed %d times already", maxReplays))
}

func reply(w http.ResponseWriter, answer any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer)
}
