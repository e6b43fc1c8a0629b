package deploy

import (
	"net/http"
	"strings"
	"testing"
)

func TestRollbackWithoutACluster(t *testing.T) {
	good := Rollback{Namespace: "tks", Name: "shop", Owner: testOwner()}
	for _, change := range []func(*Rollback){
		func(b *Rollback) { b.Namespace = "../kube-system" },
		func(b *Rollback) { b.Name = "Shop!" },
	} {
		c, asked := refusing(t, http.StatusTeapot)
		back := good
		change(&back)
		out, err := c.Rollback(t.Context(), back, newTestWriter(t))
		if err != nil || out.Failure == nil || out.Failure.Reason != ReasonReleaseInvalid || out.Status != StatusUnchanged || *asked != 0 {
			t.Errorf("%+v, %v after %d requests", out, err, *asked)
		}
	}
	for _, code := range []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusInternalServerError} {
		c, _ := refusing(t, code)
		out, err := c.Rollback(t.Context(), good, newTestWriter(t))
		if err == nil || out.Failure != nil || !strings.Contains(err.Error(), "roll back tks/shop on cluster test") {
			t.Errorf("status %d: %+v, %v", code, out, err)
		}
	}
	// Where there is no namespace, none is made.
	c, asked := refusing(t, http.StatusNotFound)
	out, err := c.Rollback(t.Context(), good, newTestWriter(t))
	if err != nil || out.Failure == nil || out.Failure.Reason != ReasonNoRevision || *asked != 1 {
		t.Errorf("%+v, %v after %d requests", out, err, *asked)
	}
}
