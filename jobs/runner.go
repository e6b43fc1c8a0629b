package jobs

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"
)

// DefaultClaimTTL is how long a worker may be silent before its job is given to another.
const DefaultClaimTTL = 15 * time.Second

// Patience with our own errors: an attempt that met this many of them ends as failed, with a sentence.
const maxTroubles = 10

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
	for ctx.Err() == nil {
		changes, err := r.Runs.Watch(ctx)
		if err != nil {
			r.Log.WarnContext(ctx, "can't watch runs", "error", err)
			pause(ctx, time.Second)
			continue
		}
		for id := range changes {
			r.check(ctx, id)
		}
		pause(ctx, 100*time.Millisecond)
		r.mu.Lock()
		var missed []string // while nobody watched
		for id := range r.working {
			missed = append(missed, id)
		}
		r.mu.Unlock()
		for _, id := range missed {
			r.check(ctx, id)
		}
	}
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
		if j, err := run.held(w.job, w.token); err != nil {
			w.cancel(ErrClaimLost)
		} else if run.stopOf(j) != nil && !w.stops {
			w.cancel(ErrCancelled)
		}
	}
}

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
	result, err := r.call(func() (Result, error) {
		if stop != nil {
			return stopper.Stop(jobCtx, r.task(run, job, claim, lines), *stop)
		}
		return kind.Run(jobCtx, r.task(run, job, claim, lines))
	})
	err = r.settle(context.WithoutCancel(ctx), run, job, claim, lines, result, err, context.Cause(jobCtx), log)
	cancel(nil)
	stopped()
	return err
}

// claim takes the hinted job by compare-and-swap, and notes whether it has to be stopped outside from now on. ErrUnchanged means that
// there is nothing to take.
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
		if err := run.Take(hint.Job, claim); err != nil {
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

// hold keeps the claim's lease until the job's context ends, and ends that when the lease is lost. The returned
// function waits for the lease to be given up.
func (r *Runner) hold(ctx context.Context, run string, w *work) (stopped func()) {
	ttl := r.ClaimTTL
	if ttl == 0 {
		ttl = DefaultClaimTTL
	}
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

func (r *Runner) task(run Run, job Job, claim Claim, log *logWriter) Task {
	earlier := ""
	if job.Attempt > 1 {
		earlier = AttemptID(run.root(), run.attempt()-1)
	}
	return Task{
		Orders: job.Orders, Earlier: earlier, Began: job.Started,
		Watch: func(ctx context.Context, topic string, names ...string) error {
			return r.watchTopic(ctx, topic, Watcher{Run: run.ID, Job: job.Name, Names: names})
		},
		Resume: func(ctx context.Context) error {
			_, err := r.store(ctx, run.ID, func(now *Run) error { return now.Resume(job.Name, claim.Token) })
			return err
		},
		Run: run.RunInfo, Job: job.Name, Attempt: job.Attempt, Claim: claim.Token, Spec: job.Spec,
		Grant: r.Grants(run.RunInfo), Source: r.Source, Log: log,
		Newest: func(ctx context.Context) (bool, string, error) { return r.newest(ctx, run.RunInfo) },
		Lock: func(ctx context.Context, name string, do func(context.Context) error) error {
			return r.lock(ctx, name, claim.Token, do)
		},
	}
}

// call runs the kind; a panic in it is an error of ours.
func (r *Runner) call(kind func() (Result, error)) (result Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return kind()
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

// settle stores how a claimed job ended: the result, or that it goes back to the queue. It goes on trying while the
// claim is ours; if that fails too, the sweeper will find the claim without a holder.
func (r *Runner) settle(ctx context.Context, run Run, job Job, claim Claim, lines *logWriter, result Result, err, cause error, log *slog.Logger) error {
	var refusal *Refusal
	var later *Later
	handBack := func(why string, after time.Duration, trouble bool) error {
		lines.close(false)
		notBefore := time.Time{}
		if after > 0 {
			notBefore = r.Now().Add(after)
		}
		log.InfoContext(ctx, "handed back", "why", why, "trouble", trouble, "after", after)
		_, err := r.store(ctx, run.ID, func(now *Run) error {
			return now.HandBack(job.Name, claim.Token, r.Mask(why), notBefore, trouble)
		})
		return err
	}
	switch {
	case errors.Is(cause, ErrClaimLost):
		lines.close(false)
		log.WarnContext(ctx, "the claim is lost; whoever has it now goes on")
		return nil
	case err != nil && errors.Is(cause, ErrCancelled) && job.Outside:
		return handBack("it is being stopped", 0, false)
	case err != nil && errors.Is(cause, ErrCancelled):
		result = Result{Conclusion: Cancelled, Summary: r.stopReason(ctx, run.ID, job.Name)}
	case err != nil && errors.Is(cause, ErrShutdown):
		return handBack("its worker was shut down", 0, false)
	case errors.As(err, &later) && later.Progress != nil:
		lines.close(false)
		return r.park(ctx, run.ID, job, claim, *later, log)
	case errors.As(err, &later):
		lines.printf("waiting: %s", later.Reason)
		return handBack(later.Reason, max(later.After, time.Second), false)
	case errors.As(err, &refusal):
		result = Result{Conclusion: Failure, Summary: refusal.Sentence}
		if refusal.Cause != nil {
			result.Cause = refusal.Cause.Error()
		}
	case err != nil && job.Troubles+1 < maxTroubles:
		after := backoff(job.Troubles+1, time.Second, 5*time.Minute)
		log.WarnContext(ctx, "trouble of ours; the job will be tried again", "error", err, "troubles", job.Troubles+1, "after", after)
		lines.printf("trouble that is not yours, trying again in %s: %s", after, firstLine(err.Error()))
		return handBack("trouble on Slipway's side, being tried again", after, true)
	case err != nil:
		log.ErrorContext(ctx, "giving up on a job", "error", err)
		result = Result{
			Conclusion: Failure,
			Summary:    fmt.Sprintf("Slipway could not do this after %d tries; the trouble is on its side. Push again later, or ask whoever runs it.", maxTroubles),
			Cause:      firstLine(err.Error()),
		}
	}
	result = r.masked(result).Bound()
	lines.printf("%s: %s", result.Conclusion, result.Summary)
	lines.close(true)
	key := ResultKey(run.ID, job.Name, job.Attempt, job.Claims)
	if err := r.keep(ctx, func() error { _, err := r.Results.Create(ctx, key, result); return err }); err != nil && !errors.Is(err, ErrExists) {
		return fmt.Errorf("store the result of %s of %s: %w", job.Name, run.ID, err)
	}
	log.InfoContext(ctx, "finished", "conclusion", result.Conclusion, "summary", result.Summary, "cause", result.Cause)
	stored, err := r.store(ctx, run.ID, func(now *Run) error {
		err := now.Finish(job.Name, claim.Token, result, key, r.Now())
		if j := now.Job(job.Name); err == nil && r.Finished != nil {
			r.Finished(j.Kind, j.State, j.Finished.Sub(j.Started))
		}
		return err
	})
	if stored {
		r.forget(ctx, job.ResultKey)
	}
	return err
}

// park stores how a job stands whose work goes on outside, and that it needs no worker until there is news.
func (r *Runner) park(ctx context.Context, run string, job Job, claim Claim, later Later, log *slog.Logger) error {
	key := ResultKey(run, job.Name, job.Attempt, job.Claims)
	progress := r.masked(*later.Progress).Bound()
	if err := r.keep(ctx, func() error { _, err := r.Results.Create(ctx, key, progress); return err }); err != nil && !errors.Is(err, ErrExists) {
		return fmt.Errorf("store how %s of %s stands: %w", job.Name, run, err)
	}
	later.Reason = r.Mask(later.Reason)
	log.DebugContext(ctx, "parked", "why", later.Reason, "for", later.After)
	stored, err := r.store(ctx, run, func(now *Run) error { return now.Park(job.Name, claim.Token, later, key, r.Now()) })
	switch {
	case stored:
		r.forget(ctx, job.ResultKey)
	case err == nil: // another has the job, and says how it stands
		r.forget(ctx, key)
	}
	return err
}

// forget removes how a job stood before; what is left behind goes with age.
func (r *Runner) forget(ctx context.Context, key string) {
	if key == "" {
		return
	}
	_, revision, err := r.Results.Get(ctx, key)
	if err == nil {
		err = r.Results.Delete(ctx, key, revision)
	}
	if err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrConflict) {
		r.Log.DebugContext(ctx, "remove how a job stood before", "key", key, "error", err)
	}
}

// store changes a run, trying for as long as a claim lives. It reports whether it did: the claim may have gone to another meanwhile.
func (r *Runner) store(ctx context.Context, id string, edit func(*Run) error) (stored bool, err error) {
	err = r.keep(ctx, func() error { _, err := Change(ctx, r.Runs, id, edit); return err })
	if errors.Is(err, ErrNotYours) || errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// keep repeats do while the store is out of reach.
func (r *Runner) keep(ctx context.Context, do func() error) error {
	ttl := r.ClaimTTL
	if ttl == 0 {
		ttl = DefaultClaimTTL
	}
	deadline := time.Now().Add(ttl)
	for try := 1; ; try++ {
		err := do()
		if err == nil || errors.Is(err, ErrExists) || errors.Is(err, ErrNotFound) || errors.Is(err, ErrNotYours) || time.Now().After(deadline) {
			return err
		}
		pause(ctx, backoff(try, 50*time.Millisecond, 2*time.Second))
	}
}

func (r *Runner) stopReason(ctx context.Context, id, job string) string {
	if run, _, err := r.Runs.Get(ctx, id); err == nil {
		if j := run.Job(job); j != nil && run.stopOf(j) != nil {
			return run.stopOf(j).Reason
		}
	}
	return "the run was cancelled"
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
