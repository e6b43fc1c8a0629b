package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// contract is what users of the engines read: the line that run and start
// print, and engines.json in the instance's folder.
type contract struct {
	Dir              string         `json:"dir"`
	BuildKit         string         `json:"buildkit,omitempty"`         // unix:// address
	Registry         string         `json:"registry,omitempty"`         // host:port, plain HTTP
	Kubernetes       string         `json:"kubernetes"`                 // real, kwok or none
	Kubeconfig       string         `json:"kubeconfig,omitempty"`       // path
	KubernetesServer string         `json:"kubernetesServer,omitempty"` // https:// URL
	Buildctl         string         `json:"buildctl,omitempty"`         // paths of the command line tools
	Kubectl          string         `json:"kubectl,omitempty"`
	Helm             string         `json:"helm,omitempty"`
	Logs             string         `json:"logs"`       // folder with one log per engine
	Supervisor       int            `json:"supervisor"` // pid of run
	Pids             map[string]int `json:"pids"`       // living engines
}

func contractPath(dir string) string { return filepath.Join(dir, "engines.json") }

// run starts the engines, says so on stdout, and stops them when ctx ends or
// stdin closes. However it ends, it cleans up behind itself.
func run(ctx context.Context, t tools, o options) (err error) {
	begin := time.Now()
	unlock, err := lockDir(o.Dir)
	if err != nil {
		return err
	}
	defer unlock()
	i, err := openInstance(o)
	if err != nil {
		return err
	}
	if err := i.clean(); err != nil { // what a killed run left
		return err
	}
	if err := errors.Join(os.Mkdir(i.path("run"), 0o700), i.makeCgroups()); err != nil {
		return err
	}

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if !o.detached {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			cancel()
		}()
	}

	s := newSupervisor(i)
	defer func() {
		s.stop()
		_ = os.Remove(contractPath(i.Dir))
		err = errors.Join(err, i.clean())
		if i.Purge && err == nil {
			err = os.RemoveAll(i.Dir)
		}
	}()
	if err := startEngines(ctx, s, t); errors.Is(err, context.Canceled) {
		return errors.New("told to stop before the engines were ready: stdin closed or a signal came (`engines start` needs no stdin)")
	} else if err != nil {
		return err
	}
	publish := func() error { return writeJSON(contractPath(i.Dir), s.contract(t)) }
	stopControl, err := s.serveControl(publish)
	if err != nil {
		return err
	}
	defer stopControl()
	if err := publish(); err != nil {
		return err
	}
	line, err := json.Marshal(s.contract(t))
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "engines: ready in %.1f s\n", time.Since(begin).Seconds())
	if _, err := fmt.Printf("%s\n", line); err != nil {
		return fmt.Errorf("print the engines' addresses: %w", err)
	}
	<-ctx.Done()
	return nil
}

// lockDir makes the instance's folder and makes sure that one run at a time
// works in it. The lock file holds the process ID of who has the lock.
func lockDir(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the instance's folder: %w", err)
	}
	f, err := os.OpenFile(lockPath(dir), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("engines run in %s already: `engines stop --dir %s` stops them", dir, dir)
	}
	err = f.Truncate(0)
	if err == nil {
		_, err = f.WriteString(strconv.Itoa(os.Getpid()))
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}

func lockPath(dir string) string { return filepath.Join(dir, "lock") }

// lockHolder returns the process that has the lock on dir, 0 if none.
func lockHolder(dir string) (int, error) {
	f, err := os.Open(lockPath(dir))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err == nil {
		return 0, nil // closing f gives it up again
	}
	content, err := io.ReadAll(io.LimitReader(f, 32))
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(string(content))
	if err != nil {
		return 0, fmt.Errorf("%s is locked and does not say by which process", lockPath(dir))
	}
	return pid, nil
}

// startEngines starts everything the options ask for, what is independent at
// the same time.
func startEngines(ctx context.Context, s *supervisor, t tools) error {
	i := s.instance
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wait sync.WaitGroup
	try := func(f func() error) {
		wait.Go(func() {
			if err := f(); err != nil {
				cancel(err) // the first fault ends the others' waiting
			}
		})
	}
	if i.Registry {
		try(func() error { return startRegistry(ctx, s, t) })
	}
	if i.BuildKit {
		try(func() error { return startBuildKit(ctx, s, t) })
	}
	if i.Kubernetes != "none" {
		try(func() error { return startKubernetes(ctx, s, t) })
	}
	wait.Wait()
	return context.Cause(ctx)
}

// startRegistry starts the registry and puts the base images into it.
func startRegistry(ctx context.Context, s *supervisor, t tools) error {
	i := s.instance
	config := i.path("registry.yml")
	if err := os.WriteFile(config, []byte(registryConfig(i.path("registry"), i.address("registry"))), 0o600); err != nil {
		return err
	}
	if err := s.start(ctx, spec{
		name: "registry",
		path: t.engines(),
		args: []string{"registry", "--config", config},
		ready: func(ctx context.Context) error {
			return answersOK(ctx, http.DefaultClient, "http://"+i.address("registry")+"/v2/")
		},
		grace: 3 * time.Second,
	}); err != nil {
		return err
	}
	images, err := baseImages(ctx)
	if err != nil {
		return err
	}
	return images.push(ctx, i.address("registry"))
}

func (s *supervisor) contract(t tools) contract {
	i := s.instance
	c := contract{Dir: i.Dir, Kubernetes: i.Kubernetes, Logs: i.path("logs"), Supervisor: os.Getpid(), Pids: s.pids()}
	if i.Registry {
		c.Registry = i.address("registry")
	}
	if i.BuildKit {
		c.BuildKit, c.Buildctl = "unix://"+i.buildkitSocket(), t.buildctl()
	}
	if i.Kubernetes != "none" {
		c.Kubeconfig, c.KubernetesServer = i.kubeconfig(), "https://"+i.address("kube-apiserver")
		c.Kubectl, c.Helm = t.component("kubectl"), t.helm()
	}
	return c
}

// start runs `engines run` in a session of its own and waits for its line.
func start(ctx context.Context, t tools, o options, args []string) error {
	logs := filepath.Join(o.Dir, "logs")
	if err := os.MkdirAll(logs, 0o700); err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(logs, "engines.log"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(t.engines(), append([]string{"run", "--detached"}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Stderr = log
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", t.engines(), err)
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(syscall.SIGTERM) })
	defer stop()
	var line json.RawMessage
	if err := json.NewDecoder(stdout).Decode(&line); err != nil {
		_ = cmd.Wait() // what went wrong is in the log
		return fmt.Errorf("the engines did not start:\n%s", lastLinesOf(log.Name(), 40))
	}
	fmt.Printf("%s\n", line)
	return nil
}

func (i *instance) controlSocket() string { return i.path("run", "control.sock") }

// serveControl answers kill, revive and pids on a socket in the instance's
// folder, so that run stays the parent of all engines.
func (s *supervisor) serveControl(changed func() error) (stop func(), err error) {
	_ = os.Remove(s.instance.controlSocket())
	listener, err := net.Listen("unix", s.instance.controlSocket())
	if err != nil {
		return nil, fmt.Errorf("listen for kill and revive: %w", err)
	}
	answer := func(act func(ctx context.Context, engine string) error) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			err := errors.Join(act(r.Context(), r.PathValue("engine")), changed())
			if err != nil {
				http.Error(w, err.Error(), http.StatusConflict)
			}
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /kill/{engine}", answer(func(_ context.Context, engine string) error { return s.kill(engine) }))
	mux.HandleFunc("POST /revive/{engine}", answer(s.revive))
	mux.HandleFunc("POST /pids/", answer(func(context.Context, string) error { return nil }))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = server.Serve(listener) }()
	return func() { _ = server.Close() }, nil
}

// control asks the run that owns dir to act upon one engine.
func control(ctx context.Context, dir, verb, engine string) error {
	dir, err := instanceDir(dir)
	if err != nil {
		return err
	}
	socket := (&instance{options: options{Dir: dir}}).controlSocket()
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://engines/"+verb+"/"+engine, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("no engines run in %s: start them with `engines start --dir %s` (%w)", dir, dir, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 64<<10))
		return errors.New(string(text))
	}
	return nil
}

// status prints the JSON of a running instance with the engines alive now.
func status(ctx context.Context, dir string) error {
	if err := control(ctx, dir, "pids", ""); err != nil {
		return err
	}
	dir, err := instanceDir(dir)
	if err != nil {
		return err
	}
	content, err := os.ReadFile(contractPath(dir))
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(content)
	return err
}

// stopInstance stops the run that owns dir and makes sure that nothing is
// left, also when that run was killed before.
func stopInstance(dir string) error {
	dir, err := instanceDir(dir)
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("not root: stopping unmounts file systems and removes cgroups, run this as root")
	}
	const patience = 30 * time.Second
	asked := false
	for begin := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		pid, err := lockHolder(dir)
		if err != nil {
			return err
		}
		if pid == 0 {
			break
		}
		switch waited := time.Since(begin); {
		case waited > 2*patience:
			return fmt.Errorf("process %d runs the engines in %s and survives SIGKILL", pid, dir)
		case waited > patience:
			_ = syscall.Kill(pid, syscall.SIGKILL)
		case !asked:
			_ = syscall.Kill(pid, syscall.SIGTERM)
			asked = true
		}
	}
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return nil // purged
	}
	i := &instance{options: options{Dir: dir}, ID: instanceID(dir)}
	return errors.Join(i.clean(), removeIfExists(contractPath(dir)))
}

func removeIfExists(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
