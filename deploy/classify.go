package deploy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
)

// Causes with which waiting for a release ends.
var (
	errTimeout = errors.New("the time for the rollout ran out")
	errInVain  = errors.New("a container will not start")
)

// chain visits err and all errors it wraps, also through the aggregates of apimachinery,
// which errors.As does not open.
func chain(err error, visit func(error) bool) bool {
	if err == nil {
		return false
	}
	if visit(err) {
		return true
	}
	var inner []error
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		inner = []error{e.Unwrap()}
	case interface{ Unwrap() []error }:
		inner = e.Unwrap()
	case interface{ Errors() []error }:
		inner = e.Errors()
	}
	for _, e := range inner {
		if chain(e, visit) {
			return true
		}
	}
	return false
}

// find returns the first error of type T in the chain.
func find[T error](err error) (found T, ok bool) {
	ok = chain(err, func(e error) bool {
		t, is := e.(T)
		if is {
			found = t
		}
		return is
	})
	return found, ok
}

// apiStatus returns what the API server said, if the error is an answer of it.
func apiStatus(err error) (metav1.Status, bool) {
	e, ok := find[*apierrors.StatusError](err)
	if !ok {
		return metav1.Status{}, false
	}
	return e.Status(), true
}

// transient says whether an error of a request is our trouble: the API server can't be
// reached, is overloaded or broken, or doesn't know us. A refusal of what was sent is not.
func transient(err error) bool {
	return chain(err, func(e error) bool {
		switch e := e.(type) {
		case *recordError, *url.Error, *net.OpError:
			return true
		case *apierrors.StatusError:
			// What server-side apply says of a field that the kind doesn't have.
			if strings.Contains(e.Error(), "typed patch object") {
				return false
			}
			return apierrors.IsUnauthorized(e) || apierrors.IsServerTimeout(e) || apierrors.IsTimeout(e) ||
				apierrors.IsTooManyRequests(e) || apierrors.IsServiceUnavailable(e) || apierrors.IsInternalError(e)
		}
		return e == ErrLeaseLost || e == io.ErrUnexpectedEOF || utilnet.IsHTTP2ConnectionLost(e)
	})
}

// noMatch says that the API server is not known to have a kind the chart uses.
func noMatch(err error) bool {
	return chain(err, func(e error) bool {
		return meta.IsNoMatchError(e) || strings.Contains(e.Error(), "no matches for kind")
	})
}

// judge returns the error when the trouble is ours, nil when it is theirs. start is when
// what failed was begun, waiting the context of its waits.
func (r *rollout) judge(ctx, waiting context.Context, start time.Time, err error) error {
	if ctx.Err() != nil || r.lease.fence.tripped() {
		return r.trouble(ctx, err)
	}
	if _, scope := find[*scopeError](err); scope || r.lookedOutside(err) != nil {
		return nil
	}
	if trouble := r.records.trouble(); trouble != nil {
		return trouble
	}
	// A failure while the API server was away says nothing about the release.
	if r.lease.outageSince(start) {
		return fmt.Errorf("the API server was away meanwhile: %w", err)
	}
	if context.Cause(waiting) != nil {
		return nil // the time ran out, or waiting was in vain
	}
	if transient(err) {
		return err
	}
	if _, answered := apiStatus(err); !answered {
		// Helm keeps only the words of some errors: ask the API server itself.
		if away := r.cluster.Ping(ctx); away != nil {
			return fmt.Errorf("%w: %w", away, err)
		}
	}
	return nil
}

// lookedOutside is the request outside the namespace that err is about. Template errors
// keep only the words of what caused them.
func (r *rollout) lookedOutside(err error) *outsideError {
	if outside := r.confine.firstRefused(); outside != nil && strings.Contains(err.Error(), outsideNamespace) {
		return outside
	}
	return nil
}

// trouble words an error that ended a rollout as ours.
func (r *rollout) trouble(ctx context.Context, err error) error {
	switch {
	case r.lease.fence.tripped() || errors.Is(context.Cause(ctx), ErrLeaseLost):
		if errors.Is(err, ErrLeaseLost) {
			return err
		}
		return fmt.Errorf("%w: %w", ErrLeaseLost, err)
	case ctx.Err() != nil:
		return fmt.Errorf("%w: %w", context.Cause(ctx), err)
	default:
		return err
	}
}

// unknownKindError is a kind that the API server is not known to have.
type unknownKindError struct{ outcome Outcome }

func (e *unknownKindError) Error() string { return e.outcome.Failure.Sentence }

// refused is the outcome of a chart that failed with err before a revision of it was recorded.
func (r *rollout) refused(err error) (Outcome, error) {
	if scope, ok := find[*scopeError](err); ok {
		return r.unapplied(scope.failure()), nil
	}
	if outside := r.lookedOutside(err); outside != nil {
		return r.unapplied(fail(ReasonOutsideNamespace, "The chart's templates look up %s, which lies outside namespace %s, the only one this job may see.",
			outside.path, r.release.Namespace)), nil
	}
	said := clip(err.Error(), maxCause)
	switch status, answered := apiStatus(err); {
	case noMatch(err):
		return Outcome{}, &unknownKindError{r.unapplied(fail(ReasonRenderFailed, "The chart uses a kind of object that cluster %s does not have: %s.", r.cluster.name, said))}
	case answered:
		return r.unapplied(fail(ReasonApplyRefused, "The API server refused what the chart renders: %s.", clip(status.Message, maxCause))), nil
	case strings.Contains(said, "cannot be imported into the current release"):
		return r.unapplied(fail(ReasonApplyRefused, "The chart carries an object that exists already and belongs to something else: %s.", said)), nil
	case strings.Contains(said, "values don't meet the specifications"):
		return r.unapplied(fail(ReasonValuesInvalid, "The values don't fit the chart's schema: %s.", said)), nil
	default:
		return r.unapplied(fail(ReasonRenderFailed, "The chart does not render to objects that can be applied: %s.", said)), nil
	}
}
