package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestOutcome(t *testing.T) {
	good, bad := step{OK: true}, step{Problems: []string{"no"}}
	for name, c := range map[string]struct {
		steps []step
		want  error
	}{
		"all good": {[]step{good, good}, nil},
		"one bad":  {[]step{good, bad, good}, errNotAsPromised},
	} {
		if err := outcome(c.steps); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// The summary is read by programs: its keys stay, and lists are lists also when they are empty.
func TestSummary(t *testing.T) {
	got, err := json.Marshal(step{
		Step: "a", Expected: []string{}, Problems: []string{}, GitHub: githubFacts{Checks: []check{{Name: "slipway", text: "long"}}},
		Registry: registryFacts{Tags: map[string]string{"latest": "sha256:1"}}, Cluster: clusterFacts{Revisions: []revision{{1, "deployed"}}, Pods: []pod{}},
	})
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"step":"a","expected":[],` +
		`"github":{"commit":"","checks":[{"name":"slipway","conclusion":"","title":""}],"asked":0},` +
		`"registry":{"image":"","tags":{"latest":"sha256:1"}},` +
		`"cluster":{"revisions":[{"number":1,"status":"deployed"}],"pods":[]},` +
		`"seconds":0,"ok":false,"problems":[]}`
	if string(got) != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

func TestPrinter(t *testing.T) {
	var out bytes.Buffer
	p := newPrinter(&out)
	p.wide = 40
	p.heading("%d. %s", 1, "A push")
	p.line("image", "#1 [builder 1/5] FROM golang")
	p.line("run", "http://127.0.0.1:12345/runs/r-abcdefgh")
	p.promise("it is so", nil)
	p.promise("it is so, too", errors.New("it is not"))
	p.total([]step{{OK: true}, {}}, 61*time.Second)
	want := `
1. A push
   0.0s  image       #1 [builder 1/5] F…
   0.0s  run         http://127.0.0.1:12345/runs/r-abcdefgh
  ✓ it is so
  ✗ it is so, too
      not so: it is not

1 of 2 steps as promised in 61 s, starting the engines and the server included
`
	if out.String() != want {
		t.Errorf("printed\n%s\nwant\n%s", out.String(), want)
	}
}

func TestNoColoursWithoutATerminal(t *testing.T) {
	if p := newPrinter(io.Discard); p.paint(red, "x") != "x" {
		t.Error("painted for what is no terminal")
	}
	if p := (&printer{colours: true}); p.paint(red, "x") != "\x1b[31mx\x1b[0m" {
		t.Error("not painted")
	}
}

func TestOptions(t *testing.T) {
	t.Setenv("BUILDKIT_HOST", "unix:///b.sock")
	t.Setenv("KUBECONFIG", "")
	for args, want := range map[string]string{
		"--buildkit env":                                 "",
		"--once --registry r.example.com --keep":         "",
		"--kubeconfig k --registry r.example.com":        "",
		"--kubeconfig k":                                 "--kubeconfig needs --registry",
		"--kubeconfig env --registry r.example.com":      "$KUBECONFIG is not set",
		"--registry-insecure":                            "needs --registry",
		"--registry r.example.com --registry-username u": "belong together",
		"once": `what is "once"?`,
	} {
		o, err := parse(strings.Fields(args), io.Discard)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", args, err, want)
		}
		if o.buildkit != "" && o.buildkit != "unix:///b.sock" {
			t.Errorf("%s: BuildKit is at %s", args, o.buildkit)
		}
	}
}

// The story's changes must fit the sample repository, and do what they are for.
func TestEdits(t *testing.T) {
	root, err := findRoot()
	if err != nil {
		t.Fatal(err)
	}
	w := &workcopy{dir: t.TempDir()}
	if err := os.CopyFS(w.dir, os.DirFS(filepath.Join(root, "examples", "tks-contract"))); err != nil {
		t.Fatal(err)
	}
	if err := w.befriend(); err != nil {
		t.Error(err)
	}
	line, err := w.breakBuild()
	if err != nil {
		t.Fatal(err)
	}
	dockerfile, err := os.ReadFile(filepath.Join(w.dir, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Split(string(dockerfile), "\n")[line-1]; !strings.HasPrefix(got, buildStep) {
		t.Errorf("line %d of the Dockerfile is %q", line, got)
	}
	if err := w.mendBuildAndCrash(); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "tks-contract")
	if out, err := runIn(t, w.dir, "go", "build", "-o", program, "."); err != nil {
		t.Fatalf("the program that is to crash does not build: %v\n%s", err, out)
	}
	if out, err := runIn(t, w.dir, program); err == nil || !strings.Contains(out, lastWords) {
		t.Errorf("the program that is to crash: %v, %s", err, out)
	}
	if out, err := runIn(t, w.dir, program, "migrate", filepath.Join(t.TempDir(), "schema.sql")); err != nil {
		t.Errorf("the schema can't be prepared, so that the rollout would fail too early: %v\n%s", err, out)
	}
	if err := w.pry(); err != nil {
		t.Error(err)
	}
	if err := w.pry(); err != nil {
		t.Errorf("an edit that still fits: %v", err)
	}
	if err := w.befriend(); err == nil {
		t.Error("an edit that fits no more went through")
	}
}

func runIn(t *testing.T, dir, program string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "CONTRACTS_URL=")
	out, err := cmd.CombinedOutput()
	return string(out), err
}
