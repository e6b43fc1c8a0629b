package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// spec is how to start one engine and how to know that it serves.
type spec struct {
	name string
	path string
	args []string
	// ready asks the engine whether it serves; nil means it need not be asked.
	ready func(ctx context.Context) error
	// grace is how long the engine may take to end on SIGTERM; zero means it
	// has nothing worth waiting for and is killed at once.
	grace time.Duration
}

// process is a running engine.
type process struct {
	spec  spec
	pid   int
	ended chan struct{} // closed when it has ended
	state string        // how it ended; read after ended is closed

	serving bool // under the supervisor's lock: it was ready once
}

func (p *process) alive() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// supervisor starts the engines of one instance, watches them and stops them.
type supervisor struct {
	instance *instance

	mu        sync.Mutex
	processes map[string]*process
	stopping  bool
}

func newSupervisor(i *instance) *supervisor {
	return &supervisor{instance: i, processes: make(map[string]*process)}
}

func (s *supervisor) logPath(name string) string { return s.instance.path("logs", name+".log") }

const startTimeout = 90 * time.Second

// start starts an engine and waits until it serves.
func (s *supervisor) start(ctx context.Context, sp spec) error {
	p, err := s.launch(sp)
	if err != nil {
		return err
	}
	if sp.ready != nil {
		if err := s.await(ctx, p, sp.name, sp.ready); err != nil {
			return err
		}
	}
	s.mu.Lock()
	p.serving = true
	s.mu.Unlock()
	return nil
}

// launch starts an engine without waiting.
func (s *supervisor) launch(sp spec) (*process, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return nil, fmt.Errorf("start %s: the engines are being stopped", sp.name)
	}
	if p := s.processes[sp.name]; p != nil && p.alive() {
		return nil, fmt.Errorf("start %s: it runs already, pid %d", sp.name, p.pid)
	}
	log, err := os.OpenFile(s.logPath(sp.name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", sp.name, err)
	}
	defer log.Close()
	cmd := exec.Command(sp.path, sp.args...)
	cmd.Dir = s.instance.Dir
	cmd.Env = append(engineEnvironment(), s.instance.marker())
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a Ctrl-C is for us alone
	if err := cmd.Start(); err != nil {
		if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("start %s: %s is not installed: %s", sp.name, sp.path, installHint)
		}
		return nil, fmt.Errorf("start %s: %w", sp.name, err)
	}
	p := &process{spec: sp, pid: cmd.Process.Pid, ended: make(chan struct{})}
	s.processes[sp.name] = p
	go func() {
		err := cmd.Wait()
		p.state = cmd.ProcessState.String()
		if err != nil && p.state == "" {
			p.state = err.Error()
		}
		close(p.ended)
		s.mu.Lock()
		unexpected := p.serving && !s.stopping
		s.mu.Unlock()
		if unexpected {
			fmt.Fprintf(os.Stderr, "engines: %s ended: %s (its log: %s)\n", sp.name, p.state, s.logPath(sp.name))
		}
	}()
	return p, nil
}

// engineEnvironment is ours without proxies and Go or Kubernetes settings that
// would change what an engine does.
func engineEnvironment() []string {
	return slices.DeleteFunc(os.Environ(), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		switch strings.ToUpper(name) {
		case "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "KUBECONFIG", "BUILDKIT_HOST", "GOFLAGS", "GOMAXPROCS", "GODEBUG", "CONTAINERD_ADDRESS", "NOTIFY_SOCKET", markerName:
			return true
		}
		return strings.HasPrefix(name, "ETCD_") || strings.HasPrefix(name, "REGISTRY_") || strings.HasPrefix(name, "OTEL_") || strings.HasPrefix(name, "KWOK_")
	})
}

// await asks until ready says yes, the process has ended or time is up.
func (s *supervisor) await(ctx context.Context, p *process, what string, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	pause := 20 * time.Millisecond
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.ended:
			return fmt.Errorf("%s ended while starting: %s\n%s says:\n%s", p.spec.name, p.state, s.logPath(p.spec.name), lastLinesOf(s.logPath(p.spec.name), 15))
		case <-ctx.Done():
			if errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
				return fmt.Errorf("%s is not ready after %s: %w\n%s says:\n%s", what, startTimeout, err, s.logPath(p.spec.name), lastLinesOf(s.logPath(p.spec.name), 15))
			}
			return ctx.Err()
		case <-time.After(pause):
		}
		pause = min(pause*3/2, 250*time.Millisecond)
	}
}

// kill ends an engine with SIGKILL, as a crash would, and waits for its end.
func (s *supervisor) kill(name string) error {
	p, err := s.find(name)
	if err != nil {
		return err
	}
	if !p.alive() {
		return fmt.Errorf("%s is dead already: %s", name, p.state)
	}
	if err := syscall.Kill(p.pid, syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill %s: %w", name, err)
	}
	<-p.ended
	return nil
}

// revive starts a dead engine as it was started before.
func (s *supervisor) revive(ctx context.Context, name string) error {
	p, err := s.find(name)
	if err != nil {
		return err
	}
	return s.start(ctx, p.spec)
}

func (s *supervisor) find(name string) (*process, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.processes[name]; p != nil {
		return p, nil
	}
	var names []string
	for n := range s.processes {
		names = append(names, n)
	}
	slices.Sort(names)
	return nil, fmt.Errorf("no engine %q: there are %s", name, strings.Join(names, ", "))
}

// pids lists the living engines.
func (s *supervisor) pids() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	pids := make(map[string]int)
	for name, p := range s.processes {
		if p.alive() {
			pids[name] = p.pid
		}
	}
	return pids
}

// stop ends all engines at once, those with a grace by SIGTERM first.
func (s *supervisor) stop() {
	s.mu.Lock()
	s.stopping = true
	processes := make([]*process, 0, len(s.processes))
	for _, p := range s.processes {
		processes = append(processes, p)
	}
	s.mu.Unlock()

	var wait sync.WaitGroup
	for _, p := range processes {
		if !p.alive() {
			continue
		}
		wait.Go(func() {
			if p.spec.grace > 0 {
				_ = syscall.Kill(p.pid, syscall.SIGTERM)
				select {
				case <-p.ended:
					return
				case <-time.After(p.spec.grace):
				}
			}
			_ = syscall.Kill(p.pid, syscall.SIGKILL)
			<-p.ended
		})
	}
	wait.Wait()
}
