//go:build engines

package build

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/slipway-ci/slipway/enginetest"
	"github.com/slipway-ci/slipway/jobs"
)

// twoStage is a small Go service, built in one stage and shipped in another.
func twoStage() map[string]string {
	return map[string]string{
		"Dockerfile": `# syntax=docker/dockerfile:1
FROM golang:1.26 AS builder
WORKDIR /src
COPY go.mod main.go ./
RUN CGO_ENABLED=0 go build -trimpath -o /out/shop .

FROM alpine
COPY --from=builder /out/shop /usr/local/bin/shop
ENTRYPOINT ["/usr/local/bin/shop"]
`,
		"go.mod":  "module example.com/shop\n\ngo 1.26\n",
		"main.go": "package main\n\nfunc main() { println(\"hello\") }\n",
	}
}

func engines(t testing.TB) *enginetest.Engines {
	t.Helper()
	return enginetest.Start(t, enginetest.Options{Kubernetes: "none"})
}

func newKind(t testing.TB, e *enginetest.Engines, change ...func(*Config)) *Kind {
	t.Helper()
	conf := Config{BuildKit: []string{e.BuildKit}, Allows: allows, Registries: map[string]Registry{e.Registry: {Insecure: true}}}
	for _, c := range change {
		c(&conf)
	}
	k, err := New(conf, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.Close() })
	return k
}

// mustRun runs a task that is expected to end with a result.
func mustRun(t testing.TB, k *Kind, task jobs.Task, rec *record, want jobs.Conclusion) jobs.Result {
	t.Helper()
	result, err := k.Run(t.Context(), task)
	if err != nil {
		t.Fatalf("%v\nlog:\n%s", err, rec.text())
	}
	if result.Conclusion != want {
		t.Fatalf("concluded %s, want %s: %s\ncause: %s\nlog:\n%s", result.Conclusion, want, result.Summary, result.Cause, rec.text())
	}
	return result
}

// unique makes an image name of the acme/shop grant that no other test uses.
func unique(t testing.TB) string {
	return "acme/shop/" + strings.ToLower(strings.NewReplacer("/", "-", "_", "-", "'", "").Replace(t.Name())) + fmt.Sprint(time.Now().UnixNano())
}

func repository(t testing.TB, host, image string) name.Repository {
	t.Helper()
	reg, err := name.NewRegistry(host, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	return reg.Repo(image)
}

// tagDigest is what a tag points to; empty when it doesn't exist.
func tagDigest(t testing.TB, host, image, tag string) string {
	t.Helper()
	d, err := remote.Head(repository(t, host, image).Tag(tag), remote.WithContext(t.Context()))
	if notFound(err) {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	return d.Digest.String()
}

func pullImage(t testing.TB, host, image string, digest any) v1.Image {
	t.Helper()
	img, err := remote.Image(repository(t, host, image).Digest(fmt.Sprint(digest)), remote.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// entry finds a file in an image; nil when it isn't there.
func entry(t testing.TB, img v1.Image, name string) (*tar.Header, string) {
	t.Helper()
	r := mutate.Extract(img)
	defer r.Close()
	files := tar.NewReader(r)
	for {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			return nil, ""
		}
		if err != nil {
			t.Fatal(err)
		}
		if strings.TrimPrefix(h.Name, "/") == name {
			b, err := io.ReadAll(files)
			if err != nil {
				t.Fatal(err)
			}
			return h, string(b)
		}
	}
}

func TestEngineBuildAndPush(t *testing.T) {
	e := enginetest.StartOwn(t, enginetest.Options{Kubernetes: "none"}) // its cache is thrown away below
	k := newKind(t, e)
	image := unique(t)
	task, rec := newTask(t, newCommit(t, twoStage()), e.Registry, jobs.BuildSpec{Image: e.Registry + "/" + image})
	first := mustRun(t, k, task, rec, jobs.Success)
	t.Log(first.Summary + "\n" + first.Details + "\n" + rec.text())

	index, _ := first.Outputs[OutputIndexDigest].(string)
	for _, tag := range []string{"latest", "sha-0123456789ab"} {
		if got := tagDigest(t, e.Registry, image, tag); got != index || index == "" {
			t.Errorf("%s is %q, want the index %q", tag, got, index)
		}
	}
	if got := first.Outputs[OutputTags]; got != "sha-0123456789ab,latest" {
		t.Errorf("tags %v", got)
	}
	if got := first.Outputs[OutputSteps]; got != int64(4) {
		t.Errorf("%v steps, want 4", got)
	}
	img := pullImage(t, e.Registry, image, first.Outputs[OutputDigest])
	conf, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if !conf.Created.Equal(commitTime) {
		t.Errorf("created %s, want the commit's time %s", conf.Created, commitTime)
	}
	if h, _ := entry(t, img, "usr/local/bin/shop"); h == nil || !h.ModTime.Equal(commitTime) {
		t.Errorf("the program is %+v, want it with the commit's time", h)
	}
	if log := rec.text(); !strings.Contains(log, "[builder 4/4] RUN CGO_ENABLED=0 go build") {
		t.Errorf("the log doesn't show the steps:\n%s", log)
	}

	second := mustRun(t, k, task, rec, jobs.Success)
	if second.Outputs[OutputDigest] != first.Outputs[OutputDigest] || second.Outputs[OutputCachedSteps] != int64(4) {
		t.Errorf("built again: %v with %v steps cached, want %v with 4", second.Outputs[OutputDigest], second.Outputs[OutputCachedSteps], first.Outputs[OutputDigest])
	}
	if out, err := exec.CommandContext(t.Context(), e.Buildctl, "--addr", e.BuildKit, "prune", "--all").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	third := mustRun(t, k, task, rec, jobs.Success)
	if third.Outputs[OutputDigest] != first.Outputs[OutputDigest] || third.Outputs[OutputCachedSteps] != int64(0) {
		t.Errorf("built without cache: %v with %v steps cached, want %v with 0", third.Outputs[OutputDigest], third.Outputs[OutputCachedSteps], first.Outputs[OutputDigest])
	}
}

func TestEngineStaleRunMovesNothing(t *testing.T) {
	e := engines(t)
	k := newKind(t, e)
	image := unique(t)
	files := map[string]string{"Dockerfile": "FROM scratch\nCOPY v /v\n", "v": "new"}
	task, rec := newTask(t, newCommit(t, files), e.Registry, jobs.BuildSpec{Image: e.Registry + "/" + image})
	mustRun(t, k, task, rec, jobs.Success)
	latest := tagDigest(t, e.Registry, image, "latest")

	files["v"] = "old"
	stale, rec := newTask(t, newCommit(t, files), e.Registry, jobs.BuildSpec{Image: e.Registry + "/" + image})
	stale.Run.SHA = strings.Repeat("f", 40)
	rec.stale = "commit 0123456789ab is newer on main"
	result := mustRun(t, k, stale, rec, jobs.Success)
	if got := tagDigest(t, e.Registry, image, "latest"); got != latest {
		t.Errorf("latest went back in time, to %s", got)
	}
	if got := tagDigest(t, e.Registry, image, "sha-ffffffffffff"); got == "" || got == latest {
		t.Errorf("the old commit's own tag is %q", got)
	}
	if want := "latest stays where it is: commit 0123456789ab is newer"; !strings.Contains(result.Summary, want) || !strings.Contains(result.Details, want) {
		t.Errorf("the result doesn't say %q: %s", want, result.Summary)
	}
}

// BuildKit compares a context with the one it has by size and time. Two commits of the same second must not mix.
func TestEngineSameSizeSameTime(t *testing.T) {
	e := engines(t)
	k := newKind(t, e)
	image := unique(t)
	seen := map[string]string{}
	for i, c := range []struct{ context, content, sha string }{
		{"a", "one", sha}, {"a", "two", strings.Repeat("b", 40)}, {"b", "six", sha},
	} {
		src := newCommit(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY v /v\n", c.context + "/v": c.content})
		task, rec := newTask(t, src, e.Registry, jobs.BuildSpec{Image: e.Registry + "/" + image, Context: c.context, Dockerfile: "Dockerfile"})
		task.Run.SHA = c.sha
		result := mustRun(t, k, task, rec, jobs.Success)
		if _, got := entry(t, pullImage(t, e.Registry, image, result.Outputs[OutputDigest]), "v"); got != c.content {
			t.Errorf("build %d holds %q, want %q", i, got, c.content)
		}
		seen[c.content] = fmt.Sprint(result.Outputs[OutputDigest])
	}
	if len(seen) != 3 {
		t.Errorf("%d digests", len(seen))
	}
}

func TestEngineSpec(t *testing.T) {
	e := engines(t)
	k := newKind(t, e)
	image := unique(t)
	src := newCommit(t, map[string]string{
		"docker/app.Dockerfile":      "FROM alpine AS first\nARG GREETING=none\nRUN echo \"$GREETING\" > /greeting\n\nFROM first AS second\nCOPY . /ctx\n\nFROM scratch\n",
		"services/api/main":          "#!/bin/sh\n",
		"services/api/skipped":       "x",
		"services/.dockerignore":     "skipped\n", // of another folder
		"services/api/.dockerignore": "skipped\n",
		"services/current":           "-> api",
	})
	task, rec := newTask(t, src, e.Registry, jobs.BuildSpec{
		Image: e.Registry + "/" + image, Context: "services/current", Dockerfile: "docker/app.Dockerfile", Target: "second",
		Args: map[string]string{"GREETING": "hello, ${world}"}, Tags: []string{"edge"},
	})
	task.Run = pull(7, "topic", false)
	result := mustRun(t, k, task, rec, jobs.Success)
	img := pullImage(t, e.Registry, image, result.Outputs[OutputDigest])
	if _, got := entry(t, img, "greeting"); got != "hello, ${world}\n" {
		t.Errorf("the argument arrived as %q", got)
	}
	if h, _ := entry(t, img, "ctx/main"); h == nil || h.Mode&0o777 != 0o755 {
		t.Errorf("ctx/main is %+v", h)
	}
	if h, _ := entry(t, img, "ctx/skipped"); h != nil {
		t.Error(".dockerignore was not honoured")
	}
	if got := result.Outputs[OutputTags]; got != "topic,pr-7" || !strings.Contains(result.Details, "not moved by pull requests and merge queues: edge") {
		t.Errorf("tags %v, and it is said:\n%s", got, result.Details)
	}
}

func TestEngineTwoPlatforms(t *testing.T) {
	e := engines(t)
	k := newKind(t, e)
	image := unique(t)
	src := newCommit(t, map[string]string{"Dockerfile": "FROM scratch\nARG TARGETARCH\nCOPY v /v\nLABEL arch=$TARGETARCH\n", "v": "x"})
	task, rec := newTask(t, src, e.Registry, jobs.BuildSpec{Image: e.Registry + "/" + image, Platforms: []string{"linux/amd64", "linux/arm64"}})
	result := mustRun(t, k, task, rec, jobs.Success)
	if result.Outputs[OutputDigest] != result.Outputs[OutputIndexDigest] {
		t.Errorf("digest %v, want the index %v", result.Outputs[OutputDigest], result.Outputs[OutputIndexDigest])
	}
	index, err := remote.Index(repository(t, e.Registry, image).Tag("latest"), remote.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	m, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	var platforms []string
	for _, d := range m.Manifests {
		if d.Annotations[attestation] == "" {
			platforms = append(platforms, d.Platform.String())
		}
	}
	if slices.Sort(platforms); !slices.Equal(platforms, []string{"linux/amd64", "linux/arm64"}) {
		t.Errorf("platforms %q", platforms)
	}
}

func TestEngineUntrustedPushesNothing(t *testing.T) {
	e := engines(t)
	k := newKind(t, e)
	image := unique(t)
	task, rec := newTask(t, newCommit(t, twoStage()), e.Registry, jobs.BuildSpec{Image: e.Registry + "/" + image})
	untrusted(&task)
	result := mustRun(t, k, task, rec, jobs.Success)
	if result.Outputs[OutputDigest] != nil || !strings.Contains(result.Summary, "nothing was pushed") {
		t.Errorf("got %s, %v", result.Summary, result.Outputs)
	}
	if tags, err := remote.List(repository(t, e.Registry, image), remote.WithContext(t.Context())); err == nil {
		t.Errorf("the registry has %q", tags)
	}
}
