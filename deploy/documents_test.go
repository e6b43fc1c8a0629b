package deploy

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
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
