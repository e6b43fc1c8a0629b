package deploy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"syscall"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
)

func TestTransient(t *testing.T) {
	pods := schema.GroupResource{Resource: "pods"}
	refused := &url.Error{Op: "Get", URL: "https://x", Err: &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}}
	for _, tc := range []struct {
		name string
		err  error
		ours bool
	}{
		{"connection refused", refused, true},
		{"deep in an aggregate", fmt.Errorf("a: %w", utilerrors.NewAggregate([]error{errors.New("x"), fmt.Errorf("b: %w", refused)})), true},
		{"joined", errors.Join(errors.New("x"), refused), true},
		{"unauthorized", apierrors.NewUnauthorized("token expired"), true},
		{"overloaded", apierrors.NewTooManyRequests("slow down", 1), true},
		{"unavailable", apierrors.NewServiceUnavailable("starting"), true},
		{"internal", apierrors.NewInternalError(errors.New("webhook away")), true},
		{"server timeout", apierrors.NewServerTimeout(pods, "get", 1), true},
		{"lease lost", fmt.Errorf("patch: %w", ErrLeaseLost), true},
		{"record not written", &recordError{"update", errors.New("forbidden")}, true},

		{"invalid object", apierrors.NewInvalid(schema.GroupKind{Kind: "Pod"}, "p", nil), false},
		{"forbidden object", fmt.Errorf("apply: %w", apierrors.NewForbidden(pods, "p", errors.New("quota"))), false},
		{"conflict of fields", apierrors.NewApplyConflict(nil, "conflict"), false},
		{"unknown field", apierrors.NewInternalError(errors.New("failed to create typed patch object: .dta: field not declared in schema")), false},
		{"bad request", apierrors.NewBadRequest("unknown field"), false},
		{"not ready in time", errors.Join(errors.New("resource not ready"), context.DeadlineExceeded), false},
		{"template", errors.New("template: shop/templates/a.yaml:1: nil pointer"), false},
	} {
		if got := transient(tc.err); got != tc.ours {
			t.Errorf("%s: ours %v", tc.name, got)
		}
	}
}

func TestNoMatch(t *testing.T) {
	err := &meta.NoKindMatchError{GroupKind: schema.GroupKind{Group: "x", Kind: "Thing"}}
	if !noMatch(fmt.Errorf("build: %w", err)) || !noMatch(errors.New(`resource mapping not found: no matches for kind "Thing"`)) || noMatch(errors.New("x")) {
		t.Error("unknown kinds are not told apart")
	}
}
