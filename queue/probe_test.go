package queue_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-ci/slipway/queue"
	"github.com/slipway-ci/slipway/queue/queuetest"
)

// A probe tells a folder that can be used from one that can't, and leaves nothing in it.
func TestProbeFolder(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(dir, "a", "data")
	c := queue.Config{Embedded: queue.Embedded{Dir: data}}
	if err := queue.Probe(t.Context(), c); err != nil {
		t.Errorf("a folder that can be made: %v", err)
	}
	if list, err := os.ReadDir(dir); err != nil || len(list) != 1 {
		t.Errorf("the probe left %v %v", list, err)
	}
	if err := queue.Probe(t.Context(), queue.Config{Embedded: queue.Embedded{Dir: file}}); err == nil || !strings.Contains(err.Error(), "not a folder") {
		t.Errorf("a file: %v", err)
	}
	if err := queue.Probe(t.Context(), queue.Config{}); err == nil {
		t.Error("nothing is configured, and it can be used")
	}
	q, err := queue.Open(t.Context(), c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := queue.Probe(t.Context(), c); !errors.Is(err, queue.ErrInUse) {
		t.Errorf("a folder in use: %v", err)
	}
	if err := q.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 { // it gives the lock back
		if err := queue.Probe(t.Context(), c); err != nil {
			t.Errorf("a folder that was used: %v", err)
		}
	}
}

func TestProbeCluster(t *testing.T) {
	if err := queue.Probe(t.Context(), queue.Config{URL: queuetest.Server(t)}); err != nil {
		t.Errorf("a server with JetStream: %v", err)
	}
	if err := queue.Probe(t.Context(), queue.Config{URL: "nats://127.0.0.1:1"}); err == nil {
		t.Error("nobody answers, and it can be used")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := queue.Probe(ctx, queue.Config{URL: "nats://127.0.0.1:1"}); err == nil {
		t.Error("given up, and it can be used")
	}
}
