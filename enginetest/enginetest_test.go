package enginetest

import (
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var light = Options{Kubernetes: "none"}

func TestStartSharesOneInstance(t *testing.T) {
	t.Setenv(DirVariable, "")
	first := Start(t, light)
	if second := Start(t, light); second != first {
		t.Errorf("a second Start began another instance in %s", second.Dir)
	}
	if first.BuildKit == "" || first.Registry == "" || first.Kubeconfig != "" {
		t.Errorf("asked for BuildKit and registry without Kubernetes, got %+v", first)
	}
	t.Run("by folder", func(t *testing.T) {
		t.Setenv(DirVariable, first.Dir)
		e := Start(t, light)
		if e.Registry != first.Registry || e.Supervisor != first.Supervisor {
			t.Errorf("got %+v, want the instance in %s", e, first.Dir)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		wantRegistry(t, first, true)
	})
}

func TestStartOwnKillReviveAndGone(t *testing.T) {
	var e *Engines
	t.Run("alive", func(t *testing.T) {
		e = StartOwn(t, light)
		wantRegistry(t, e, true)
		if err := e.Kill(t.Context(), "registry"); err != nil {
			t.Fatal(err)
		}
		wantRegistry(t, e, false)
		if err := e.Kill(t.Context(), "registry"); err == nil || !strings.Contains(err.Error(), "dead already") {
			t.Errorf("killing the dead: got %v", err)
		}
		if err := e.Revive(t.Context(), "registry"); err != nil {
			t.Fatal(err)
		}
		wantRegistry(t, e, true)
	})
	wantRegistry(t, e, false)
	if _, err := os.Stat(e.Dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder %s is left: %v", e.Dir, err)
	}
}

func TestMissingEnginesAreSaid(t *testing.T) {
	t.Run("program", func(t *testing.T) {
		t.Setenv(ProgramVariable, filepath.Join(t.TempDir(), "engines"))
		if _, err := Run(t.Context(), light); err == nil || !strings.Contains(err.Error(), ProgramVariable) {
			t.Errorf("got %v, want an error that names %s", err, ProgramVariable)
		}
	})
	t.Run("not installed", func(t *testing.T) {
		t.Setenv(ProgramVariable, "")
		t.Setenv("SLIPWAY_CACHE", t.TempDir())
		if _, err := Run(t.Context(), light); err == nil || !strings.Contains(err.Error(), "run . install") {
			t.Errorf("got %v, want an error with the command that installs", err)
		}
	})
	t.Run("not running", func(t *testing.T) {
		if _, err := Use(t.Context(), t.TempDir()); err == nil || !strings.Contains(err.Error(), "engines start --dir") {
			t.Errorf("got %v, want an error with the command that starts", err)
		}
	})
}

// wantRegistry checks whether the registry answers with the seeded images.
func wantRegistry(t *testing.T, e *Engines, up bool) {
	t.Helper()
	response, err := http.Get("http://" + e.Registry + "/v2/library/alpine/tags/list")
	if err == nil {
		response.Body.Close()
	}
	if got := err == nil && response.StatusCode == http.StatusOK; got != up {
		t.Errorf("registry %s answers: %t, want %t (%v)", e.Registry, got, up, err)
	}
}
