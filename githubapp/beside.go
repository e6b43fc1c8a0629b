package githubapp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

const (
	maxDenials = 1024      // installations and permissions that are remembered as not granted
	deniedFor  = time.Hour // until it is tried again
)

// beside sorts the errors of what is shown beside the checks. Only a wait is handed on: what can't be shown there never keeps a
// run from counting as shown. what is the permission's name in memory, permission how GitHub's settings call it.
func (r *Reporter) beside(ctx context.Context, run jobs.RunInfo, what, permission string, err error) (time.Duration, error) {
	var (
		gone  *jobs.Gone
		later *jobs.Later
		down  *Unavailable
	)
	log := r.log.With("repository", run.Repository.FullName(), "run", run.ID, "what", what, "error", err)
	switch {
	case errors.As(err, &later):
		return later.After, later
	case errors.As(err, &down):
		return down.After, err
	case errors.As(err, &gone), status(err) == http.StatusNotFound:
		log.WarnContext(ctx, "it can't be shown: it is gone")
	case errors.Is(err, ErrDenied):
		if !r.denied(run, what) {
			log.WarnContext(ctx, "the App may not show it; grant the permission "+permission)
		}
		r.denials.Add(denial(run, what), r.now())
	case status(err) != 0:
		log.ErrorContext(ctx, "GitHub refused it")
	default:
		return 0, fmt.Errorf("show %s of %s: %w", what, run.ID, err)
	}
	return 0, nil
}

// refusedForGood reports whether GitHub would give the same answer again. A missing permission may be granted.
func refusedForGood(err error) bool {
	var gone *jobs.Gone
	return errors.As(err, &gone) || status(err) != 0 && !errors.Is(err, ErrDenied)
}

func denial(run jobs.RunInfo, what string) string {
	return fmt.Sprintf("%d %s", run.Installation, what)
}

// denied reports whether GitHub said a while ago that the App lacks the permission.
func (r *Reporter) denied(run jobs.RunInfo, what string) bool {
	at, ok := r.denials.Get(denial(run, what))
	return ok && r.now().Sub(at) < deniedFor
}

// sooner is the shorter of two waits, where 0 is none.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}
