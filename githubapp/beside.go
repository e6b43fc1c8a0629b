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

// beside classifies an error of showing a deployment or comment. Waits, outages and errors of ours are returned; what GitHub
// refuses is logged and dropped, so it never keeps a run from counting as shown. what is the permission's name in memory,
// permission how GitHub's settings call it.
func (r *Reporter) beside(ctx context.Context, run jobs.RunInfo, what, permission string, err error) (time.Duration, error) {
	var (
		gone  *jobs.Gone
		later *jobs.Later
		down  *Unavailable
		never *jobs.Unreportable
	)
	log := r.log.With("repository", run.Repository.FullName(), "run", run.ID, "what", what, "error", err)
	switch {
	case errors.As(err, &later):
		return later.After, later
	case errors.As(err, &down):
		return down.After, err
	case errors.As(err, &gone), status(err) == http.StatusNotFound:
		log.WarnContext(ctx, "it can't be shown: it is gone")
	case errors.As(err, &never):
		log.WarnContext(ctx, "it can't be shown")
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
