package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

const installHint = "run `go -C engines run . install` in the repository (or `make engines`)"

// tools is the folder that holds this program and everything it compiled. Its
// name carries a hash of all sources, so that an older checkout finds its own.
type tools struct{ dir string }

func (t tools) engines() string   { return filepath.Join(t.dir, "engines") }
func (t tools) buildkitd() string { return filepath.Join(t.dir, "buildkitd") }
func (t tools) buildctl() string  { return filepath.Join(t.dir, "buildctl") }
func (t tools) helm() string      { return filepath.Join(t.dir, "helm") }

// component is the path under which the multi-call Kubernetes executable acts
// as the named component.
func (t tools) component(name string) string { return filepath.Join(t.dir, name) }

// components are the names the multi-call Kubernetes executable is linked under.
var components = []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kubectl", "kwok"}

// executables are all names a complete tools folder holds.
func executables() []string {
	return append([]string{"engines", "buildkitd", "buildctl", "helm"}, components...)
}

// missing says which executable is not there, or "" when all are.
func (t tools) missing() string {
	for _, name := range executables() {
		if _, err := os.Stat(filepath.Join(t.dir, name)); err != nil {
			return name
		}
	}
	return ""
}

// findTools returns the compiled engines that belong to this program: those in
// its own folder when it runs from the cache, else those compiled from source.
func findTools(source string) (tools, error) {
	self, err := os.Executable()
	if err != nil {
		return tools{}, fmt.Errorf("find this program: %w", err)
	}
	if own := (tools{filepath.Dir(self)}); own.missing() == "" {
		return own, nil
	}
	source, err = findSource(source)
	if err != nil {
		return tools{}, err
	}
	hash, err := hashSources(source)
	if err != nil {
		return tools{}, err
	}
	cache, err := cacheDir()
	if err != nil {
		return tools{}, err
	}
	t := tools{filepath.Join(cache, hash)}
	if name := t.missing(); name != "" {
		return tools{}, fmt.Errorf("%s is not compiled yet: %s", name, installHint)
	}
	return t, nil
}

// cacheDir is where compiled engines and base images are kept, outside the
// source tree: $SLIPWAY_CACHE, else $XDG_CACHE_HOME/slipway, else ~/.cache/slipway.
func cacheDir() (string, error) {
	dir := os.Getenv("SLIPWAY_CACHE")
	if dir == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("no cache folder (set SLIPWAY_CACHE): %w", err)
		}
		dir = filepath.Join(base, "slipway")
	}
	dir, err := filepath.Abs(filepath.Join(dir, "engines"))
	if err != nil {
		return "", err
	}
	return dir, os.MkdirAll(dir, 0o755)
}

// lockCache waits until no other install or image build is at work.
func lockCache() (unlock func(), err error) {
	cache, err := cacheDir()
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(cache, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open the cache's lock: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		fmt.Fprintln(os.Stderr, "engines: waiting for another install to finish")
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return func() { f.Close() }, nil
}

const moduleLine = "module github.com/slipway-ci/slipway/engines\n"

// findSource returns the folder of this module: dir if given, else the working
// folder or its engines folder.
func findSource(dir string) (string, error) {
	candidates := []string{".", "engines"}
	if dir != "" {
		candidates = []string{dir}
	}
	for _, c := range candidates {
		mod, err := os.ReadFile(filepath.Join(c, "go.mod"))
		if err == nil && bytes.HasPrefix(mod, []byte(moduleLine)) {
			return filepath.Abs(c)
		}
	}
	return "", fmt.Errorf("the sources of the engines are not in %s: run this in the repository or give --source", strings.Join(candidates, " or "))
}

// hashSources hashes everything that decides what comes out of compiling: the
// module's go files, go.mod, go.sum and embedded files, those of the modules
// below it, and the toolchain.
func hashSources(source string) (string, error) {
	return hashFolders(source, ".", "fake", "standin", "buildkit", "kubernetes")
}

// hashFolders hashes the toolchain and what is in folders below source, tests
// and documents left out.
func hashFolders(source string, folders ...string) (string, error) {
	h := sha256.New()
	version, err := goEnv("GOVERSION")
	if err != nil {
		return "", err
	}
	fmt.Fprintln(h, version, runtime.GOARCH)
	for _, folder := range folders {
		entries, err := os.ReadDir(filepath.Join(source, folder)) // sorted by name
		if err != nil {
			return "", err
		}
		for _, e := range entries {
			if !e.Type().IsRegular() || strings.HasSuffix(e.Name(), "_test.go") || strings.HasSuffix(e.Name(), ".md") {
				continue
			}
			name := filepath.Join(folder, e.Name())
			if err := hashFile(h, name, filepath.Join(source, name)); err != nil {
				return "", err
			}
		}
	}
	return hex.EncodeToString(h.Sum(nil))[:16], nil
}

func hashFile(h io.Writer, name, path string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	fmt.Fprintf(h, "%s %d\n", name, len(content))
	_, err = h.Write(content)
	return err
}

// goCommand is the go tool: the one in PATH, else the usual place.
func goCommand() (string, error) {
	if path, err := exec.LookPath("go"); err == nil {
		return path, nil
	}
	const usual = "/usr/local/go/bin/go"
	if _, err := os.Stat(usual); err == nil {
		return usual, nil
	}
	return "", errors.New("go is not installed: unpack a release from https://go.dev/dl/ into /usr/local and put /usr/local/go/bin into PATH")
}

func goEnv(name string) (string, error) {
	tool, err := goCommand()
	if err != nil {
		return "", err
	}
	out, err := exec.Command(tool, "env", name).Output()
	if err != nil {
		return "", fmt.Errorf("go env %s: %w", name, err)
	}
	return strings.TrimSpace(string(out)), nil
}
