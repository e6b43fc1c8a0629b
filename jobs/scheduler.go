package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// A Scheduler moves runs on: it finds the jobs that may start, offers them to workers within their repository's
// share, and puts away runs that are over and reported. Only the leader schedules.
type Scheduler struct {
	Runs    Set[Run]     // active: not over, or not yet reported
	Archive Records[Run] // over and reported
	Hints   Hints
	Resolve Resolve
	// Share is how many jobs of one repository may be offered or running at once; more wait in line, so that one
	// busy repository does not keep the others from the workers. 0 means 4.
	Share int
	Now   func() time.Time
	Log   *slog.Logger

	mu           sync.Mutex
	seen         map[string]load   // by run
	repositories map[int64]*shared // by repository ID
}

// load is what the scheduler remembers of an active run to share out the workers.
type load struct {
	repository int64
	created    time.Time
	out        int  // jobs offered or running
	waits      bool // has jobs that only wait for their share
}

// shared is how a repository's share stands.
type shared struct {
	out     int                  // sum over its runs
	waiting map[string]time.Time // runs that wait, by when they were created
}

// step moves one run on and reports when to look again.
func (s *Scheduler) step(ctx context.Context, id string, wake func(string)) (time.Duration, error) {
	run, revision, err := s.Runs.Get(ctx, id)
	if errors.Is(err, ErrNotFound) {
		s.forget(id, wake)
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read run %s: %w", id, err)
	}
	if s.unknown(id) {
		// A leader that was deposed in its sleep may bring back a run that is long over.
		if _, _, err := s.Archive.Get(ctx, id); err == nil {
			return 0, s.Runs.Delete(ctx, id, revision)
		} else if !errors.Is(err, ErrNotFound) {
			return 0, fmt.Errorf("look for %s in the archive: %w", id, err)
		}
	}
	if run.State.Over() && run.Reported {
		return 0, s.putAway(ctx, run, revision, wake)
	}
	now := s.Now()
	changed, err := run.Advance(now, s.resolve)
	if err != nil {
		return 0, fmt.Errorf("advance run %s: %w", id, err)
	}
	offers, again := s.share(&run, now)
	if !changed && len(offers) == 0 {
		s.remember(run, wake)
		return again, nil
	}
	if _, err := s.Runs.Update(ctx, id, run, revision); errors.Is(err, ErrConflict) {
		return time.Millisecond, nil // another was faster: look again
	} else if err != nil {
		return 0, fmt.Errorf("store run %s: %w", id, err)
	}
	s.remember(run, wake)
	// A crash here leaves jobs offered without a hint; the sweeper offers them again.
	for _, job := range offers {
		if err := s.Hints.Offer(ctx, job); err != nil {
			return 0, fmt.Errorf("offer %s of %s: %w", job.Job, id, err)
		}
	}
	return again, nil
}

// resolve is Resolve; a job on which it crashes is at fault, so that it does not crash for ever.
func (s *Scheduler) resolve(run Run, job Job) (r Resolution) {
	err := guarded(func() error {
		r = s.Resolve(run, job)
		return nil
	})
	if err != nil {
		s.Log.Error("resolving a job crashed", "run", run.ID, "job", job.Name, "error", err)
		r = Resolution{Fault: "evaluating this job's expressions crashed; the server's log has the details"}
	}
	return r
}

// share offers the run's queued jobs as far as its repository's share goes. again is when a job that must wait for
// a moment may be offered; a job that waits for its share is woken when one is freed.
func (s *Scheduler) share(run *Run, now time.Time) (offers []Hint, again time.Duration) {
	free := s.free(run)
	for i := range run.Jobs {
		j := &run.Jobs[i]
		if j.State != JobQueued {
			continue
		}
		if wait := j.NotBefore.Sub(now); wait > 0 {
			if again == 0 || wait < again {
				again = wait
			}
			continue
		}
		glance := j.Parked || j.Outside && run.stopOf(j) != nil // takes a worker for a moment only
		if free <= 0 && !glance {
			continue
		}
		if err := run.Offer(j.Name); err != nil {
			s.Log.Error("offer", "run", run.ID, "job", j.Name, "error", err)
			continue
		}
		if !glance {
			free--
		}
		offers = append(offers, Hint{Kind: j.Kind, Run: run.ID, Job: j.Name})
	}
	return offers, again
}

// free is how many more jobs of the run's repository may be out.
func (s *Scheduler) free(run *Run) int {
	share := s.Share
	if share == 0 {
		share = 4
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	others := 0
	if r := s.repositories[run.Repository.ID]; r != nil {
		others = r.out - s.seen[run.ID].out
	}
	return share - others - out(run)
}

// out is how much of its repository's share a run uses: its jobs that are offered or running, but for those whose work goes on outside.
func out(run *Run) (n int) {
	for _, j := range run.Jobs {
		if !j.Parked && (j.State == JobOffered || j.State == JobRunning) {
			n++
		}
	}
	return n
}

// reset forgets all shares, as a new leader must: others led meanwhile.
func (s *Scheduler) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen, s.repositories = map[string]load{}, map[int64]*shared{}
}

func (s *Scheduler) unknown(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.seen[id]
	return !ok
}

// remember notes how much of its repository's share a run uses, and wakes the oldest that waits when it uses less.
func (s *Scheduler) remember(run Run, wake func(string)) {
	now := load{run.Repository.ID, run.Created, out(&run), false}
	for _, j := range run.Jobs {
		now.waits = now.waits || j.State == JobQueued && !j.Parked && !j.NotBefore.After(s.Now())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.seen[run.ID]
	s.seen[run.ID] = now
	r := s.shared(now.repository)
	r.out += now.out - before.out
	if now.waits {
		r.waiting[run.ID] = run.Created
	} else {
		delete(r.waiting, run.ID)
	}
	if now.out < before.out || before.waits && !now.waits {
		r.wakeOldest(run.ID, wake)
	}
}

// shared is how the repository's share stands; s.mu is held.
func (s *Scheduler) shared(repository int64) *shared {
	r := s.repositories[repository]
	if r == nil {
		r = &shared{waiting: map[string]time.Time{}}
		s.repositories[repository] = r
	}
	return r
}

// forget drops a run that is no longer active.
func (s *Scheduler) forget(id string, wake func(string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, known := s.seen[id]
	if !known {
		return
	}
	delete(s.seen, id)
	r := s.shared(l.repository)
	r.out -= l.out
	delete(r.waiting, id)
	r.wakeOldest(id, wake)
	if r.out == 0 && len(r.waiting) == 0 {
		delete(s.repositories, l.repository)
	}
}

func (r *shared) wakeOldest(except string, wake func(string)) {
	oldest := ""
	for id, created := range r.waiting {
		if id != except && (oldest == "" || created.Before(r.waiting[oldest])) {
			oldest = id
		}
	}
	if oldest != "" {
		wake(oldest)
	}
}

// putAway moves a run that is over and reported out of the active set.
func (s *Scheduler) putAway(ctx context.Context, run Run, revision uint64, wake func(string)) error {
	if _, err := s.Archive.Create(ctx, run.ID, run); err != nil && !errors.Is(err, ErrExists) {
		return fmt.Errorf("archive run %s: %w", run.ID, err)
	}
	if err := s.Runs.Delete(ctx, run.ID, revision); err != nil && !errors.Is(err, ErrConflict) {
		return fmt.Errorf("remove run %s from the active ones: %w", run.ID, err)
	}
	s.forget(run.ID, wake)
	return nil
}
