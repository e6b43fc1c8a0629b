package deploy

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

// refusing is a cluster whose API server gives one answer to everything.
func refusing(t *testing.T, code int) (*Cluster, *int) {
	t.Helper()
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		w.WriteHeader(code)
	}))
	t.Cleanup(server.Close)
	c, err := newCluster("test", &rest.Config{Host: server.URL}, testLog(t), defaultTiming())
	if err != nil {
		t.Fatal(err)
	}
	return c, &asked
}

func TestTheirTroubleNeedsNoCluster(t *testing.T) {
	good := Release{Namespace: "tks", Name: "shop", Chart: "charts/shop", Source: chartTree(t, nil), Owner: testOwner()}
	for _, tc := range []struct {
		name   string
		change func(*Release)
		reason Reason
	}{
		{"namespace", func(r *Release) { r.Namespace = "../kube-system" }, ReasonReleaseInvalid},
		{"name", func(r *Release) { r.Name = "Shop!" }, ReasonReleaseInvalid},
		{"chart", func(r *Release) { r.Chart = "../../etc" }, ReasonChartInvalid},
		{"values", func(r *Release) { r.ValuesFiles = []string{"/etc/passwd"} }, ReasonValuesInvalid},
		{"set", func(r *Release) { r.Set = m{"": 1} }, ReasonValuesInvalid},
	} {
		c, asked := refusing(t, http.StatusTeapot)
		rel := good
		tc.change(&rel)
		out, err := c.Rollout(t.Context(), rel, newTestWriter(t))
		if err != nil || out.Failure == nil || out.Failure.Reason != tc.reason || out.Status != StatusUnchanged {
			t.Errorf("%s: %+v, %v", tc.name, out, err)
		}
		if *asked != 0 {
			t.Errorf("%s: the cluster was asked %d times", tc.name, *asked)
		}
	}
}

func TestOurTroubleIsAnError(t *testing.T) {
	rel := Release{Namespace: "tks", Name: "shop", Chart: "charts/shop", Source: chartTree(t, nil), Owner: testOwner()}
	for _, code := range []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusInternalServerError} {
		c, _ := refusing(t, code)
		if out, err := c.Rollout(t.Context(), rel, newTestWriter(t)); err == nil || out.Failure != nil {
			t.Errorf("status %d: %+v", code, out)
		}
		if err := c.Ping(t.Context()); err == nil {
			t.Errorf("status %d: ping succeeded", code)
		}
	}
	away, err := newCluster("away", &rest.Config{Host: "http://127.0.0.1:1"}, testLog(t), defaultTiming())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := away.Rollout(t.Context(), rel, newTestWriter(t)); err == nil || !strings.Contains(err.Error(), "tks/shop on cluster away") {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("shutting down"))
	if _, err := away.Rollout(ctx, rel, newTestWriter(t)); err == nil {
		t.Error("a rollout under an ended context succeeded")
	}
}

func TestTimeoutDefault(t *testing.T) {
	if (Release{}).timeout() != DefaultTimeout || (Release{Timeout: time.Second}).timeout() != time.Second {
		t.Error("the default timeout does not apply")
	}
}
