package queue

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/queue/queuetest"
)

// Every kind of queue keeps the same contract: each function of contracts runs against each of backends.
var contracts = map[string]func(t *testing.T, open opener){
	"create once, compare and swap, delete":             testRecords,
	"malformed keys are refused":                        testKeys,
	"large records are kept, too large ones refused":    testLargeRecords,
	"of many creators and writers exactly one wins":     testRecordsConcurrently,
	"all records are listed":                            testAll,
	"watchers hear of every change":                     testWatch,
	"buckets are apart":                                 testBuckets,
	"a full bucket refuses and a delete makes room":     testFullBucket,
	"a lease has one holder":                            testLeases,
	"a lease ends by itself":                            testLeaseExpiry,
	"hints wait, are taken once and acknowledged":       testHints,
	"a hint not acknowledged is offered again":          testHintAgain,
	"logs are read back":                                testLogs,
	"a log is followed to its end":                      testLogFollow,
	"a log is read from near its end":                   testLogTail,
	"a delivery is stored once":                         testAccept,
	"of many acceptors exactly one creates":             testAcceptConcurrently,
	"large deliveries are divided and put together":     testLargeDeliveries,
	"deliveries are listed in pages, newest first":      testListDeliveries,
	"every delivery is handed over":                     testFollow,
	"a failing delivery comes again and holds up none":  testFollowErrors,
	"decided deliveries stay decided":                   testWatermark,
	"a full queue refuses, decided deliveries give way": testEviction,
	"runs are listed once, newest first":                testIndex,
	"a queue in use is healthy":                         testHealthy,
}

// An opener opens a new and empty queue.
type opener func(t *testing.T, l Limits) *Queue

var backends = map[string]opener{
	"memory": func(t *testing.T, l Limits) *Queue { return memory(l, testLog(t)) },
	"embedded": func(t *testing.T, l Limits) *Queue {
		return open(t, Config{Embedded: Embedded{Dir: t.TempDir()}, Limits: l})
	},
	"external": func(t *testing.T, l Limits) *Queue {
		return open(t, Config{URL: queuetest.Server(t), Limits: l})
	},
}

func TestContract(t *testing.T) {
	for name, backend := range backends {
		t.Run(name, func(t *testing.T) {
			for name, contract := range contracts {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					contract(t, backend)
				})
			}
		})
	}
}

func open(t testing.TB, c Config) *Queue {
	t.Helper()
	q, err := openQueue(t.Context(), c, testLog(t)) // some tests want limits below the least
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		must(t, q.Close(context.WithoutCancel(t.Context())))
	})
	return q
}

func testLog(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
}

// within ends the test's context after a time no step should need.
func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mustBe(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want %v", err, want)
	}
}

func equal[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}

func testHealthy(t *testing.T, open opener) {
	must(t, open(t, Limits{}).Healthy(within(t)))
}
