// Package enginetest gives tests and the demo a real BuildKit, registry and
// Kubernetes: it runs the program of the engines folder, which is a module of
// its own, and hands over the addresses that it prints.
//
// The engines end with the process that started them, also when that is
// killed: their program watches its standard input and cleans up when it
// closes.
package enginetest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	// ProgramVariable names the environment variable with the path of the
	// engines program. Without it the one built from this repository is used.
	ProgramVariable = "SLIPWAY_ENGINES"
	// DirVariable names the environment variable with the folder of engines
	// that run already and that tests may share.
	DirVariable = "SLIPWAY_ENGINES_DIR"
)

// Options say what to run. The zero value is everything, with real pods.
type Options struct {
	Kubernetes string // "real" (also ""), "kwok" for fake nodes, "none"
	Nodes      int    // fake nodes under kwok; 0 means the program's default
	NoBuildKit bool
	NoRegistry bool      // only together with NoBuildKit and without real pods
	Progress   io.Writer // takes what the program says while it works; nil discards it
}

func (o Options) kubernetes() string {
	if o.Kubernetes == "" {
		return "real"
	}
	return o.Kubernetes
}

// Engines are running engines. A field is empty when its engine was not asked for.
type Engines struct {
	Dir              string         `json:"dir"`              // everything of the instance lies here
	BuildKit         string         `json:"buildkit"`         // address, unix://…
	Registry         string         `json:"registry"`         // host:port, plain HTTP, no credentials
	Kubernetes       string         `json:"kubernetes"`       // real, kwok or none
	Kubeconfig       string         `json:"kubeconfig"`       // path; the user is cluster administrator
	KubernetesServer string         `json:"kubernetesServer"` // https://127.0.0.1:PORT
	Buildctl         string         `json:"buildctl"`         // paths of command line tools
	Kubectl          string         `json:"kubectl"`
	Helm             string         `json:"helm"`
	Logs             string         `json:"logs"`       // folder with NAME.log per engine
	Supervisor       int            `json:"supervisor"` // process ID of the program itself
	Pids             map[string]int `json:"pids"`       // process IDs by engine, as they were at the start

	program string
	process *exec.Cmd      // nil when someone else runs them
	stdin   io.WriteCloser // closing it ends them
	said    *tail
}

// Run starts engines of the caller's own in a temporary folder that Close
// removes. What is missing is said in the error, with the command that mends it.
func Run(ctx context.Context, o Options) (*Engines, error) {
	program, err := findProgram(ctx)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "slipway-engines-")
	if err != nil {
		return nil, fmt.Errorf("make a folder for the engines: %w", err)
	}
	args := []string{"run", "--purge", "--dir", dir, "--kubernetes", o.kubernetes(),
		fmt.Sprintf("--buildkit=%t", !o.NoBuildKit), fmt.Sprintf("--registry=%t", !o.NoRegistry)}
	if o.Nodes != 0 {
		args = append(args, fmt.Sprintf("--nodes=%d", o.Nodes))
	}
	//nolint:noctx // Close ends it, in good order, and not a context
	e := &Engines{program: program, process: exec.Command(program, args...), said: &tail{also: o.Progress}}
	e.process.Stderr = e.said
	// In a process group of its own, so that Ctrl-C on a terminal leaves them up until whoever uses them closes them.
	e.process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if e.stdin, err = e.process.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := e.process.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := e.process.Start(); err != nil {
		return nil, fmt.Errorf("start the engines: %w", err)
	}
	cancelled := context.AfterFunc(ctx, func() { e.stdin.Close() })
	err = json.NewDecoder(stdout).Decode(e)
	if !cancelled() || err != nil {
		e.stdin.Close()
		err = errors.Join(ctx.Err(), err, e.process.Wait())
		return nil, fmt.Errorf("start the engines: %w\n%s(their logs are in %s)", err, e.said, filepath.Join(dir, "logs"))
	}
	return e, nil
}

// Use returns the engines that run already in dir, for example by
// `engines start --dir DIR`. Closing them does nothing.
func Use(ctx context.Context, dir string) (*Engines, error) {
	program, err := findProgram(ctx)
	if err != nil {
		return nil, err
	}
	status, err := output(exec.CommandContext(ctx, program, "status", "--dir", dir))
	if err != nil {
		return nil, err
	}
	e := &Engines{program: program}
	if err := json.Unmarshal(status, e); err != nil {
		return nil, fmt.Errorf("read the status of the engines in %s: %w", dir, err)
	}
	return e, nil
}

// stopTimeout is how long the engines may take to stop and clean up.
const stopTimeout = time.Minute

// Close stops the engines that Run started and waits until nothing of them is left.
func (e *Engines) Close() error {
	if e.process == nil {
		return nil
	}
	e.stdin.Close()
	kill := time.AfterFunc(stopTimeout, func() { _ = e.process.Process.Kill() })
	defer kill.Stop()
	if err := e.process.Wait(); err != nil {
		return fmt.Errorf("stop the engines: %w\n%s", err, e.said)
	}
	return nil
}

// Kill ends one engine with SIGKILL, as a crash would: buildkitd, registry,
// etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kubelet,
// containerd or kwok.
func (e *Engines) Kill(ctx context.Context, engine string) error {
	_, err := output(exec.CommandContext(ctx, e.program, "kill", engine, "--dir", e.Dir))
	return err
}

// Revive starts a killed engine on the same address and data, and returns when
// it serves again.
func (e *Engines) Revive(ctx context.Context, engine string) error {
	_, err := output(exec.CommandContext(ctx, e.program, "revive", engine, "--dir", e.Dir))
	return err
}

// findProgram returns the path of a complete installation of the engines.
func findProgram(ctx context.Context) (string, error) {
	if path := os.Getenv(ProgramVariable); path != "" {
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("%s names no program: %w", ProgramVariable, err)
		}
		return path, nil
	}
	source, err := findSource()
	if err != nil {
		return "", err
	}
	path, err := output(exec.CommandContext(ctx, "go", "-C", source, "run", ".", "path"))
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(path)), nil
}

// findSource looks for the engines folder from the working folder upwards:
// tests run in their package's folder.
func findSource() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		engines := filepath.Join(dir, "engines")
		if _, err := os.Stat(filepath.Join(engines, "go.mod")); err == nil {
			return engines, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("no folder engines in %s or above: run this in the repository or set %s", start, ProgramVariable)
		}
	}
}

// output runs a command and returns what it prints; its error is what it says.
func output(cmd *exec.Cmd) ([]byte, error) {
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) && len(exit.Stderr) > 0 {
		return nil, errors.New(strings.TrimSpace(string(exit.Stderr)))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", strings.Join(cmd.Args, " "), err)
	}
	return out, nil
}

// tail keeps the last bytes written to it and passes all on.
type tail struct {
	also io.Writer
	kept []byte
}

func (t *tail) Write(p []byte) (int, error) {
	const most = 16 << 10
	t.kept = append(t.kept, p...)
	if len(t.kept) > most {
		t.kept = bytes.Clone(t.kept[len(t.kept)-most:])
	}
	if t.also != nil {
		return t.also.Write(p)
	}
	return len(p), nil
}

// String may be called once the process has ended.
func (t *tail) String() string { return string(t.kept) }
