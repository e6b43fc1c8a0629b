package deploy

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

func TestDocumentsAreFetchedOnce(t *testing.T) {
	var hits atomic.Int32
	status := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		hits.Add(1)
		w.Header().Set("X-Accept", req.Header.Get("Accept"))
		w.WriteHeader(status)
		_, _ = io.WriteString(w, "body of "+req.URL.RequestURI())
	}))
	defer server.Close()
	cache := &documentCache{}
	get := func(method, path, accept string) {
		t.Helper()
		req := httptest.NewRequest(method, server.URL+path, nil)
		req.Header.Set("Accept", accept)
		resp, err := cache.wrap(http.DefaultTransport).RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || string(body) != "body of "+path || resp.Header.Get("X-Accept") != accept || resp.StatusCode != status {
			t.Errorf("%s: %d %q %v", path, resp.StatusCode, body, err)
		}
	}
	for _, tc := range []struct {
		method, path string
		kept         bool
	}{
		{"GET", "/api", true},
		{"GET", "/apis/apps/v1", true},
		{"GET", "/openapi/v3/apis/apps/v1?hash=1", true},
		{"GET", "/prefix/apis", true},
		{"GET", "/version", false},
		{"GET", "/api/v1/namespaces/tks/secrets", false},
		{"POST", "/apis/apps/v1", false},
	} {
		before := hits.Load()
		get(tc.method, tc.path, "json")
		get(tc.method, tc.path, "json")
		get(tc.method, tc.path, "json;as=aggregated") // another form of it
		want := int32(3)
		if tc.kept {
			want = 2
		}
		if got := hits.Load() - before; got != want {
			t.Errorf("%s %s: asked %d times, want %d", tc.method, tc.path, got, want)
		}
	}
	status = http.StatusServiceUnavailable
	before := hits.Load()
	get("GET", "/apis/new/v1", "json")
	get("GET", "/apis/new/v1", "json")
	if hits.Load()-before != 2 {
		t.Error("an error was kept")
	}
}

// A kind's check is worked out once for all rollouts; what went wrong meanwhile is not remembered.
func TestSchemaIsShared(t *testing.T) {
	type doc = map[string]any
	answers := map[string]doc{
		"/openapi/v3": {"paths": doc{"api/v1": doc{"serverRelativeURL": "/openapi/v3/api/v1?hash=1"}}},
		"/openapi/v3/api/v1": {"openapi": "3.0.0", "info": doc{"title": "Kubernetes", "version": "1"}, "paths": doc{"/api/v1/configmaps/{name}": doc{"patch": doc{
			"x-kubernetes-group-version-kind": doc{"group": "", "version": "v1", "kind": "ConfigMap"},
			"parameters":                      []doc{{"name": "fieldValidation", "in": "query"}},
		}}}},
	}
	var hits, broken atomic.Int32
	broken.Store(1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		hits.Add(1)
		answer := answers[req.URL.Path]
		if broken.Load() == 1 || answer == nil {
			http.Error(w, "not today", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer)
	}))
	defer server.Close()
	c, err := newCluster("test", &rest.Config{Host: server.URL}, testLog(t), defaultTiming())
	if err != nil {
		t.Fatal(err)
	}
	offers, err := c.offered()
	if err != nil {
		t.Fatal(err)
	}
	check := func() error {
		return offers.schema.ValidateBytes([]byte(`{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}`))
	}
	if err := check(); err == nil {
		t.Error("an API server that fails lets an object pass")
	}
	broken.Store(0)
	if err := check(); err != nil {
		t.Errorf("the API server is well again: %v", err)
	}
	before := hits.Load()
	start := time.Now()
	for range 100 {
		if err := check(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("100 checks in %s", time.Since(start))
	if got := hits.Load() - before; got != 0 {
		t.Errorf("the API server was asked %d times more", got)
	}
}
