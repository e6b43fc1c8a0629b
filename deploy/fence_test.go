package deploy

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestFenceRefusesLateWrites(t *testing.T) {
	var writes, reads atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		if req.Method == http.MethodGet {
			reads.Add(1)
		} else {
			writes.Add(1)
		}
	}))
	defer server.Close()
	f := &fence{}
	client := &http.Client{Transport: fenced(http.DefaultTransport, f, &confinement{}, time.Minute)}
	send := func(method string) error {
		t.Helper()
		body := &closeNoted{Reader: strings.NewReader("{}")}
		req, err := http.NewRequestWithContext(t.Context(), method, server.URL+"/api/v1/namespaces/tks/configmaps/x", body)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			if !body.closed.Load() {
				t.Error("a refused request's body was left open")
			}
			return err
		}
		return resp.Body.Close()
	}
	mutating := []string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}
	refused := func(when string) {
		t.Helper()
		before := writes.Load()
		for _, method := range mutating {
			if err := send(method); !errors.Is(err, ErrLeaseLost) {
				t.Errorf("%s %s: %v", method, when, err)
			}
		}
		if writes.Load() != before {
			t.Errorf("writes reached the server %s", when)
		}
		if err := send(http.MethodGet); err != nil {
			t.Errorf("read %s: %v", when, err)
		}
	}

	refused("before the lease")
	f.extend(time.Now().Add(time.Hour))
	for _, method := range mutating {
		if err := send(method); err != nil {
			t.Errorf("%s under the lease: %v", method, err)
		}
	}
	if writes.Load() != int32(len(mutating)) {
		t.Errorf("%d writes arrived, want %d", writes.Load(), len(mutating))
	}
	f.extend(time.Now().Add(-time.Nanosecond))
	refused("past the lease")
	f.extend(time.Now().Add(time.Hour))
	f.lose()
	f.extend(time.Now().Add(time.Hour))
	refused("after the lease was lost, though extended since")
}

type closeNoted struct {
	*strings.Reader
	closed atomic.Bool
}

func (c *closeNoted) Close() error { c.closed.Store(true); return nil }

func TestFenceEndsWritesWithTheLease(t *testing.T) {
	arrived := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		close(arrived)
		<-req.Context().Done()
	}))
	defer server.Close()
	f := &fence{}
	f.extend(time.Now().Add(200 * time.Millisecond))
	client := &http.Client{Transport: fenced(http.DefaultTransport, f, &confinement{}, time.Minute)}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, server.URL+"/api/v1/namespaces/tks/configmaps/x", nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.Do(req)
	<-arrived
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a write that hangs past the lease ended with %v", err)
	}
	if !transient(err) {
		t.Error("it counts as theirs")
	}
}

func TestConfinement(t *testing.T) {
	for _, tc := range []struct {
		method, path string
		ok           bool
	}{
		{"GET", "/version", true},
		{"GET", "/api", true},
		{"GET", "/api/v1", true},
		{"GET", "/apis", true},
		{"GET", "/apis/apps/v1", true},
		{"GET", "/openapi/v3/apis/apps/v1", true},
		{"GET", "/api/v1/namespaces/tks", true},
		{"GET", "/api/v1/namespaces/tks/secrets", true},
		{"PATCH", "/apis/apps/v1/namespaces/tks/deployments/shop", true},
		{"GET", "/k8s/clusters/c-1/api/v1/namespaces/tks/pods", true},
		{"GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", true},

		{"POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", false},
		{"DELETE", "/api/v1/namespaces/tks", false},
		{"GET", "/api/v1/namespaces/kube-system/secrets/x", false},
		{"GET", "/api/v1/namespaces", false},
		{"GET", "/api/v1/secrets", false},
		{"GET", "/api/v1/nodes/n/proxy/x", false},
		{"GET", "/apis/rbac.authorization.k8s.io/v1/clusterroles", false},
		{"PATCH", "/apis/rbac.authorization.k8s.io/v1/clusterroles/admin", false},
		{"PATCH", "/apis/apps/v1/namespaces/tks-2/deployments/shop", false},
		{"GET", "/api/v1/namespaces/tks/../kube-system/secrets", false},
		{"GET", "/metrics", false},
		{"GET", "/logs/kube-apiserver.log", false},
		{"GET", "/", false},
	} {
		req := httptest.NewRequest(tc.method, "http://x"+tc.path, nil)
		c := &confinement{namespace: "tks"}
		if err := c.check(req); (err == nil) != tc.ok {
			t.Errorf("%s %s: %v", tc.method, tc.path, err)
		}
		if (c.firstRefused() == nil) != tc.ok {
			t.Errorf("%s %s: not remembered", tc.method, tc.path)
		}
		if err := (&confinement{}).check(req); err != nil {
			t.Errorf("%s %s unconfined: %v", tc.method, tc.path, err)
		}
	}
}
