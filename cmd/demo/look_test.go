package main

import (
	"errors"
	"log"
	"maps"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/slipway-ci/slipway/githubapp/githubtest"
)

func TestLookAtRegistry(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(t.Output(), "", 0))))
	t.Cleanup(server.Close)
	s := &stage{registry: registryOptions{host: strings.TrimPrefix(server.URL, "http://"), insecure: true}}
	facts, err := s.lookAtRegistry(t.Context())
	if err != nil || len(facts.Tags) != 0 {
		t.Fatalf("of an empty registry: %v, %v", facts, err)
	}

	// As BuildKit pushes it: an index with the image and its attestation.
	image, attestation := randomImage(t), randomImage(t)
	index := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: image}, mutate.IndexAddendum{
		Add: attestation, Descriptor: v1.Descriptor{Annotations: map[string]string{"vnd.docker.reference.type": "attestation-manifest"}},
	})
	repo, err := name.NewRepository(facts.Image, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(remote.WriteIndex(repo.Tag("latest"), index), remote.Write(repo.Tag("plain"), attestation)); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"latest": digestOf(t, image), "plain": digestOf(t, attestation)}
	if facts, err = s.lookAtRegistry(t.Context()); err != nil || !maps.Equal(facts.Tags, want) {
		t.Errorf("%v, %v; want %v", facts.Tags, err, want)
	}
	if err := remote.WriteIndex(repo.Tag("two"), mutate.AppendManifests(index, mutate.IndexAddendum{Add: randomImage(t)})); err != nil {
		t.Fatal(err)
	}
	if _, err = s.lookAtRegistry(t.Context()); err == nil || !strings.Contains(err.Error(), "2 images") {
		t.Errorf("an index with two images: %v", err)
	}
}

func randomImage(t *testing.T) v1.Image {
	t.Helper()
	image, err := random.Image(100, 1)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func digestOf(t *testing.T, image v1.Image) string {
	t.Helper()
	digest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return digest.String()
}

func TestPushed(t *testing.T) {
	before := map[string]string{"latest": "1", "sha-1": "1"}
	for name, c := range map[string]struct {
		after map[string]string
		ok    bool
	}{
		"moved and made":      {map[string]string{"latest": "2", "sha-1": "1", "sha-2": "2"}, true},
		"not moved":           {map[string]string{"latest": "1", "sha-1": "1", "sha-2": "2"}, false},
		"not made":            {map[string]string{"latest": "2", "sha-1": "1"}, false},
		"nothing":             {before, false},
		"the image of before": {map[string]string{"latest": "1", "sha-1": "1", "sha-2": "1"}, false},
		"another tag moved":   {map[string]string{"latest": "2", "sha-1": "2", "sha-2": "2"}, false},
		"one tag too many":    {map[string]string{"latest": "2", "sha-1": "1", "sha-2": "2", "x": "2"}, false},
	} {
		e := evidence{before: scene{registry: registryFacts{Tags: before}}, after: scene{registry: registryFacts{Tags: c.after}}}
		if err := e.pushed("latest", "sha-2"); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestChecksAre(t *testing.T) {
	e := evidence{github: githubFacts{Checks: []check{{Name: "slipway", Conclusion: "success"}, {Name: "slipway / image", Conclusion: "success"}}}}
	if err := checksAre("slipway / image: success", "slipway: success").met(e); err != nil {
		t.Error(err)
	}
	for _, wrong := range [][]string{{"slipway: success"}, {"slipway / image: failure", "slipway: success"}, {"slipway / image: success", "slipway / x: success", "slipway: success"}} {
		if err := checksAre(wrong...).met(e); err == nil {
			t.Errorf("%v was met", wrong)
		}
	}
	if got := shapeCheck(githubtest.CheckRun{Name: "slipway", Status: "in_progress"}).Conclusion; got != "in_progress" {
		t.Errorf("a check that runs is %q", got)
	}
}

func TestServing(t *testing.T) {
	ready := pod{Name: "a", Image: "r/i@sha256:1", Running: "sha256:1", Ready: true}
	unready, byTag, other := ready, ready, ready
	unready.Ready, byTag.Image, other.Running = false, "r/i:latest", "sha256:2"
	for name, c := range map[string]struct {
		pods []pod
		ok   bool
	}{
		"ready":      {[]pod{ready, ready}, true},
		"none":       {nil, false},
		"unready":    {[]pod{ready, unready}, false},
		"by tag":     {[]pod{byTag}, false},
		"other":      {[]pod{other}, false},
		"other left": {[]pod{ready, other}, false},
	} {
		if err := (clusterFacts{Pods: c.pods}).serving("r/i", "sha256:1"); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDeployed(t *testing.T) {
	for name, c := range map[string]struct {
		revisions []revision
		want      int
	}{
		"none":        {nil, 0},
		"one":         {[]revision{{1, "deployed"}}, 1},
		"rolled back": {[]revision{{1, "superseded"}, {2, "failed"}, {3, "deployed"}}, 3},
		"two":         {[]revision{{1, "deployed"}, {2, "deployed"}}, 0},
	} {
		if got, err := (clusterFacts{Revisions: c.revisions}).deployed(); got.Number != c.want || (err == nil) != (c.want > 0) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

func TestHookWitness(t *testing.T) {
	job := func(at string, succeeded int32) func(*hookWitness) {
		j := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "schema", ResourceVersion: at, Annotations: map[string]string{"helm.sh/hook": "pre-install"}}}
		j.Status.Succeeded = succeeded
		return func(w *hookWitness) { w.job(j) }
	}
	deployment := func(at string) func(*hookWitness) {
		return func(w *hookWitness) {
			w.deployment(&appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{ResourceVersion: at}})
		}
	}
	for name, c := range map[string]struct {
		seen []func(*hookWitness)
		ok   bool
	}{
		"in order":                  {[]func(*hookWitness){job("10", 0), job("20", 1), deployment("30"), deployment("40")}, true},
		"seen in the other order":   {[]func(*hookWitness){deployment("30"), job("20", 1)}, true},
		"the Deployment first":      {[]func(*hookWitness){job("10", 0), deployment("15"), job("20", 1)}, false},
		"a later hook is no excuse": {[]func(*hookWitness){deployment("15"), job("20", 1), job("30", 1), deployment("40")}, false},
		"no hook":                   {[]func(*hookWitness){deployment("30")}, false},
		"a hook that failed":        {[]func(*hookWitness){job("10", 0), deployment("30")}, false},
		"no Deployment":             {[]func(*hookWitness){job("20", 1)}, false},
	} {
		var w hookWitness
		for _, see := range c.seen {
			see(&w)
		}
		if sentence, ok := w.says(); ok != c.ok {
			t.Errorf("%s: %s", name, sentence)
		}
	}
}
