package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/slipway-ci/slipway/jobs"
	"github.com/slipway-ci/slipway/pipeline"
)

// TestInit holds proposals to golden files: each archive is a working copy of acme/shop, its file "want" the proposal.
// The archive's comment may name an --image. Every proposal passes validation. -update renews them.
func TestInit(t *testing.T) {
	files, err := filepath.Glob("testdata/init/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(archive.Files, func(f txtar.File) bool { return f.Name == "want" })
			if i < 0 {
				i = len(archive.Files)
				archive.Files = append(archive.Files, txtar.File{Name: "want"})
			}
			dir := t.TempDir()
			for j, f := range archive.Files {
				if j == i {
					continue
				}
				name := filepath.Join(dir, filepath.FromSlash(f.Name))
				if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(name, f.Data, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			found, err := explore(dir)
			if err != nil {
				t.Fatal(err)
			}
			p := proposal{environment: "staging", owner: "Acme", name: "Shop"}
			if _, image, ok := strings.Cut(string(archive.Comment), "--image "); ok {
				p.image = strings.Fields(image)[0]
			}
			got, err := propose(found, p)
			if err != nil {
				got = "error: " + err.Error() + "\n"
			} else if faults := pipeline.Validate([]byte(got), jobs.PipelinePath); len(faults) > 0 {
				t.Errorf("the proposal has faults: %v", faults)
			}
			if *update {
				archive.Files[i].Data = []byte(got)
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if want := string(archive.Files[i].Data); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// Names that a repository may have never become another YAML than was meant.
func FuzzInit(f *testing.F) {
	odd := []string{"services/api", "a b/'c\"", "true", "null", "#", "x #y", "x: {y}", "- x", "\u2028- x", "\x7f", "a\nb: c", "${{ x }}", "&a", "*", "!x", "@", "`", "%", "0x1f", "1e3", ".5", "~", "é", "\xff", "\\", "a,b]", "?", "=", "<<", "\ufeff"}
	for i, dir := range odd {
		for j := range odd {
			f.Add(dir, odd[(i+j)%len(odd)], "FROM a\nCOPY go.mod "+odd[(i*j)%len(odd)]+" /\nADD [\"a\", \"b\"] /\nCOPY --from=b c d")
		}
	}
	f.Fuzz(func(t *testing.T, dir, chartName, text string) {
		found := &findings{files: map[string]bool{dir + "/Dockerfile": true, "go.mod": true}}
		if copied, ok := sources(text); ok {
			found.dockerfiles = []dockerfile{{path: dir + "/Dockerfile", context: dir, why: found.wider(dir, copied)}, {path: "Dockerfile", context: "."}}
		}
		found.charts = []chart{{dir: dir, name: chartName, values: map[string]any{"image": map[string]any{"digest": "", "repository": text}}}, {dir: "b", name: chartName}}
		found.note("%s", text)
		text, err := proposal{environment: chartName, owner: dir, name: chartName}.render(found)
		if err != nil {
			t.Fatal(err)
		}
		for _, fault := range pipeline.Validate([]byte(text), jobs.PipelinePath) {
			// A folder or environment of such a name can't be written in a pipeline at all; but it must be understood as a name.
			for _, broken := range []string{"YAML", "unknown key", "not a mapping", "twice"} {
				if strings.Contains(fault.Message, broken) {
					t.Errorf("%s\n%s", fault.Message, text)
				}
			}
		}
	})
}
