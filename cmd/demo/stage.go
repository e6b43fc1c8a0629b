package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/slipway-ci/slipway/enginetest"
	"github.com/slipway-ci/slipway/githubapp/githubtest"
)

const (
	repositoryName = "acme/tks-contract"
	namespace      = "tks"
	release        = "tks-contract"
)

// A stage is everything that runs while the story is played.
type stage struct {
	*printer
	dir    string // temporary: the server's data and log, GitHub's repositories, the working copies
	sample string // folder of the sample repository

	engines  *enginetest.Engines
	registry registryOptions
	cluster  *cluster
	github   *githubtest.Server
	repo     *githubtest.Repository
	app      *githubtest.App
	alice    *githubtest.User // may write
	eve      *githubtest.User // may not
	server   *server
	followed map[string]bool // runs, by ID
}

// setStage starts everything. After an error it returns what runs already, to be taken down.
func setStage(ctx context.Context, o options, p *printer) (*stage, error) {
	root, err := findRoot()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "slipway-demo-")
	if err != nil {
		return nil, fmt.Errorf("make a folder for the demo: %w", err)
	}
	s := &stage{printer: p, dir: dir, followed: map[string]bool{}, sample: filepath.Join(root, "examples", "tks-contract"), registry: o.registry}
	p.heading("Setting the stage")
	if err := s.startEngines(ctx, o); err != nil {
		return s, err
	}
	if err := s.startGitHub(); err != nil {
		return s, err
	}
	program := o.slipway
	if program == "" {
		program = filepath.Join(dir, "slipway")
		p.line("slipway", "building it")
		if err := command(ctx, root, nil, "go", "build", "-o", program, "./cmd/app"); err != nil {
			return s, fmt.Errorf("build slipway: %w", err)
		}
	}
	if program, err = filepath.Abs(program); err != nil {
		return s, err
	}
	if s.server, err = startServer(ctx, program, s.serverConfig(o)); err != nil {
		return s, err
	}
	s.app.SetWebhook("http://"+s.server.webhook+"/webhook", s.server.secret)
	p.line("slipway", "is ready")
	p.note("\nWatch it at %s", p.paint(bold, s.server.url()))
	return s, nil
}

// startEngines starts those engines that the command line doesn't name others for, and opens the cluster.
func (s *stage) startEngines(ctx context.Context, o options) error {
	wanted := enginetest.Options{NoBuildKit: o.buildkit != "", Progress: (*engineProgress)(s.printer)}
	if o.kubeconfig != "" {
		wanted.Kubernetes = "none"
		wanted.NoRegistry = wanted.NoBuildKit
	}
	kubeconfig := o.kubeconfig
	if wanted.Kubernetes != "none" || !wanted.NoBuildKit {
		var err error
		if s.engines, err = enginetest.Run(ctx, wanted); err != nil {
			return err
		}
		if kubeconfig == "" {
			kubeconfig = s.engines.Kubeconfig
		}
	}
	if s.registry.host == "" {
		s.registry = registryOptions{host: s.engines.Registry, insecure: true}
	}
	c, err := openCluster(ctx, kubeconfig, o.kubeconfig != "")
	if err != nil {
		return err
	}
	s.cluster = c
	s.line("engines", "are ready: %s", s.describeEngines(o))
	return nil
}

func (s *stage) describeEngines(o options) string {
	buildkit, kubernetes := "BuildKit", "Kubernetes with real pods"
	if o.buildkit != "" {
		buildkit = "BuildKit at " + o.buildkit
	}
	if o.kubeconfig != "" {
		kubernetes = "the cluster of " + o.kubeconfig
	}
	return fmt.Sprintf("%s, registry %s, %s", buildkit, s.registry.host, kubernetes)
}

// engineProgress shows what the engines' program says as lines of progress.
type engineProgress printer

func (e *engineProgress) Write(b []byte) (int, error) {
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimSpace(line); line != "" {
			(*printer)(e).line("engines", "%s", strings.TrimPrefix(line, "engines: "))
		}
	}
	return len(b), nil
}

// startGitHub starts the stand-in, with an App on acme and two people.
func (s *stage) startGitHub() (err error) {
	s.github, err = githubtest.Start(githubtest.Options{Dir: filepath.Join(s.dir, "github"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return fmt.Errorf("start the stand-in GitHub: %w", err)
	}
	s.alice, s.eve = s.github.CreateUser("alice"), s.github.CreateUser("eve")
	if s.repo, err = s.github.CreateRepository(repositoryName, githubtest.RepositoryOptions{}); err != nil {
		return err
	}
	s.repo.SetPermission(s.alice, "write")
	if s.app, err = s.github.CreateApp(githubtest.AppOptions{}); err != nil {
		return err
	}
	s.app.Install("acme")
	s.github.RunWorkflows(&githubtest.WorkflowScript{Delay: time.Second}) // as GitHub's own runners would
	s.line("github", "the stand-in GitHub is at %s", s.github.URL)
	return nil
}

func (s *stage) serverConfig(o options) serverConfig {
	c := serverConfig{
		dir: filepath.Join(s.dir, "server"), appID: s.app.ID, key: s.app.PrivateKeyPEM, secret: rand.Text(), github: s.github.URL,
		buildkit: o.buildkit, registry: s.registry, kubeconfig: s.cluster.kubeconfig,
	}
	if c.buildkit == "" {
		c.buildkit = s.engines.BuildKit
	}
	return c
}

// stayUp shows where to look, until ctx ends. The server's own end is an error.
func (s *stage) stayUp(ctx context.Context) error {
	kubectl, helm := "kubectl", "helm"
	if s.engines != nil && s.engines.Kubectl != "" {
		kubectl, helm = s.engines.Kubectl, s.engines.Helm
	}
	s.note("\n%s", s.paint(bold, "Everything stays up for a look"))
	s.note("  pages     %s", s.server.url())
	s.note("  cluster   %s --kubeconfig %s -n %s get pods,jobs,deployments", kubectl, s.cluster.kubeconfig, namespace)
	s.note("  release   %s --kubeconfig %s -n %s history %s", helm, s.cluster.kubeconfig, namespace, release)
	s.note("  registry  %s/%s", s.registry.host, repositoryName)
	s.note("  push more git clone %s", s.repo.CloneURL(s.alice))
	s.note("  log       %s", s.server.log)
	s.note("\nCtrl-C stops it all.")
	select {
	case <-ctx.Done():
		return nil
	case <-s.server.exited:
		return errors.New("the server ended by itself" + s.serverLog())
	}
}

// serverLog says where the server's log is and how it ends, for the end of an error.
func (s *stage) serverLog() string {
	if s == nil || s.server == nil {
		return ""
	}
	return fmt.Sprintf("\nThe server's log is %s. It ends:\n%s", s.server.log, lastLines(s.server.log, 30))
}

// takeDown stops everything, the last first, and removes the demo's folder unless it is to be kept.
func (s *stage) takeDown(keep bool) error {
	s.heading("Taking the stage down")
	var faults []error
	attempt := func(what string, err error) {
		if err != nil {
			faults = append(faults, fmt.Errorf("stop %s: %w", what, err))
		}
	}
	if s.server != nil {
		attempt("slipway", s.server.stop())
	}
	if s.github != nil {
		if v := s.github.TakeViolations(); len(v) > 0 {
			faults = append(faults, fmt.Errorf("GitHub's description of its API was broken:\n%s", strings.Join(v, "\n")))
		}
		attempt("the stand-in GitHub", s.github.Close())
	}
	if s.cluster != nil {
		attempt("looking at the cluster", s.cluster.close())
	}
	if s.engines != nil {
		attempt("the engines", s.engines.Close())
	}
	if keep {
		s.line("folder", "%s is kept", s.dir)
	} else {
		attempt("using "+s.dir, os.RemoveAll(s.dir))
	}
	if len(faults) == 0 {
		s.line("done", "nothing is left running")
	}
	return errors.Join(faults...)
}

// findRoot finds the repository from the working folder upwards.
func findRoot() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "examples", "tks-contract", ".slipway.yaml")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("there is no examples/tks-contract in %s or above: run the demo in Slipway's repository", start)
		}
	}
}

// command runs a program to its end; its error is what it said.
func command(ctx context.Context, dir string, env []string, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, args[0], err, strings.TrimSpace(string(out)))
	}
	return nil
}

// lastLines returns the end of a file.
func lastLines(path string, n int) string {
	f, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	const most = 64 << 10
	if info, err := f.Stat(); err == nil && info.Size() > most {
		_, _ = f.Seek(-most, io.SeekEnd)
	}
	data, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
