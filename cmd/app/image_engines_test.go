//go:build engines

package main

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/slipway-ci/slipway/enginetest"
)

// TestEngineServerImage builds the server's own image from the repository's Dockerfile: a static binary under a user that is
// not root. Builds have no network here, so the modules lie in a vendor folder beside the sources.
func TestEngineServerImage(t *testing.T) {
	e := enginetest.Start(t, enginetest.Options{})
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	context := t.TempDir()
	do := func(dir, program string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), program, args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %s: %v\n%s", filepath.Base(program), strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	for _, file := range strings.Fields(do(root, "git", "ls-files", "--cached", "--others", "--exclude-standard", "--", ".", ":!engines", ":!tools", ":!examples", ":!docs")) {
		data, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		target := filepath.Join(context, file)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(target, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	do(root, "go", "mod", "vendor", "-o", filepath.Join(context, "vendor"))

	image := e.Registry + "/slipway/slipway:test"
	build := func(output string) {
		t.Helper()
		do(context, e.Buildctl, "--addr", e.BuildKit, "build", "--frontend", "dockerfile.v0", "--local", "context=.", "--local", "dockerfile=.",
			"--opt", "build-arg:VERSION=v1.2.3-test", "--output", output)
	}
	build("type=image,name=" + image + ",push=true,registry.insecure=true")
	ref, err := name.ParseReference(image, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	pushed, err := remote.Image(ref, remote.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	config, err := pushed.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.Config.User != "65532:65532" || len(config.Config.Entrypoint) != 1 || config.Config.Entrypoint[0] != "/slipway" {
		t.Errorf("user %q, entrypoint %q", config.Config.User, config.Config.Entrypoint)
	}

	files := t.TempDir()
	build("type=local,dest=" + files)
	binary, err := elf.Open(filepath.Join(files, "slipway"))
	if err != nil {
		t.Fatal(err)
	}
	defer binary.Close()
	for _, p := range binary.Progs {
		if p.Type == elf.PT_INTERP {
			t.Error("the binary asks for a dynamic loader")
		}
	}
	if out := do(files, filepath.Join(files, "slipway"), "version"); !strings.HasPrefix(out, "slipway v1.2.3-test ") {
		t.Errorf("it says %q", out)
	}
	if _, err := os.Stat(filepath.Join(files, "etc/ssl/certs/ca-certificates.crt")); err != nil {
		t.Error(err)
	}
}
