package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/pipeline"
)

// A cluster is asked for itself and for what rollouts need there; what is denied in a named namespace must be put right.
func TestDoctorCluster(t *testing.T) {
	allowed := true
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Path == "/version" {
			fmt.Fprint(w, `{"major": "1", "minor": "37"}`)
			return
		}
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(map[string]any{"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "status": map[string]any{"allowed": allowed}})
	}))
	defer api.Close()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	kubeconfig := fmt.Sprintf(`{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c}}], clusters: [{name: c, cluster: {server: %q}}]}`, api.URL)
	if err := os.WriteFile(file, []byte(kubeconfig), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &exam{c: Config{
		Clusters:     map[string]ClusterConfig{"c": {KubeconfigFile: file}},
		Environments: map[string]pipeline.EnvironmentPolicy{"staging": {Clusters: []string{"c"}, Namespaces: []string{"shop", "${{ repository.name }}", "team-*"}}},
	}}
	look := func(want verdict, text string) {
		t.Helper()
		found := p.cluster(t.Context(), "c")
		if len(found) != 1 || found[0].Verdict != want || !strings.Contains(found[0].Message, text) || (want != allRight) != (found[0].Remedy != "") {
			t.Errorf("want %s %q, got %+v", want, text, found)
		}
	}
	look(allRight, "answers")
	allowed = false
	look(failure, "in namespace shop it may not create leases.coordination.k8s.io")
	p.c.Environments["staging"] = pipeline.EnvironmentPolicy{Clusters: []string{"c"}, Namespaces: []string{"team-*"}}
	look(warning, "not in every namespace it may create leases")
	api.Close()
	look(failure, "ask cluster c for its version")
}

func TestDoctorClock(t *testing.T) {
	for skew, want := range map[time.Duration]verdict{
		0: allRight, 5 * time.Second: allRight, -5 * time.Second: allRight, 20 * time.Second: warning, -20 * time.Second: warning,
		time.Minute: failure, -time.Hour: failure,
	} {
		f := clockFinding(skew)
		if f.Verdict != want || strings.Contains(f.Message, "behind") != (skew < 0) || f.Check != "clock" {
			t.Errorf("%s: %+v", skew, f)
		}
	}
}

// Findings are one line each, and nothing in them acts on a terminal.
func TestDoctorLines(t *testing.T) {
	found := tidy("x", []finding{fail("two\nlines \x1b[31mred", strings.Repeat("long ", 500))})
	if f := found[0]; f.Check != "x" || f.Message != "two lines red" || len(f.Remedy) > 610 {
		t.Errorf("%+v", found)
	}
	joined := errors.Join(errors.New("a"), errors.Join(errors.New("b"), errors.New("c")))
	var parts []string
	for _, err := range each(fmt.Errorf("in the file: %w", joined)) {
		parts = append(parts, err.Error())
	}
	if !slices.Equal(parts, []string{"a", "b", "c"}) {
		t.Errorf("%q", parts)
	}
}
