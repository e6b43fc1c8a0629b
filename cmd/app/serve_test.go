package main

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/jobs"
	"github.com/slipway-ci/slipway/web"
)

// TestWhoNeverReadsIsLetGo: on every listener but the operator's own, somebody who asks and never reads keeps nothing here for long.
func TestWhoNeverReadsIsLetGo(t *testing.T) {
	pages, err := web.New(web.Options{
		Runs: struct{ jobs.Set[jobs.Run] }{}, Archive: struct{ jobs.Set[jobs.Run] }{}, Index: listing{}, Logs: struct{ jobs.Logs }{},
		Decisions: struct{ jobs.Set[jobs.Decision] }{}, Results: struct{ jobs.Set[jobs.Result] }{}, Deliveries: listing{},
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &server{log: slog.New(slog.NewTextHandler(t.Output(), nil)), web: pages, webhook: http.NotFoundHandler()}
	s.config.Server = ServerConfig{
		Webhook: "127.0.0.1:0", Pages: "127.0.0.1:0", Metrics: "127.0.0.1:0", AdminSocket: filepath.Join(t.TempDir(), "s"),
	}
	t.Cleanup(func() { _ = s.close() })
	if err := s.listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(s.servers) != 4 {
		t.Errorf("%d listeners", len(s.servers))
	}
	for _, l := range s.servers {
		if end := l.http.WriteTimeout; l.name != "admin" && end != answerTimeout {
			t.Errorf("%s waits for %s", l.name, end)
		}
	}

	ended := make(chan error, 1)
	on, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.add("webhook", on, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for piece := make([]byte, 1<<20); ; {
			if _, err := w.Write(piece); err != nil {
				ended <- err
				return
			}
		}
	}), 50*time.Millisecond)
	endless := s.servers[len(s.servers)-1].http
	go func() { _ = endless.Serve(on) }()
	t.Cleanup(func() { _ = endless.Close() })
	conn, err := net.Dial("tcp", on.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("ended by %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("the answer is still being written")
	}
}
