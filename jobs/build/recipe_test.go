package build

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/slipway-ci/slipway/jobs"
)

func TestRecipe(t *testing.T) {
	task, _ := newTask(t, nil, "registry.example.com", jobs.BuildSpec{Image: "registry.example.com/acme/shop/api", Context: "./services/api/"})
	r, err := newRecipe(task, allows)
	if err != nil {
		t.Fatal(err)
	}
	if r.host != "registry.example.com" || r.name != "acme/shop/api" || r.context != "services/api" || r.dockerfile != "services/api/Dockerfile" {
		t.Errorf("got %+v", r)
	}
	if !r.push || r.cacheSpace != "7-trusted" {
		t.Errorf("got %+v", r)
	}
	untrusted(&task)
	if r, err = newRecipe(task, allows); err != nil || r.push || r.cacheSpace != "7-untrusted" {
		t.Errorf("untrusted: got %+v, %v", r, err)
	}
	// Approved work from outside needs no grant, for it is built only; where there is one, it is the quarantine.
	task.Run.Trust.Level, task.Grant.Push = jobs.Approved, nil
	task.Run.PullRequest, task.Run.Fork = 7, true
	if r, err = newRecipe(task, allows); err != nil || r.push || r.cacheSpace != "7-untrusted" {
		t.Errorf("approved: got %+v, %v", r, err)
	}
	task.Grant.Push = []jobs.PushGrant{{Registry: "registry.example.com", Names: []string{"acme/shop/**"}}}
	task.Spec = []byte(`{"image": "registry.example.com/acme/shop/api", "tags": ["nightly"]}`)
	if r, err = newRecipe(task, allows); err != nil || !r.push || r.cacheSpace != "7-untrusted" || fmt.Sprint(r.immutable, r.moving) != "[] [pr-7]" {
		t.Errorf("approved with a quarantine: got %+v, %v", r, err)
	}
	if r.notMoved != "not moved by pull requests and merge queues: nightly" {
		t.Errorf("said %q", r.notMoved)
	}
	task.Run.Trust.Level = "" // a doubt falls to untrusted
	if r, err = newRecipe(task, allows); err != nil || r.push {
		t.Errorf("without trust: got %+v, %v", r, err)
	}
}

func TestRecipeRefused(t *testing.T) {
	const good = "registry.example.com/acme/shop"
	args := func(k, v string) jobs.BuildSpec { return jobs.BuildSpec{Image: good, Args: map[string]string{k: v}} }
	for _, c := range []struct {
		name string
		spec jobs.BuildSpec
		says string
	}{
		{"no image", jobs.BuildSpec{}, "names no image"},
		{"another team's image", jobs.BuildSpec{Image: "registry.example.com/acme/pay"}, "acme/shop may not push registry.example.com/acme/pay: granted is registry.example.com/acme/shop, registry.example.com/acme/shop/**"},
		{"a look-alike", jobs.BuildSpec{Image: "registry.example.com/acme/shopping"}, "may not push"},
		{"another registry", jobs.BuildSpec{Image: "evil.example.com/acme/shop"}, "may not push"},
		{"another port", jobs.BuildSpec{Image: "registry.example.com:5000/acme/shop"}, "may not push"},
		{"a path that climbs", jobs.BuildSpec{Image: "registry.example.com/acme/shop/../pay"}, "is not an image name"},
		{"no registry", jobs.BuildSpec{Image: "acme/shop"}, "is not an image name"},
		{"upper case", jobs.BuildSpec{Image: "registry.example.com/Acme/Shop"}, "is not an image name"},
		{"a tag", jobs.BuildSpec{Image: good + ":v1"}, "without a tag or digest"},
		{"a digest", jobs.BuildSpec{Image: good + "@sha256:" + strings.Repeat("a", 64)}, "without a tag or digest"},
		{"a second name", jobs.BuildSpec{Image: good + ",registry.example.com/acme/pay"}, "is not an image name"},
		{"context climbs", jobs.BuildSpec{Image: good, Context: "../other"}, `context "../other" must be a path inside the repository`},
		{"context climbs in the middle", jobs.BuildSpec{Image: good, Context: "a/../../b"}, "must be a path inside"},
		{"context absolute", jobs.BuildSpec{Image: good, Context: "/etc"}, "must be a path inside"},
		{"context remote", jobs.BuildSpec{Image: good, Context: "https://github.com/acme/pay.git"}, ""},
		{"context backslash", jobs.BuildSpec{Image: good, Context: `a\b`}, "must be a path inside"},
		{"dockerfile climbs", jobs.BuildSpec{Image: good, Dockerfile: "../Dockerfile"}, `dockerfile "../Dockerfile" must be`},
		{"dockerfile a folder", jobs.BuildSpec{Image: good, Dockerfile: "."}, "name the file"},
		{"target", jobs.BuildSpec{Image: good, Target: "a b"}, "not the name of a stage"},
		{"platform", jobs.BuildSpec{Image: good, Platforms: []string{"linux/amd64,linux/arm64"}}, "is not a platform"},
		{"platform twice", jobs.BuildSpec{Image: good, Platforms: []string{"linux/amd64", "linux/amd64"}}, "named twice"},
		{"platforms", jobs.BuildSpec{Image: good, Platforms: make([]string, maxPlatforms+1)}, "at most 8"},
		{"another cache space", args("BUILDKIT_CACHE_MOUNT_NS", "8-trusted"), "the builder's own"},
		{"another frontend", args("buildkit_syntax", "evil/frontend"), "the builder's own"},
		{"argument name", args("a=b", ""), "not the name of a build argument"},
		{"argument value", args("A", strings.Repeat("x", maxArgValue+1)), "at most 8192"},
		{"reserved tag", jobs.BuildSpec{Image: good, Tags: []string{"pr-9"}}, "reserved"},
	} {
		t.Run(c.name, func(t *testing.T) {
			task, _ := newTask(t, nil, "registry.example.com", c.spec)
			r, err := newRecipe(task, allows)
			if c.says == "" { // a folder of a strange name, no more; it isn't there
				if err != nil || r.context != "https:/github.com/acme/pay.git" {
					t.Errorf("got %+v, %v", r, err)
				}
				return
			}
			var no *jobs.Refusal
			if !errors.As(err, &no) || !strings.Contains(no.Sentence, c.says) {
				t.Errorf("got %v, want a refusal that says %q", err, c.says)
			}
		})
	}
}

func TestRecipeWithoutGrant(t *testing.T) {
	task, rec := newTask(t, newCommit(t, nil), "registry.example.com", jobs.BuildSpec{Image: "registry.example.com/acme/shop"})
	task.Grant = jobs.Grant{}
	k, err := New(Config{Allows: allows, BuildKit: []string{"unix:///nowhere.sock"}}, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	r, err := k.Run(t.Context(), task)
	if err != nil || r.Conclusion != jobs.Failure || !strings.Contains(r.Summary, "no image is granted to it") || !strings.Contains(r.Summary, "config.yaml") {
		t.Errorf("got %+v, %v", r, err)
	}
	if rec.text() != "" {
		t.Errorf("something was done:\n%s", rec.text())
	}
}

func TestRecipeOfGarbage(t *testing.T) {
	task, _ := newTask(t, nil, "registry.example.com", jobs.BuildSpec{})
	task.Spec = json.RawMessage(`{"image": 7}`)
	if _, err := newRecipe(task, allows); err == nil {
		t.Error("a spec that doesn't decode was accepted")
	} else if _, ok := theirs(err); ok {
		t.Errorf("a spec that planning let through and that doesn't decode is ours: %v", err)
	}
}

func TestFrontendAttrs(t *testing.T) {
	task, _ := newTask(t, nil, "registry.example.com", jobs.BuildSpec{
		Image: "registry.example.com/acme/shop", Target: "run", Args: map[string]string{"A": "b,c=d"}, Platforms: []string{"linux/amd64", "linux/arm64"}})
	r, err := newRecipe(task, allows)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"filename": "Dockerfile", "cmdline": "dockerfile.v0", "target": "run", "platform": "linux/amd64,linux/arm64",
		"build-arg:A": "b,c=d", "build-arg:SOURCE_DATE_EPOCH": "1772600767", "build-arg:BUILDKIT_CACHE_MOUNT_NS": "7-trusted",
		"attest:provenance": "mode=min",
	}
	if got := frontendAttrs(r, "Dockerfile", commitTime); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	r.args = map[string]string{"SOURCE_DATE_EPOCH": "0"}
	if got := frontendAttrs(r, "Dockerfile", commitTime)["build-arg:SOURCE_DATE_EPOCH"]; got != "0" {
		t.Errorf("the pipeline's own SOURCE_DATE_EPOCH became %s", got)
	}
}
