package web

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/slipway-ci/slipway/jobs"
)

// lookers bounds how many records one request asks for at a time.
const lookers = 8

// findRun looks among the active runs and then in the archive. A run that ends is archived before it leaves the
// active ones, so it is found at every moment.
func (s *Server) findRun(ctx context.Context, id string) (jobs.Run, uint64, error) {
	if !validKey(id) {
		return jobs.Run{}, 0, jobs.ErrNotFound
	}
	run, revision, err := s.o.Runs.Get(ctx, id)
	if errors.Is(err, jobs.ErrNotFound) {
		run, revision, err = s.o.Archive.Get(ctx, id)
	}
	if err != nil {
		return run, 0, fmt.Errorf("look up run %s: %w", id, err)
	}
	return run, revision, nil
}

// looks bounds how often a run is read again because a job's result was replaced meanwhile.
const looks = 3

// wholeRun is a run with its results. The result of a job under way is replaced whenever there is news of it; the run then points to
// the new one.
func (s *Server) wholeRun(ctx context.Context, id string, operator bool) (Run, error) {
	for look := 1; ; look++ {
		run, revision, err := s.findRun(ctx, id)
		if err != nil {
			return Run{}, err
		}
		results, resultReplaced, err := s.resultsOf(ctx, run)
		if err != nil {
			return Run{}, err
		}
		if !resultReplaced || look == looks {
			return s.shapeWholeRun(run, revision, results, operator), nil
		}
	}
}

// resultsOf are the results of a run's jobs, by name. resultReplaced tells that one was replaced since the run was read.
func (s *Server) resultsOf(ctx context.Context, run jobs.Run) (results map[string]jobs.Result, resultReplaced bool, err error) {
	found := make([]*jobs.Result, len(run.Jobs))
	err = each(ctx, len(run.Jobs), func(ctx context.Context, i int) error {
		key := run.Jobs[i].ResultKey
		if key == "" {
			return nil
		}
		result, _, err := s.o.Results.Get(ctx, key)
		if errors.Is(err, jobs.ErrNotFound) {
			return nil // the run still holds it in short
		}
		if err != nil {
			return fmt.Errorf("look up result %s: %w", key, err)
		}
		found[i] = &result
		return nil
	})
	if err != nil {
		return nil, false, err
	}
	results = make(map[string]jobs.Result, len(found))
	for i, r := range found {
		if r != nil {
			results[run.Jobs[i].Name] = *r
		} else if run.Jobs[i].ResultKey != "" && underway(run.Jobs[i]) {
			resultReplaced = true
		}
	}
	return results, resultReplaced, nil
}

// runQuery says which runs a list is about.
type runQuery struct {
	Repository string
	State      jobs.RunState
	Before     uint64
}

// runs lists runs, newest first. A filtered list may come short of a full page although there is more: every page
// looks at a bounded number of runs.
func (s *Server) runs(ctx context.Context, q runQuery) (RunList, error) {
	if q.State == jobs.RunActive {
		return s.activeRuns(ctx, q.Repository)
	}
	list := RunList{Runs: []Run{}}
	before := q.Before
	for looked := 0; looked < scanLimit; looked += pageSize {
		entries, next, err := s.o.Index.Runs(ctx, before, pageSize, q.Repository)
		if err != nil {
			return list, fmt.Errorf("list runs: %w", err)
		}
		batch := make([]Run, len(entries))
		err = each(ctx, len(entries), func(ctx context.Context, i int) (err error) {
			batch[i], err = s.listedRun(ctx, entries[i])
			return err
		})
		if err != nil {
			return list, err
		}
		for _, r := range batch {
			if q.State == "" || r.State == q.State {
				list.Runs = append(list.Runs, r)
			}
		}
		before, list.Next = next, next
		if next == 0 || q.State == "" || len(list.Runs) >= pageSize {
			break
		}
	}
	return list, nil
}

func (s *Server) listedRun(ctx context.Context, e jobs.RunEntry) (Run, error) {
	run, revision, err := s.findRun(ctx, e.ID)
	if errors.Is(err, jobs.ErrNotFound) {
		return Run{ID: e.ID, Repository: e.Name, Created: e.Created, Jobs: []Job{}, Sentence: "The record of this run is no longer kept."}, nil
	}
	if err != nil {
		return Run{}, err
	}
	return s.shapeRun(run, revision), nil
}

// activeRuns lists what runs now, however far back it began.
func (s *Server) activeRuns(ctx context.Context, repository string) (RunList, error) {
	list := RunList{Runs: []Run{}}
	newest := func() {
		slices.SortFunc(list.Runs, func(a, b Run) int { return b.Created.Compare(a.Created) })
		if len(list.Runs) > maxActive {
			list.Runs, list.Cut = list.Runs[:maxActive], true
		}
	}
	err := s.o.Runs.All(ctx, func(_ string, r jobs.Run, revision uint64) error {
		if r.State.Over() || (repository != "" && r.Repository.FullName() != repository) {
			return nil
		}
		list.Runs = append(list.Runs, s.shapeRun(r, revision))
		if len(list.Runs) >= 2*maxActive {
			newest()
		}
		return nil
	})
	if err != nil {
		return list, fmt.Errorf("list active runs: %w", err)
	}
	newest()
	return list, nil
}

// deliveryQuery says which deliveries a list is about.
type deliveryQuery struct {
	Repository string
	Outcome    jobs.Outcome
	Before     string
}

// deliveries lists deliveries with what was decided about them, bounded as runs is.
func (s *Server) deliveries(ctx context.Context, q deliveryQuery) (DeliveryList, error) {
	list := DeliveryList{Deliveries: []Delivery{}}
	before := q.Before
	for looked := 0; looked < scanLimit; looked += pageSize {
		found, next, err := s.o.Deliveries.Deliveries(ctx, before, pageSize)
		if err != nil {
			return list, fmt.Errorf("list deliveries: %w", err)
		}
		batch := make([]Delivery, len(found))
		err = each(ctx, len(found), func(ctx context.Context, i int) error {
			decision, err := s.decision(ctx, found[i].GUID)
			batch[i] = shapeDelivery(found[i].GUID, &found[i], decision, false)
			return err
		})
		if err != nil {
			return list, err
		}
		for _, d := range batch {
			if (q.Outcome == "" || d.Outcome == q.Outcome) && (q.Repository == "" || d.Repository == q.Repository) {
				list.Deliveries = append(list.Deliveries, d)
			}
		}
		before, list.Next = next, next
		if next == "" || (q.Outcome == "" && q.Repository == "") || len(list.Deliveries) >= pageSize {
			break
		}
	}
	return list, nil
}

// delivery is one delivery with its whole decision. Decisions outlive deliveries.
func (s *Server) delivery(ctx context.Context, guid string) (Delivery, error) {
	if !jobs.ValidGUID(guid) {
		return Delivery{}, jobs.ErrNotFound
	}
	var received *jobs.Delivery
	d, err := s.o.Deliveries.Delivery(ctx, guid)
	switch {
	case err == nil:
		received = &d
	case !errors.Is(err, jobs.ErrNotFound):
		return Delivery{}, fmt.Errorf("look up delivery %s: %w", guid, err)
	}
	decision, err := s.decision(ctx, guid)
	if err != nil {
		return Delivery{}, err
	}
	if received == nil && decision == nil {
		return Delivery{}, jobs.ErrNotFound
	}
	return shapeDelivery(guid, received, decision, true), nil
}

// decision is nil when there is none.
func (s *Server) decision(ctx context.Context, guid string) (*jobs.Decision, error) {
	decision, _, err := s.o.Decisions.Get(ctx, guid)
	if errors.Is(err, jobs.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look up decision %s: %w", guid, err)
	}
	return &decision, nil
}

// each calls do for 0 to n-1, some at a time.
func each(ctx context.Context, n int, do func(ctx context.Context, i int) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(lookers)
	for i := range n {
		g.Go(func() error { return do(ctx, i) })
	}
	return g.Wait()
}

// validKey reports whether s could be a run's ID: nothing else reaches the stores.
func validKey(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && c != '-' {
			return false
		}
	}
	return true
}
