package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// packages are what Debian supplies: the container runtime below Kubernetes
// and BuildKit, the base of the stand-in images, and what Slipway's own tests
// need (git, a C compiler for the race detector, a browser).
var packages = []string{
	"ca-certificates", "busybox-static", "containerd", "containernetworking-plugins", "runc",
	"chromium", "gcc", "git", "libc6-dev", "make",
}

// install makes this machine able to run the engines. It does only what is
// still missing, and one install at a time.
func install(ctx context.Context, source string) error {
	source, err := findSource(source)
	if err != nil {
		return err
	}
	hash, err := hashSources(source)
	if err != nil {
		return err
	}
	cache, err := cacheDir()
	if err != nil {
		return err
	}
	unlock, err := lockCache()
	if err != nil {
		return err
	}
	defer unlock()
	if err := installPackages(ctx); err != nil {
		return err
	}
	if t := (tools{filepath.Join(cache, hash)}); t.missing() != "" {
		if err := compile(ctx, source, cache, t); err != nil {
			return err
		}
	}
	_, err = baseImagesLocked(ctx)
	return err
}

func installPackages(ctx context.Context) error {
	var missing []string
	for _, name := range packages {
		out, err := exec.CommandContext(ctx, "dpkg-query", "-W", "-f=${db:Status-Status}", name).Output()
		if err != nil || string(out) != "installed" {
			missing = append(missing, name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("packages %s are missing and only root can install them: run `apt-get install %s` as root", strings.Join(missing, ", "), strings.Join(missing, " "))
	}
	done := step("install packages " + strings.Join(missing, " "))
	install := append([]string{"install", "-y", "--no-install-recommends"}, missing...)
	for _, args := range [][]string{{"update"}, install} {
		cmd := exec.CommandContext(ctx, "apt-get", append([]string{"-q", "-o", "DPkg::Lock::Timeout=300"}, args...)...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("apt-get %s: %w\n%s", strings.Join(args, " "), err, lastLines(out, 20))
		}
	}
	done()
	return nil
}

// build is one run of the Go compiler.
type build struct{ label, dir, pkg, out, ldflags string }

// compile fills t.dir: this program, and links to what it compiled or found
// compiled. Every folder appears under its name only when complete.
func compile(ctx context.Context, source, cache string, t tools) error {
	buildkit, kubernetes := filepath.Join(source, "buildkit"), filepath.Join(source, "kubernetes")
	buildkitVersion, err := moduleVersion(ctx, buildkit, "github.com/moby/buildkit")
	if err != nil {
		return err
	}
	helmVersion, err := moduleVersion(ctx, kubernetes, "helm.sh/helm/v4")
	if err != nil {
		return err
	}
	kubernetesVersion, err := moduleVersion(ctx, kubernetes, "k8s.io/kubernetes")
	if err != nil {
		return err
	}
	number := strings.SplitN(strings.TrimPrefix(kubernetesVersion, "v"), ".", 3)
	if len(number) != 3 {
		return fmt.Errorf("k8s.io/kubernetes has the odd version %q", kubernetesVersion)
	}

	// One after the other: linking Kubernetes alone peaks at 3 GB.
	const version = "k8s.io/component-base/version"
	buildkitDir, err := compilePart(ctx, source, cache, "buildkit",
		build{"BuildKit " + buildkitVersion, buildkit, "tool", "",
			"-X github.com/moby/buildkit/version.Version=" + buildkitVersion})
	if err != nil {
		return err
	}
	kubernetesDir, err := compilePart(ctx, source, cache, "kubernetes",
		build{"Helm " + helmVersion, kubernetes, "helm.sh/helm/v4/cmd/helm", "helm",
			"-X helm.sh/helm/v4/internal/version.version=" + helmVersion},
		build{"Kubernetes " + kubernetesVersion + " (some ten minutes on two cores the first time)", kubernetes, ".", "kubernetes",
			fmt.Sprintf("-X %[1]s.gitVersion=%[2]s -X %[1]s.gitMajor=%[3]s -X %[1]s.gitMinor=%[4]s", version, kubernetesVersion, number[0], number[1])})
	if err != nil {
		return err
	}

	return fillFolder(t.dir, func(work string) error {
		if err := goBuild(ctx, build{"engines", source, ".", "engines", ""}, work); err != nil {
			return err
		}
		links := map[string]string{
			"buildkitd": filepath.Join(buildkitDir, "buildkitd"),
			"buildctl":  filepath.Join(buildkitDir, "buildctl"),
			"helm":      filepath.Join(kubernetesDir, "helm"),
		}
		for _, name := range components {
			links[name] = filepath.Join(kubernetesDir, "kubernetes")
		}
		for name, target := range links {
			if err := os.Symlink(target, filepath.Join(work, name)); err != nil {
				return err
			}
		}
		if name := (tools{work}).missing(); name != "" {
			return fmt.Errorf("compiling left out %s", name)
		}
		return nil
	})
}

// compilePart runs the builds of one nested module into a folder named by the
// hash of its sources, unless that exists, and returns the folder.
func compilePart(ctx context.Context, source, cache, part string, builds ...build) (string, error) {
	hash, err := hashFolders(source, part)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, part+"-"+hash)
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	return dir, fillFolder(dir, func(work string) error {
		for _, b := range builds {
			done := step("compile " + b.label)
			if err := goBuild(ctx, b, work); err != nil {
				return err
			}
			done()
		}
		return nil
	})
}

// fillFolder has fill write into a temporary folder that takes dir's name only
// when fill succeeded.
func fillFolder(dir string, fill func(work string) error) error {
	work, err := os.MkdirTemp(filepath.Dir(dir), "unfinished-")
	if err != nil {
		return fmt.Errorf("make a folder to work in: %w", err)
	}
	defer os.RemoveAll(work)
	if err := os.Chmod(work, 0o755); err != nil {
		return err
	}
	if err := fill(work); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.Rename(work, dir)
}

// goBuild compiles into the folder dir, under b.out or, when that is empty, the
// packages' own names.
func goBuild(ctx context.Context, b build, dir string) error {
	tool, err := goCommand()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, tool, "build", "-trimpath", "-buildvcs=false",
		"-ldflags", strings.TrimSpace("-s -w "+b.ldflags), "-o", dir+"/"+b.out, b.pkg)
	cmd.Dir = b.dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off")
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("compile %s: %w\n%s", b.label, err, lastLines(output, 40))
	}
	return nil
}

// moduleVersion is the version of a module as the go.mod in dir pins it.
func moduleVersion(ctx context.Context, dir, module string) (string, error) {
	tool, err := goCommand()
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, tool, "list", "-m", "-f", "{{.Version}}", module)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return "", fmt.Errorf("ask for the version of %s: %w\n%s", module, err, lastLines(exit.Stderr, 10))
		}
		return "", fmt.Errorf("ask for the version of %s: %w", module, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// step says on stderr what begins and, by the function it returns, how long it took.
func step(what string) (done func()) {
	begin := time.Now()
	fmt.Fprintf(os.Stderr, "engines: %s ...\n", what)
	return func() {
		fmt.Fprintf(os.Stderr, "engines: %s: done in %.1f s\n", what, time.Since(begin).Seconds())
	}
}

// lastLines cuts output to its last n lines and says so.
func lastLines(output []byte, n int) string {
	lines := strings.Split(strings.TrimRight(string(output), "\n"), "\n")
	if len(lines) <= n {
		return strings.Join(lines, "\n")
	}
	return fmt.Sprintf("(the last %d of %d lines)\n%s", n, len(lines), strings.Join(lines[len(lines)-n:], "\n"))
}

// lastLinesOf reads the tail of a file; what can't be read is said in its place.
func lastLinesOf(path string, n int) string {
	f, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	const most = 64 << 10
	if info, err := f.Stat(); err == nil && info.Size() > most {
		if _, err := f.Seek(-most, io.SeekEnd); err != nil {
			return err.Error()
		}
	}
	content, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil {
		return err.Error()
	}
	return lastLines(content, n)
}
