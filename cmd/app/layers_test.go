package main

import (
	"go/build"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/slipway-ci/slipway/"

// layers says which of our packages each package may import. What is not listed may import none.
var layers = map[string][]string{
	"jobs":          {},
	"deploy":        {},
	"pipeline":      {"jobs"},
	"webhook":       {"jobs"},
	"queue":         {"jobs"},
	"githubapp":     {"jobs"},
	"web":           {"jobs"},
	"outbound":      {"jobs"},
	"jobs/build":    {"jobs"},
	"jobs/rollout":  {"jobs", "deploy"},
	"jobs/dispatch": {"jobs"},
	"jobs/await":    {"jobs"},
	"cmd/app":       {"jobs", "deploy", "pipeline", "webhook", "queue", "githubapp", "web", "outbound", "jobs/build", "jobs/rollout", "jobs/dispatch", "jobs/await"},
	"cmd/demo":      {"enginetest", "githubapp/githubtest", "jobs", "web"},

	// For tests and the demo.
	"enginetest":                        {},
	"githubapp/githubtest":              {},
	"githubapp/githubtest/openapiprune": {},
	"queue/queuetest":                   {},
}

// TestLayers holds the one-way order of the packages; jobs, the centre, imports the standard library only.
func TestLayers(t *testing.T) {
	seen := map[string]bool{}
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		name := strings.TrimPrefix(filepath.ToSlash(path), "../../")
		_, foreign := os.Stat(filepath.Join(path, "go.mod"))
		if path != "../.." && foreign == nil || d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && path != "../.." {
			return filepath.SkipDir // another module, or no code of ours
		}
		p, err := build.ImportDir(path, 0)
		if err != nil {
			return nil // a folder without Go files
		}
		seen[name] = true
		allowed, listed := layers[name]
		if !listed {
			t.Errorf("%s is not in the list of layers", name)
		}
		for _, imported := range p.Imports {
			ours, isOurs := strings.CutPrefix(imported, module)
			switch {
			case isOurs && !slices.Contains(allowed, ours):
				t.Errorf("%s must not import %s", name, ours)
			case name == "jobs" && strings.Contains(strings.SplitN(imported, "/", 2)[0], "."):
				t.Errorf("jobs must not import %s: it is standard library only", imported)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range layers {
		if !seen[name] {
			t.Errorf("%s is in the list of layers but not in the tree", name)
		}
	}
}
