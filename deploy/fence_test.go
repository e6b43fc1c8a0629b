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
	var arrived atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		arrived.Store(true)
		<-req.Context().Done()
	}))
	defer server.Close()
	f := &fence{}
	client := &http.Client{Transport: fenced(http.DefaultTransport, f, &confinement{}, time.Minute)}
	var err error
	for wait := 200 * time.Millisecond; !arrived.Load() || !errors.Is(err, context.DeadlineExceeded); wait *= 2 { // a slow machine needs longer to get there
		if wait > 20*time.Second {
			t.Fatalf("a write that hangs past the lease ended with %v, arrived: %t", err, arrived.Load())
		}
		req, bad := http.NewRequestWithContext(t.Context(), http.MethodPut, server.URL+"/api/v1/namespaces/tks/configmaps/x", nil)
		if bad != nil {
			t.Fatal(bad)
		}
		f.extend(time.Now().Add(wait))
		_, err = client.Do(req)
	}
	if !transient(err) {
		t.Error("it counts as theirs")
	}
}
