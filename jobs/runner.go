package jobs

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"
)

// DefaultClaimTTL is how long a worker may be silent before its job is given to another.
const DefaultClaimTTL = 15 * time.Second

// A Slot is a kind and how many of its jobs this replica works on at once.
type Slot struct {
	Kind  Kind
	Count int
}

// A Runner works: it takes hints, claims jobs, carries them to a result and stores it. Every replica runs one.
type Runner struct {
	Name    string // of this replica, shown as the worker
	Kinds   map[KindName]Slot
	Runs    Set[Run]
	Results Set[Result]
	Refs    Records[RefRecord]
	Watches Records[Watch]
	Hints   Hints
	Leases  Leases
	Logs    Logs
	Source  Source
	// Grants tells what the operator's policy, as it is now, lets a run touch.
	Grants func(RunInfo) Grant
	// Mask hides secrets in what is kept.
	Mask func(string) string
	// Finished is told of every job carried to a result; may be nil.
	Finished func(kind KindName, state JobState, took time.Duration)
	ClaimTTL time.Duration // 0 means DefaultClaimTTL
	Now      func() time.Time
	Log      *slog.Logger

	mu      sync.Mutex
	working map[string][]*work // by run
}

// work is one claimed job in this process.
type work struct {
	job    string
	token  string
	stops  bool // it was claimed to be stopped
	cancel context.CancelCauseFunc
}

// Run works until ctx is done; then running jobs are handed back, at no cost to them, and it returns.
func (r *Runner) Run(ctx context.Context) {
	r.mu.Lock()
	r.working = map[string][]*work{}
	r.mu.Unlock()
	var wg sync.WaitGroup
	for name, slot := range r.Kinds {
		for range slot.Count {
			wg.Go(func() { r.serve(ctx, name, slot.Kind) })
		}
	}
	wg.Go(func() { r.watch(ctx) })
	wg.Wait()
}

func (r *Runner) serve(ctx context.Context, name KindName, kind Kind) {
	for ctx.Err() == nil {
		hint, ack, err := r.Hints.Take(ctx, name)
		if err != nil {
			if ctx.Err() == nil {
				r.Log.WarnContext(ctx, "can't take work", "kind", name, "error", err)
				pause(ctx, time.Second)
			}
			continue
		}
		if err := r.work(ctx, kind, hint, ack); err != nil && ctx.Err() == nil {
			r.Log.WarnContext(ctx, "work", "run", hint.Run, "job", hint.Job, "error", err)
		}
	}
}

// watch ends the work on jobs whose run was stopped or whose claim went to another.
func (r *Runner) watch(ctx context.Context) {
	Follower{
		Watch: r.Runs.Watch, Changed: func(id string) { r.check(ctx, id) }, List: r.checkAll, Every: r.ttl() * 2 / 3,
		Trouble: func(err error) { r.Log.WarnContext(ctx, "can't watch runs", "error", err) },
	}.Run(ctx)
}

// checkAll looks at the runs of all jobs that are worked on here.
func (r *Runner) checkAll(ctx context.Context) error {
	r.mu.Lock()
	runs := slices.Collect(maps.Keys(r.working))
	r.mu.Unlock()
	for _, id := range runs {
		r.check(ctx, id)
	}
	return nil
}

func (r *Runner) check(ctx context.Context, id string) {
	r.mu.Lock()
	mine := append([]*work(nil), r.working[id]...)
	r.mu.Unlock()
	if len(mine) == 0 {
		return
	}
	run, _, err := r.Runs.Get(ctx, id)
	if err != nil {
		return // the next change, or the lease, will tell
	}
	for _, w := range mine {
		if j, err := run.claimedBy(w.job, w.token); err != nil {
			w.cancel(ErrClaimLost)
		} else if stop := run.stopOf(j); stop != nil && !w.stops {
			w.cancel(&stopError{stop.Reason})
		}
	}
}

// A stopError is ErrCancelled with the reason.
type stopError struct{ reason string }

func (e *stopError) Error() string { return ErrCancelled.Error() + ": " + e.reason }
func (e *stopError) Unwrap() error { return ErrCancelled }

// work claims the hinted job, carries it to its end and stores that.
func (r *Runner) work(ctx context.Context, kind Kind, hint Hint, ack func(context.Context) error) error {
	stopper, _ := kind.(Stopper)
	run, claim, err := r.claim(ctx, hint, stopper != nil)
	switch {
	case errors.Is(err, ErrUnchanged): // nothing to claim: the hint is old
		return ack(ctx)
	case err != nil:
		return err // the hint comes again
	}
	if err := ack(ctx); err != nil {
		r.Log.DebugContext(ctx, "ack", "run", hint.Run, "job", hint.Job, "error", err)
	}
	job := *run.Job(hint.Job)
	log := r.Log.With("run", run.ID, "job", job.Name, "attempt", job.Attempt, "claim", job.Claims)
	level := slog.LevelInfo
	if job.Parked { // each piece of news makes a claim
		level = slog.LevelDebug
	}
	log.Log(ctx, level, "claimed")

	jobCtx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	defer context.AfterFunc(ctx, func() { cancel(ErrShutdown) })()
	stop := run.stopOf(&job)
	stopped := r.hold(jobCtx, run.ID, &work{job.Name, claim.Token, stop != nil, cancel})
	r.check(jobCtx, run.ID) // a stop may have come before anybody here would have heard of it

	lines := newLogWriter(jobCtx, r.Logs, LogKey{run.ID, job.Name, job.Attempt}, job.Claims, r.Mask, r.Now)
	c := &claimed{run, job, claim, lines, log}
	result, err := r.call(func() (Result, error) {
		if stop != nil {
			return stopper.Stop(jobCtx, r.task(c), *stop)
		}
		return kind.Run(jobCtx, r.task(c))
	})
	err = r.settle(context.WithoutCancel(ctx), c, result, err, context.Cause(jobCtx))
	cancel(nil)
	stopped()
	return err
}

// claim takes the hinted job by compare-and-swap; outside is what Job.Outside becomes. ErrUnchanged means that there is nothing to take.
func (r *Runner) claim(ctx context.Context, hint Hint, outside bool) (Run, Claim, error) {
	claim := Claim{Token: rand.Text(), Worker: r.Name, Time: r.Now()}
	for {
		run, revision, err := r.Runs.Get(ctx, hint.Run)
		if errors.Is(err, ErrNotFound) {
			return run, claim, ErrUnchanged
		}
		if err != nil {
			return run, claim, fmt.Errorf("read run %s: %w", hint.Run, err)
		}
		j := run.Job(hint.Job)
		if j == nil || j.State != JobOffered || run.stopOf(j) != nil && !j.Outside {
			return run, claim, ErrUnchanged
		}
		if err := run.Claim(hint.Job, claim); err != nil {
			return run, claim, err
		}
		j.Outside = outside
		_, err = r.Runs.Update(ctx, hint.Run, run, revision)
		if errors.Is(err, ErrConflict) {
			continue
		}
		if err != nil {
			return run, claim, fmt.Errorf("claim %s of %s: %w", hint.Job, hint.Run, err)
		}
		return run, claim, nil
	}
}

func (r *Runner) ttl() time.Duration { return cmp.Or(r.ClaimTTL, DefaultClaimTTL) }

// hold keeps the claim's lease until the job's context ends, and ends that when the lease is lost. The returned
// function waits for the lease to be given up.
func (r *Runner) hold(ctx context.Context, run string, w *work) (stopped func()) {
	ttl := r.ttl()
	r.mu.Lock()
	r.working[run] = append(r.working[run], w)
	r.mu.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer r.drop(run, w)
		key := ClaimKey(w.token)
		revision, err := r.Leases.Acquire(ctx, key, w.token, ttl)
		if err != nil {
			if ctx.Err() == nil {
				r.Log.WarnContext(ctx, "can't hold a claim", "run", run, "job", w.job, "error", err)
			}
			w.cancel(ErrClaimLost)
			return
		}
		revision = hold(ctx, r.Leases, key, w.token, ttl, revision)
		w.cancel(ErrClaimLost) // does nothing when the context ended for another reason
		release(ctx, r.Leases, key, revision, r.Log)
	}()
	return func() { <-done }
}

func (r *Runner) drop(run string, w *work) {
	r.mu.Lock()
	defer r.mu.Unlock()
	kept := r.working[run][:0]
	for _, other := range r.working[run] {
		if other != w {
			kept = append(kept, other)
		}
	}
	if len(kept) == 0 {
		delete(r.working, run)
	} else {
		r.working[run] = kept
	}
}

func (r *Runner) task(c *claimed) Task {
	run, job := c.run.RunInfo, c.job
	return Task{
		Orders: job.Orders, Earlier: job.Earlier, Began: job.Started,
		Watch: func(ctx context.Context, topic string, names ...string) error {
			return r.watchTopic(ctx, topic, Watcher{Run: run.ID, Job: job.Name, Names: names})
		},
		Resume: func(ctx context.Context) error {
			_, stored, err := r.store(ctx, run.ID, func(now *Run) error { return now.Resume(job.Name, c.claim.Token) })
			if err == nil && !stored {
				err = ErrClaimLost
			}
			return err
		},
		Run: run, Job: job.Name, Attempt: job.Attempt, Claim: c.claim.Token, Spec: job.Spec,
		Grant: r.Grants(run), Source: r.Source, Log: c.lines,
		Newest: func(ctx context.Context) (bool, string, error) { return r.newest(ctx, run) },
		Lock: func(ctx context.Context, name string, do func(context.Context) error) error {
			return r.lock(ctx, name, c.claim.Token, do)
		},
	}
}

// call runs the kind; a panic in it is an error of ours.
func (r *Runner) call(kind func() (Result, error)) (result Result, err error) {
	err = guarded(func() (err error) {
		result, err = kind()
		return err
	})
	return result, err
}

// newest reports whether the run's commit is still the one its ref stands at, as far as planning knows. What planning
// found to be behind never becomes a ref's record, so another commit there is a newer one.
func (r *Runner) newest(ctx context.Context, run RunInfo) (bool, string, error) {
	ref, _, err := r.Refs.Get(ctx, RefKey(run.Repository.ID, run.Ref))
	if err != nil {
		return false, "", fmt.Errorf("read what %s stands at: %w", run.Ref, err)
	}
	if ref.SHA != run.SHA {
		return false, fmt.Sprintf("%s is at %s by now", short(run.Ref), Abbreviate(ref.SHA)), nil
	}
	return true, "", nil
}

func (r *Runner) masked(result Result) Result {
	result.Summary, result.Details, result.Cause = r.Mask(result.Summary), r.Mask(result.Details), r.Mask(result.Cause)
	for i := range result.Tail {
		result.Tail[i] = r.Mask(result.Tail[i])
	}
	for i := range result.Annotations {
		a := &result.Annotations[i]
		a.Path, a.Title, a.Message = r.Mask(a.Path), r.Mask(a.Title), r.Mask(a.Message)
	}
	for name, value := range result.Outputs {
		if text, ok := value.(string); ok {
			result.Outputs[name] = r.Mask(text)
		}
	}
	return result
}

// lock keeps others of this installation of Slipway from the named thing while do runs.
func (r *Runner) lock(ctx context.Context, name, holder string, do func(context.Context) error) error {
	const ttl = 10 * time.Second
	key := "lock." + digest(name)
	revision, err := r.Leases.Acquire(ctx, key, holder, ttl)
	for errors.Is(err, ErrExists) {
		if !pause(ctx, 100*time.Millisecond) {
			return ctx.Err()
		}
		revision, err = r.Leases.Acquire(ctx, key, holder, ttl)
	}
	if err != nil {
		return fmt.Errorf("lock %s: %w", name, err)
	}
	held, lost := context.WithCancelCause(ctx)
	defer lost(nil)
	done := make(chan struct{})
	go func() {
		defer close(done)
		revision = hold(held, r.Leases, key, holder, ttl, revision)
		lost(fmt.Errorf("the lock on %s was lost", name))
	}()
	err = do(held)
	lost(nil)
	<-done
	release(ctx, r.Leases, key, revision, r.Log)
	return err
}
