package enginetest

import (
	"context"
	"os"
	"sync"
	"testing"
)

// shared are the engines this process started for tests to share, by what was
// asked for. They end with the process.
type shared struct {
	mu      sync.Mutex
	engines map[Options]*Engines
}

var forTests = shared{engines: make(map[Options]*Engines)}

// Start returns engines that tests share: those in the folder that
// SLIPWAY_ENGINES_DIR names if they offer what o asks for, else engines of this
// test process, started once for the same options. A test must therefore keep
// to repositories and namespaces of its own, and must not kill engines: for
// that there is StartOwn.
//
// Missing engines fail the test and say which command installs them.
func Start(t testing.TB, o Options) *Engines {
	t.Helper()
	o.Progress = nil // the engines outlive this test's log
	o.Kubernetes = o.kubernetes()
	if dir := os.Getenv(DirVariable); dir != "" {
		e, err := Use(t.Context(), dir)
		if err != nil {
			t.Fatalf("%s=%s: %v", DirVariable, dir, err)
		}
		if e.offers(o) {
			return e
		}
	}
	forTests.mu.Lock()
	defer forTests.mu.Unlock()
	if e := forTests.engines[o]; e != nil {
		return e
	}
	// Not t.Context(): it ends with this test.
	e, err := Run(context.WithoutCancel(t.Context()), o)
	if err != nil {
		t.Fatalf("this test needs the engines: %v", err)
	}
	forTests.engines[o] = e
	return e
}

// StartOwn returns engines for this test alone. They end with the test, and
// the test fails when they leave anything behind.
func StartOwn(t testing.TB, o Options) *Engines {
	t.Helper()
	if o.Progress == nil {
		o.Progress = t.Output()
	}
	e, err := Run(t.Context(), o)
	if err != nil {
		t.Fatalf("this test needs the engines: %v", err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// offers says whether running engines have all that o asks for.
func (e *Engines) offers(o Options) bool {
	return (o.NoBuildKit || e.BuildKit != "") && (o.NoRegistry || e.Registry != "") &&
		(o.kubernetes() == "none" || e.Kubernetes == o.kubernetes() && o.Nodes == 0)
}
