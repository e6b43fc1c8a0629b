//go:build engines

package build

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/enginetest"
	"github.com/slipway-ci/slipway/jobs"
)

// slow is a build that says when it is in the middle of its work, and stays there.
func slow(t testing.TB) *commit {
	return newCommit(t, map[string]string{"Dockerfile": "FROM alpine\nARG SALT\nRUN echo in the middle of $SALT; sleep 600\n"})
}

// soon is how long a build may take to end once it was told to.
const soon = time.Minute

func TestEngineCancel(t *testing.T) {
	e := engines(t)
	k := newKind(t, e)
	task, rec := newTask(t, slow(t), e.Registry, jobs.BuildSpec{Image: e.Registry + "/acme/shop", Args: map[string]string{"SALT": unique(t)}})
	ctx, cancel := context.WithCancelCause(t.Context())
	var cancelled time.Time
	go func() {
		rec.waitFor(t, "in the middle of acme/shop")
		cancelled = time.Now()
		cancel(jobs.ErrCancelled)
	}()
	result, err := k.Run(ctx, task)
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("got %+v, %v", result, err)
	}
	if took := time.Since(cancelled); took > soon {
		t.Errorf("ended %s after it was cancelled", took)
	}
	// Nothing goes on: the slot is free, and the builder works.
	task, rec = newTask(t, newCommit(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"}), e.Registry, jobs.BuildSpec{Image: e.Registry + "/" + unique(t)})
	mustRun(t, k, task, rec, jobs.Success)
	if k.pool.builders[0].running != 0 {
		t.Error("a slot is still taken")
	}
}

func TestEngineTimeout(t *testing.T) {
	e := engines(t)
	k := newKind(t, e, func(c *Config) { c.Timeout = 5 * time.Second })
	task, rec := newTask(t, slow(t), e.Registry, jobs.BuildSpec{Image: e.Registry + "/acme/shop", Args: map[string]string{"SALT": unique(t)}})
	r := mustRun(t, k, task, rec, jobs.TimedOut)
	if !strings.Contains(r.Summary, "stopped after 5.0 s, in `RUN echo in the middle") {
		t.Errorf("got %s", r.Summary)
	}
	if len(r.Tail) != 1 || !strings.HasPrefix(r.Tail[0], "in the middle") {
		t.Errorf("tail %q", r.Tail)
	}
}

func TestEngineKilledInMidBuild(t *testing.T) {
	e := enginetest.StartOwn(t, enginetest.Options{Kubernetes: "none"})
	k := newKind(t, e)
	image := unique(t)
	src := newCommit(t, map[string]string{"Dockerfile": "FROM alpine\nRUN echo in the middle; sleep 8\n"})
	task, rec := newTask(t, src, e.Registry, jobs.BuildSpec{Image: e.Registry + "/" + image})
	killed := make(chan error, 1)
	go func() {
		rec.waitFor(t, "in the middle")
		killed <- e.Kill(t.Context(), "buildkitd")
	}()
	result, err := k.Run(t.Context(), task)
	if err == nil {
		t.Fatalf("got a result: %+v", result)
	}
	t.Log(err)
	if err := <-killed; err != nil {
		t.Fatal(err)
	}
	// While it is away, that is an error too, and soon.
	began := time.Now()
	if result, err := k.Run(t.Context(), task); err == nil || !strings.Contains(err.Error(), "no BuildKit answers") {
		t.Errorf("got %+v, %v", result, err)
	}
	if took := time.Since(began); took > soon {
		t.Errorf("that took %s", took)
	}
	if err := e.Revive(t.Context(), "buildkitd"); err != nil {
		t.Fatal(err)
	}
	r := mustRunAgain(t, k, task, rec)
	if got := tagDigest(t, e.Registry, image, "latest"); got != r.Outputs[OutputIndexDigest] {
		t.Errorf("latest is %s", got)
	}
}

// mustRunAgain runs a task as the runner does, again after an error, until it succeeds; three times at most.
func mustRunAgain(t testing.TB, k *Kind, task jobs.Task, rec *record) jobs.Result {
	t.Helper()
	for try := 1; ; try++ {
		result, err := k.Run(t.Context(), task)
		if err != nil && try < 3 {
			t.Logf("try %d: %v", try, err)
			continue
		}
		if err != nil || result.Conclusion != jobs.Success {
			t.Fatalf("try %d: %+v, %v\nlog:\n%s", try, result, err, rec.text())
		}
		return result
	}
}

// A kill between two steps of BuildKit's own leaves the folder of a snapshot that it knows nothing of, and then every
// new snapshot fails. That must neither look like their fault nor last.
func TestEngineStoreDamagedByCrash(t *testing.T) {
	for _, used := range []bool{true, false} {
		t.Run(map[bool]string{true: "with a context to spare", false: "without"}[used], func(t *testing.T) {
			e := enginetest.StartOwn(t, enginetest.Options{Kubernetes: "none"})
			k := newKind(t, e)
			build := func(content string) (jobs.Task, *record) {
				return newTask(t, newCommit(t, map[string]string{"Dockerfile": "FROM alpine\nCOPY v /v\nRUN cat /v\n", "v": content}), e.Registry,
					jobs.BuildSpec{Image: e.Registry + "/" + unique(t)})
			}
			task, rec := build("one")
			mustRun(t, k, task, rec, jobs.Success)
			if !used {
				prune := exec.CommandContext(t.Context(), e.Buildctl, "--addr", e.BuildKit, "prune", "--filter", "type==source.local")
				if out, err := prune.CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
			}
			store, err := filepath.Glob(filepath.Join(e.Dir, "buildkit", "*", "snapshots", "snapshots", "*"))
			if err != nil || len(store) == 0 {
				t.Fatalf("no snapshots found: %v", err)
			}
			last := 0
			for _, s := range store {
				if n, err := strconv.Atoi(filepath.Base(s)); err == nil {
					last = max(last, n)
				}
			}
			for n := last + 1; n < last+30; n++ {
				if err := os.MkdirAll(filepath.Join(filepath.Dir(store[0]), strconv.Itoa(n), "fs"), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			task, rec = build("two")
			task.Run.SHA = strings.Repeat("e", 40)
			if result, err := k.Run(t.Context(), task); err == nil {
				t.Fatalf("got a result: %+v\nlog:\n%s", result, rec.text())
			}
			mustRunAgain(t, k, task, rec)
		})
	}
}

// The registry dies while BuildKit pushes to it: ours, and the next try repairs it.
func TestEngineRegistryKilled(t *testing.T) {
	e := enginetest.StartOwn(t, enginetest.Options{Kubernetes: "none"})
	k := newKind(t, e)
	image := unique(t)
	src := newCommit(t, map[string]string{"Dockerfile": "FROM alpine\nRUN echo in the middle; sleep 5\n"})
	task, rec := newTask(t, src, e.Registry, jobs.BuildSpec{Image: e.Registry + "/" + image})
	killed := make(chan error, 1)
	go func() {
		rec.waitFor(t, "in the middle")
		killed <- e.Kill(t.Context(), "registry")
	}()
	if result, err := k.Run(t.Context(), task); err == nil {
		t.Errorf("got a result: %+v", result)
	}
	if err := <-killed; err != nil {
		t.Fatal(err)
	}
	if err := e.Revive(t.Context(), "registry"); err != nil {
		t.Fatal(err)
	}
	mustRun(t, k, task, rec, jobs.Success)
}

// BenchmarkCachedBuild compares a fully cached build, with its push and two tags, with the same by buildctl. Read it
// as: slipway/op may be at most 1.1 times buildctl/op.
func BenchmarkCachedBuild(b *testing.B) {
	e := engines(b)
	src := newCommit(b, twoStage())
	image := e.Registry + "/" + unique(b)
	k := newKind(b, e)
	task, rec := newTask(b, src, e.Registry, jobs.BuildSpec{Image: image})
	mustRun(b, k, task, rec, jobs.Success)
	b.Run("slipway", func(b *testing.B) {
		for b.Loop() {
			if r, err := k.Run(b.Context(), task); err != nil || r.Outputs[OutputCachedSteps] != int64(4) {
				b.Fatalf("%+v, %v", r, err)
			}
		}
	})
	// buildctl reads the files as they lie on the disk: give them the commit's time and modes, so that it hits the
	// same cache and does the same work.
	for name := range twoStage() {
		p := filepath.Join(src.dir, name)
		if err := errors.Join(os.Chtimes(p, commitTime, commitTime), os.Chmod(p, 0o644)); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("buildctl", func(b *testing.B) {
		for b.Loop() {
			out, err := exec.CommandContext(b.Context(), e.Buildctl, "--addr", e.BuildKit, "build", "--progress", "plain",
				"--frontend", "dockerfile.v0", "--local", "context="+src.dir, "--local", "dockerfile="+src.dir,
				"--opt", "cmdline=dockerfile.v0", "--opt", "attest:provenance=mode=min", "--opt", "build-arg:SOURCE_DATE_EPOCH=1772600767",
				"--output", `type=image,"name=`+image+`:sha-0123456789ab,`+image+`:latest",push=true,store=false,rewrite-timestamp=true,oci-mediatypes=true,registry.insecure=true`).CombinedOutput()
			if err != nil {
				b.Fatalf("%v: %s", err, out)
			}
		}
	})
}
