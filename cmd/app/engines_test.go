//go:build engines

package main

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/slipway-ci/slipway/enginetest"
)

// TestEngineScripts plays the scripts on a real BuildKit, registry and Kubernetes.
func TestEngineScripts(t *testing.T) {
	p := engineParams(t, nil)
	p.Dir = "testdata/engines"
	testscript.Run(t, p)
}

// TestEngineCrash plays testdata/engines/crash/story.txtar for every point around the real work where the server may die.
func TestEngineCrash(t *testing.T) {
	for _, at := range []string{"build:before", "build:after", "deploy:before", "deploy:after"} {
		t.Run(at, func(t *testing.T) {
			p := engineParams(t, map[string]string{"STEP": at})
			p.Files = []string{"testdata/engines/crash/story.txtar"}
			testscript.Run(t, p)
		})
	}
}

// engineParams are the default triggerses, on the engines that all tests share, with commands to look at what they hold. $NAME and $NAMESPACE are
// the script's own, $SAMPLE is the sample repository.
func engineParams(t *testing.T, env map[string]string) testscript.Params {
	sample, err := filepath.Abs("../../examples/tks-contract")
	if err != nil {
		t.Fatal(err)
	}
	e := enginetest.Start(t, enginetest.Options{})
	all := addresses(e)
	all["SAMPLE"] = sample
	for key, value := range env {
		all[key] = value
	}
	p := params(all)
	setup := p.Setup
	p.Setup = func(e *testscript.Env) error {
		// The engines may have seen scripts before: every script has a repository's name and a namespace of its own.
		unique := "s-" + strings.ToLower(rand.Text()[:10])
		defer e.Setenv("NAME", unique)
		defer e.Setenv("NAMESPACE", unique)
		return setup(e)
	}
	for name, cmd := range map[string]func(*testscript.TestScript, bool, []string){
		"engines": cmdEngines, "engine": cmdEngine, "image": cmdImage, "revision": cmdRevision, "running": cmdRunning,
	} {
		p.Cmds[name] = cmd
	}
	return p
}

func addresses(e *enginetest.Engines) map[string]string {
	return map[string]string{
		"REGISTRY": e.Registry, "BUILDKIT": e.BuildKit, "KUBECONFIG": e.Kubeconfig, "KUBECTL": e.Kubectl, "HELM": e.Helm,
	}
}

// engines: starts engines of the script's own, which it may kill.
func cmdEngines(ts *testscript.TestScript, _ bool, _ []string) {
	e := enginetest.StartOwn(worldOf(ts).t, enginetest.Options{})
	worldOf(ts).engines = e
	for key, value := range addresses(e) {
		ts.Setenv(key, value)
	}
}

// engine kill|revive ENGINE: ends an engine of the script's own by kill -9, or starts it again.
func cmdEngine(ts *testscript.TestScript, _ bool, args []string) {
	arguments(ts, args, 2, 2, "engine kill|revive ENGINE")
	e, ok := worldOf(ts).engines.(*enginetest.Engines)
	if !ok {
		ts.Fatalf("the script has no engines of its own: begin it with engines")
	}
	ctx, cancel := patient()
	defer cancel()
	if args[0] == "kill" {
		must(ts, e.Kill(ctx, args[1]))
		return
	}
	must(ts, e.Revive(ctx, args[1]))
}

// image NAME TAG [DIGEST]: the registry has it, with that digest. The tag sha is that of the commit $SHA. $DIGEST is that of its
// platform's manifest then.
func cmdImage(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, args, 2, 3, "image NAME TAG [DIGEST]")
	tag := args[1]
	if tag == "sha" {
		tag = "sha-" + ts.Getenv("SHA")[:12]
	}
	ref, err := name.ParseReference(ts.Getenv("REGISTRY")+"/"+args[0]+":"+tag, name.Insecure)
	must(ts, err)
	image, err := remote.Image(ref) // of an index, the manifest for linux/amd64
	if neg {
		if err == nil {
			ts.Fatalf("%s exists", ref)
		}
		return
	}
	must(ts, err)
	digest, err := image.Digest()
	must(ts, err)
	if len(args) == 3 && digest.String() != args[2] {
		ts.Fatalf("%s is %s, want %s", ref, digest, args[2])
	}
	ts.Setenv("DIGEST", digest.String())
}

// revision NAMESPACE RELEASE N|newest STATUS: Helm's newest revision of the release is the Nth, in that status. At most one is
// deployed, and none is left pending.
func cmdRevision(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, args, 2, 4, "revision NAMESPACE RELEASE N STATUS")
	out, err := exec.Command(ts.Getenv("HELM"), "--kubeconfig", ts.Getenv("KUBECONFIG"), "-n", args[0], "history", args[1], "-o", "json").CombinedOutput()
	if neg {
		if err == nil {
			ts.Fatalf("release %s exists: %s", args[1], out)
		}
		return
	}
	if err != nil {
		ts.Fatalf("helm history: %v: %s", err, out)
	}
	var history []struct {
		Revision int    `json:"revision"`
		Status   string `json:"status"`
	}
	must(ts, json.Unmarshal(out, &history))
	deployed := 0
	for _, r := range history {
		if r.Status == "deployed" {
			deployed++
		}
		if deployed > 1 || strings.HasPrefix(r.Status, "pending") {
			ts.Fatalf("the revisions are %+v", history)
		}
	}
	last := history[len(history)-1]
	if args[2] != "newest" && args[2] != strconv.Itoa(last.Revision) || last.Status != args[3] {
		ts.Fatalf("the revisions are %+v", history)
	}
}

// running NAMESPACE RELEASE DIGEST: the release's pods are ready and run that image, all of them.
func cmdRunning(ts *testscript.TestScript, _ bool, args []string) {
	arguments(ts, args, 3, 3, "running NAMESPACE RELEASE DIGEST")
	ctx, cancel := patient()
	defer cancel()
	said := ""
	err := wait(ctx, "the pods to run "+args[2], func() (bool, error) {
		out, err := exec.CommandContext(ctx, ts.Getenv("KUBECTL"), "--kubeconfig", ts.Getenv("KUBECONFIG"), "-n", args[0], "get", "pods",
			"-l", "app.kubernetes.io/instance="+args[1], "-o", `jsonpath={range .items[*]}{.spec.containers[0].image} {.status.containerStatuses[0].ready}{"\n"}{end}`).CombinedOutput()
		if err != nil {
			return false, fmt.Errorf("kubectl: %w: %s", err, out)
		}
		said = strings.TrimSpace(string(out))
		for line := range strings.Lines(said) {
			if !strings.Contains(line, "@"+args[2]+" true") {
				return false, nil
			}
		}
		return said != "", nil
	})
	if err != nil {
		ts.Fatalf("%v; there are:\n%s", err, said)
	}
}
