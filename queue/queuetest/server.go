// Package queuetest starts NATS servers for tests that need an external queue.
package queuetest

import (
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// Server starts a NATS server with JetStream in this process, listening on a free port of 127.0.0.1, and returns its
// URL. It stores in a folder of the test and ends with the test. Its largest payload is NATS's default of 1 MiB.
func Server(t testing.TB) (url string) {
	t.Helper()
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: t.TempDir(), SyncAlways: true, DisableJetStreamBanner: true,
		JetStreamMaxStore: 64 << 30,
	})
	if err != nil {
		t.Fatalf("configure a NATS server: %v", err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(30 * time.Second) {
		t.Fatal("the NATS server did not start within 30 s")
	}
	return s.ClientURL()
}
