package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// These tests run the installed program, which must be the one of these
// sources: `go run . install` first.

// running is a `engines run` of a test.
type running struct {
	contract
	t        *testing.T
	tools    tools
	instance *instance
	before   map[string]bool // census before it started
	process  *exec.Cmd
	stdin    io.Closer
}

// runEngines starts `engines run` in dir and waits for its line.
func runEngines(t *testing.T, dir string, args ...string) *running {
	t.Helper()
	installed, err := findTools(".")
	if err != nil {
		t.Fatal(err)
	}
	r := &running{t: t, tools: installed, instance: &instance{options: options{Dir: dir}, ID: instanceID(dir)}}
	r.before = census(t, r.instance)
	r.process = exec.Command(installed.engines(), append([]string{"run", "--dir", dir}, args...)...)
	stdin, err := r.process.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	r.stdin = stdin
	stdout, err := r.process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	said := &bytes.Buffer{}
	r.process.Stderr = said
	if err := r.process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.stdin.Close()
		_ = r.process.Wait() // a test that stops it otherwise has waited already
		if err := stopInstance(dir); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	if err := json.NewDecoder(stdout).Decode(&r.contract); err != nil {
		r.process.Wait()
		t.Fatalf("engines run: %v\n%s", err, said)
	}
	return r
}

// newDir makes a folder with a path short enough for sockets.
func newDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "slipway-engines-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// must runs a command of the engines and returns what it prints.
func (r *running) must(input, program string, args ...string) string {
	r.t.Helper()
	cmd := exec.CommandContext(r.t.Context(), program, args...)
	cmd.Stdin = strings.NewReader(input)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+r.Kubeconfig)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		r.t.Fatalf("%s %s: %v\n%s%s", filepath.Base(program), strings.Join(args, " "), err, out, stderr.String())
	}
	return string(out)
}

func (r *running) kubectl(args ...string) string { r.t.Helper(); return r.must("", r.Kubectl, args...) }

// pod runs a pod to its end and returns its log.
func (r *running) pod(name, image string, command ...string) string {
	r.t.Helper()
	args := []string{"run", name, "--image=" + image, "--restart=Never"}
	if len(command) > 0 {
		args = append(append(args, "--command", "--"), command...)
	}
	r.kubectl(args...)
	r.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/"+name, "--timeout=60s")
	return r.kubectl("logs", name)
}

// build builds a two-stage Dockerfile, pushes it and returns its reference by digest.
func (r *running) build(name, says string) string {
	r.t.Helper()
	dir := r.t.TempDir()
	for file, content := range map[string]string{
		"Dockerfile": "FROM golang:1.26 AS builder\nWORKDIR /src\nCOPY . .\nRUN --mount=type=cache,target=/root/.cache/go-build go build -trimpath -o /app .\n" +
			"FROM alpine\nRUN apk add --no-cache ca-certificates && addgroup -S app && adduser -S -G app app\nCOPY --from=builder /app /app\nUSER app\nENTRYPOINT [\"/app\"]\n",
		"go.mod":  "module example.com/app\n\ngo 1.26\n",
		"main.go": "package main\n\nimport (\n\t\"fmt\"\n\t\"os\"\n)\n\nfunc main() { fmt.Println(\"" + says + "\", os.Getuid()) }\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o644); err != nil {
			r.t.Fatal(err)
		}
	}
	metadata := filepath.Join(r.t.TempDir(), "metadata.json")
	image := r.Registry + "/" + name
	r.must("", r.Buildctl, "--addr", r.BuildKit, "build", "--progress=plain", "--frontend=dockerfile.v0",
		"--local=context="+dir, "--local=dockerfile="+dir, "--output=type=image,name="+image+":1,push=true", "--metadata-file="+metadata)
	content, err := os.ReadFile(metadata)
	if err != nil {
		r.t.Fatal(err)
	}
	var result struct {
		Digest string `json:"containerimage.digest"`
	}
	if err := json.Unmarshal(content, &result); err != nil || result.Digest == "" {
		r.t.Fatalf("no digest in %s: %v", content, err)
	}
	return image + "@" + result.Digest
}

func wantContains(t *testing.T, what, got, want string) {
	t.Helper()
	if !strings.Contains(got, want) {
		t.Errorf("%s: got %q, want %q in it", what, got, want)
	}
}

// One push's way through real engines, then the worst end: the program is
// killed with SIGKILL while a pod runs, and stop has to clean up.
func TestBuildAndRunThenKilled(t *testing.T) {
	r := runEngines(t, newDir(t))
	wantContains(t, "log of a pod from the mirror", r.pod("plain", "alpine", "echo", "hello from alpine"), "hello from alpine")
	wantContains(t, "log of the built image", r.pod("built", r.build("acme/app", "hello from the build")), "hello from the build 1000")
	r.kubectl("create", "deployment", "stays", "--image=alpine", "--", "sleep", "1000")
	r.kubectl("rollout", "status", "deployment/stays", "--timeout=60s")

	during := census(t, r.instance)
	for _, kind := range []string{"process", "mount", "link", "cgroup", "file"} {
		if !newOfKind(during, r.before, kind) {
			t.Errorf("the census sees no %s while the engines run, so it could not see one left either", kind)
		}
	}
	if err := syscall.Kill(r.Supervisor, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = r.process.Wait()
	if _, err := exec.CommandContext(t.Context(), r.Kubectl, "--kubeconfig", r.Kubeconfig, "get", "--raw", "/readyz").Output(); err != nil {
		t.Errorf("the API server went with the program; then this test says nothing about stop: %v", err)
	}
	r.must("", r.tools.engines(), "stop", "--dir", r.Dir)
	wantNothingLeft(t, r.instance, r.before)
	r.must("", r.tools.engines(), "stop", "--dir", r.Dir) // nothing to stop is no error
}

func newOfKind(during, before map[string]bool, kind string) bool {
	for entry := range during {
		if strings.HasPrefix(entry, kind+" ") && !before[entry] {
			return true
		}
	}
	return false
}

// The usual end: whoever started the engines closes stdin, or dies, which is the same.
func TestStdinClosesAndNothingIsLeft(t *testing.T) {
	r := runEngines(t, newDir(t), "--purge")
	r.kubectl("create", "deployment", "stays", "--image=alpine", "--", "sleep", "1000")
	r.kubectl("rollout", "status", "deployment/stays", "--timeout=60s")
	begin := time.Now()
	r.stdin.Close()
	if err := r.process.Wait(); err != nil {
		t.Errorf("engines run ended with %v", err)
	}
	t.Logf("stopped in %s", time.Since(begin))
	wantNothingLeft(t, r.instance, r.before)
	if _, err := os.Stat(r.Dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("--purge left the folder: %v", err)
	}
}

// Every engine can be killed and revived; afterwards everything works, and
// another instance beside it has not noticed.
func TestKillAndReviveBesideAnother(t *testing.T) {
	beside := runEngines(t, newDir(t), "--buildkit=false")
	r := runEngines(t, newDir(t))
	image := r.build("acme/before", "built before")
	r.kubectl("create", "deployment", "stays", "--image=alpine", "--", "sleep", "1000")
	r.kubectl("rollout", "status", "deployment/stays", "--timeout=60s")
	beside.kubectl("create", "deployment", "stays", "--image=alpine", "--", "sleep", "1000")
	beside.kubectl("rollout", "status", "deployment/stays", "--timeout=60s")
	for name := range r.Pids {
		r.must("", r.tools.engines(), "kill", name, "--dir", r.Dir)
		var now contract
		if err := json.Unmarshal([]byte(r.must("", r.tools.engines(), "status", "--dir", r.Dir)), &now); err != nil {
			t.Fatal(err)
		}
		if pid, alive := now.Pids[name]; alive {
			t.Errorf("%s was killed and lives with pid %d", name, pid)
		}
		r.must("", r.tools.engines(), "revive", "--dir", r.Dir, name)
		t.Logf("%s killed and revived", name)
	}
	wantContains(t, "log of an image from before", r.pod("before", image), "built before")
	wantContains(t, "log of a new image", r.pod("after", r.build("acme/after", "built after")), "built after")
	r.kubectl("rollout", "status", "deployment/stays", "--timeout=60s")
	for _, each := range []*running{r, beside} {
		pods := each.kubectl("get", "pods", "-l", "app=stays", "-o", "jsonpath={.items[*].status.containerStatuses[*].restartCount}")
		if pods != "0" {
			t.Errorf("restarts of the pod that was there before: %q, want 0", pods)
		}
	}
}

// A second run in the same folder finds its registry's and cluster's data on
// the same addresses, also when the first was killed.
func TestDataSurvive(t *testing.T) {
	dir := newDir(t)
	first := runEngines(t, dir)
	image := first.build("acme/app", "still here")
	first.kubectl("create", "namespace", "tks")
	if err := syscall.Kill(first.Supervisor, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = first.process.Wait()

	second := runEngines(t, dir)
	if second.Registry != first.Registry || second.KubernetesServer != first.KubernetesServer {
		t.Errorf("addresses changed from %s, %s to %s, %s", first.Registry, first.KubernetesServer, second.Registry, second.KubernetesServer)
	}
	second.kubectl("get", "namespace", "tks")
	wantContains(t, "log of an image from before", second.pod("after", image), "still here")
}

func TestKwok(t *testing.T) {
	r := runEngines(t, newDir(t), "--kubernetes=kwok", "--nodes=2", "--buildkit=false", "--registry=false")
	if nodes := strings.Fields(r.kubectl("get", "nodes", "-o", "name")); len(nodes) != 2 {
		t.Errorf("got nodes %v, want 2", nodes)
	}
	r.kubectl("create", "namespace", "tks")
	r.kubectl("-n", "tks", "create", "deployment", "web", "--image=registry.invalid/none", "--replicas=3")
	r.kubectl("-n", "tks", "rollout", "status", "deployment/web", "--timeout=30s")
	r.kubectl("-n", "tks", "create", "job", "hook", "--image=registry.invalid/none")
	r.kubectl("-n", "tks", "wait", "--for=condition=complete", "job/hook", "--timeout=30s")
	r.kubectl("delete", "namespace", "tks", "--timeout=60s")
	r.stdin.Close()
	if err := r.process.Wait(); err != nil {
		t.Errorf("engines run ended with %v", err)
	}
	wantNothingLeft(t, r.instance, r.before)
}

// What Dockerfiles rely on: RUN steps have a network of their own and don't
// reach this machine's loopback; the golang image compiles nothing of the
// standard library anew, with or without a cache mount; Alpine's own commands
// work, and a package that isn't there is not pretended to be.
func TestBaseImages(t *testing.T) {
	r := runEngines(t, newDir(t), "--kubernetes=none")
	for name, dockerfile := range map[string]string{
		"loopback":          "FROM alpine\nRUN ! wget -q -T 2 -O - http://" + r.Registry + "/v2/",
		"warm":              "FROM golang:1.26\nRUN go build -n net/http 2>&1 | tee /log && ! grep /compile /log",
		"warm, trimpath":    "FROM golang:1.26-alpine\nRUN go build -n -trimpath log/slog 2>&1 | tee /log && ! grep /compile /log",
		"warm, cache mount": "FROM golang\nRUN --mount=type=cache,target=/root/.cache/go-build go build -n net/http 2>&1 | tee /log && ! grep /compile /log",
		"cold":              "FROM golang\nRUN GOCACHE=/empty /usr/local/go/bin/go build -n net/http 2>&1 | grep -q /compile",
		"users":             "FROM alpine:3.22\nRUN addgroup -S -g 1234 app && adduser -S -D -H -u 1234 -G app app && adduser app wheel && test \"$(id app)\" = \"uid=1234(app) gid=1234(app) groups=1234(app),10(wheel)\"",
		"home":              "FROM alpine\nRUN adduser -D me && test \"$(stat -c %U:%G /home/me)\" = me:me && su me -c 'test $(id -un) = me'",
		"packages":          "FROM alpine\nRUN apk --no-cache add ca-certificates && test -s /etc/ssl/certs/ca-certificates.crt && ! apk add nginx",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(dockerfile), 0o644); err != nil {
				t.Fatal(err)
			}
			out, err := exec.CommandContext(t.Context(), r.Buildctl, "--addr", r.BuildKit, "build", "--progress=plain",
				"--frontend=dockerfile.v0", "--local=context="+dir, "--local=dockerfile="+dir).CombinedOutput()
			if err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

func TestSecondRunInOneFolderIsRefused(t *testing.T) {
	r := runEngines(t, newDir(t), "--kubernetes=none", "--buildkit=false")
	out, err := exec.CommandContext(t.Context(), r.tools.engines(), "run", "--dir", r.Dir).CombinedOutput()
	if err == nil {
		t.Error("a second run in the same folder was not refused")
	}
	wantContains(t, "the refusal", string(out), "engines stop --dir "+r.Dir)
	if got := r.must("", r.tools.engines(), "status", "--dir", r.Dir); !strings.Contains(got, r.Registry) {
		t.Errorf("the first run suffered: status %s", got)
	}
}

func TestStartAndStopInTheBackground(t *testing.T) {
	installed, err := findTools(".")
	if err != nil {
		t.Fatal(err)
	}
	dir := newDir(t)
	r := &running{t: t, tools: installed, instance: &instance{options: options{Dir: dir}, ID: instanceID(dir)}}
	before := census(t, r.instance)
	t.Cleanup(func() { _ = stopInstance(dir) })
	if err := json.Unmarshal([]byte(r.must("", installed.engines(), "start", "--dir", dir, "--kubernetes=none")), &r.contract); err != nil {
		t.Fatal(err)
	}
	r.build("acme/app", "hello")
	r.must("", installed.engines(), "stop", "--dir", dir)
	wantNothingLeft(t, r.instance, before)
}

// A machine without runc is told so, with the command that mends it.
func TestMissingProgramIsSaid(t *testing.T) {
	installed, err := findTools(".")
	if err != nil {
		t.Fatal(err)
	}
	goTool, err := goCommand()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), installed.engines(), "run", "--dir", newDir(t), "--kubernetes=none")
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(goTool))
	if _, err := cmd.StdinPipe(); err != nil { // stays open
		t.Fatal(err)
	}
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Error("engines ran without runc")
	}
	wantContains(t, "what it says", string(out), "runc is not installed")
	wantContains(t, "what it says", string(out), "run . install")
}

// Without a stdin that stays open a run ends at once; it must say why.
func TestClosedStdinIsSaid(t *testing.T) {
	installed, err := findTools(".")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), installed.engines(), "run", "--dir", newDir(t), "--kubernetes=none").CombinedOutput()
	if err == nil {
		t.Error("a run that was told to stop while starting ended well")
	}
	wantContains(t, "what it says", string(out), "stdin closed")
}
