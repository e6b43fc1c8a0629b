package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/slipway-ci/slipway/githubapp/githubtest"
	"github.com/slipway-ci/slipway/web"
)

// A world is what a script plays in: a GitHub, and servers as processes of their own that it can kill.
type world struct {
	t       testing.TB
	dir     string
	github  *githubtest.Server
	app     *githubtest.App
	env     []string
	servers map[string]*process
	deaths  int                         // of servers, by kill -9 or as if
	claims  []net.PacketConn            // on its servers' ports
	pulls   map[string]*githubtest.Pull // by "OWNER/NAME NUMBER"
	engines any                         // of the script's own, when it has some

	receiver *receiver // of callbacks, when the script has one

	testdata string // this package's
}

// A process is one server.
type process struct {
	name, config, dir      string
	webhook, pages, metric string
	cmd                    *exec.Cmd
	log                    *logFile
	exited                 chan struct{}
	expected               bool // its end is no surprise
}

const webhookSecret = "a secret for scripts"

// nowhere is the kubeconfig of a cluster that does not answer, for kinds that only pretend.
const nowhere = `{apiVersion: v1, kind: Config, current-context: nowhere, contexts: [{name: nowhere, context: {cluster: nowhere}}],
clusters: [{name: nowhere, cluster: {server: "https://127.0.0.1:1"}}]}
`

// newWorld makes a GitHub with an App on acme, and writes the App's files.
func newWorld(t testing.TB, dir string, env []string) (*world, error) {
	w := &world{t: t, dir: dir, env: env, servers: map[string]*process{}, pulls: map[string]*githubtest.Pull{}}
	var err error
	if w.testdata, err = filepath.Abs("testdata"); err != nil {
		return nil, err
	}
	w.github, err = githubtest.Start(githubtest.Options{
		Dir: filepath.Join(dir, ".github-server"), Log: slog.New(slog.DiscardHandler), WebhookTimeout: patience, // no server of ours is meant to miss it
	})
	if err != nil {
		return nil, err
	}
	w.github.CreateOrganization("acme")
	for _, login := range []string{"alice", "bob", "carol", "eve", "robot[bot]"} {
		w.github.CreateUser(login)
	}
	if w.app, err = w.github.CreateApp(githubtest.AppOptions{WebhookSecret: webhookSecret}); err != nil {
		return nil, err
	}
	w.app.Install("acme")
	for name, content := range map[string]string{
		"app.pem": string(w.app.PrivateKeyPEM), "webhook.secret": webhookSecret + "\n", "nowhere.kubeconfig": nowhere,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// end stops everything and says what broke GitHub's contract.
func (w *world) end() error {
	for _, p := range w.servers {
		if p.running() {
			p.expected = true
			_ = p.cmd.Process.Kill()
			<-p.exited
		}
	}
	for _, claim := range w.claims {
		claim.Close()
	}
	violations := w.github.TakeViolations()
	if err := w.github.Close(); err != nil {
		return err
	}
	if len(violations) > 0 {
		return fmt.Errorf("GitHub's contract was broken:\n%s", strings.Join(violations, "\n"))
	}
	return nil
}

func (p *process) running() bool {
	if p == nil || p.cmd == nil {
		return false
	}
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// Servers listen on ports below the range that the kernel hands out by itself, so that no other program's connection or
// listener takes one before the server first listens, or while it is down. Test engines have theirs from 15000 on.
const (
	firstPort = 11000
	lastPort  = 14999
)

// ports finds free loopback addresses. They stay the world's own until its end, over restarts of its servers: it holds
// the UDP port of the same number, which nobody uses, so that no other world takes it, be it in another process.
func (w *world) ports(n int) ([]string, error) {
	var addresses []string
	var err error
	for tries := 0; len(addresses) < n && tries < 1000; tries++ {
		address := fmt.Sprintf("127.0.0.1:%d", firstPort+rand.IntN(lastPort-firstPort+1))
		var claim net.PacketConn
		if claim, err = net.ListenPacket("udp", address); err != nil {
			continue
		}
		var l net.Listener
		if l, err = net.Listen("tcp", address); err != nil {
			claim.Close()
			continue
		}
		l.Close()
		w.claims = append(w.claims, claim)
		addresses = append(addresses, address)
	}
	if len(addresses) < n {
		return nil, fmt.Errorf("find %d free ports from %d to %d: %w", n, firstPort, lastPort, err)
	}
	return addresses, nil
}

// variable is a name that the script or the world fills in; ${{ … }} is the configuration's own.
var variable = regexp.MustCompile(`\$[A-Z]+`)

// server returns the named server, with its configuration written from the script's config.yaml, or else the default triggerse.
func (w *world) server(name string, getenv func(string) string) (*process, error) {
	if p := w.servers[name]; p != nil {
		return p, nil
	}
	addresses, err := w.ports(3)
	if err != nil {
		return nil, err
	}
	p := &process{name: name, dir: filepath.Join(w.dir, "server-"+name), webhook: addresses[0], pages: addresses[1], metric: addresses[2]}
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return nil, err
	}
	own := map[string]string{
		"NAME": name, "WEBHOOK": p.webhook, "PAGES": p.pages, "METRICS": p.metric, "GITHUB": w.github.URL, "APP": fmt.Sprint(w.app.ID),
		"KEY": filepath.Join(w.dir, "app.pem"), "SECRET": filepath.Join(w.dir, "webhook.secret"),
	}
	template, err := os.ReadFile(filepath.Join(w.dir, "config.yaml"))
	if errors.Is(err, fs.ErrNotExist) {
		template, err = os.ReadFile(filepath.Join(w.testdata, "config.yaml"))
	}
	if err != nil {
		return nil, err
	}
	text := variable.ReplaceAllStringFunc(string(template), func(name string) string {
		if value, ok := own[name[1:]]; ok {
			return value
		}
		return getenv(name[1:])
	})
	p.config = filepath.Join(p.dir, "config.yaml")
	if err := os.WriteFile(p.config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	w.servers[name] = p
	return p, nil
}

// start runs the server's process until it is ready, or has died.
func (w *world) start(ctx context.Context, p *process, env ...string) error {
	if p.running() {
		return fmt.Errorf("server %s runs already", p.name)
	}
	if p.log == nil {
		p.log = &logFile{}
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	hook := "http://" + p.webhook + "/webhook"
	p.cmd = exec.Command(program, "serve", "--config", p.config)
	p.cmd.Env = append(append(append([]string{}, w.env...), "SLIPWAY_TEST_PROGRAM=slipway"), env...)
	p.cmd.Dir, p.cmd.Stderr, p.cmd.Stdout = p.dir, p.log, p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p.exited, p.expected = make(chan struct{}), false
	if err := p.cmd.Start(); err != nil {
		return err
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.exited)
	}()
	err = wait(ctx, "server "+p.name+" to be ready", func() (bool, error) {
		if !p.running() {
			return true, nil // the script will see
		}
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.metric+"/readyz", nil)
		if err != nil {
			return false, err
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			return false, nil // not yet
		}
		answer.Body.Close()
		return answer.StatusCode == http.StatusOK, nil
	})
	if err != nil {
		return fmt.Errorf("%w; it said:\n%s", err, p.log)
	}
	w.app.SetWebhook(hook, webhookSecret)
	return nil
}

// call runs a client command of the program against the server and returns what it printed.
func (w *world) call(ctx context.Context, p *process, args ...string) (string, error) {
	program, err := os.Executable()
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, program, append(args, "--config", p.config)...)
	cmd.Env = append(append([]string{}, w.env...), "SLIPWAY_TEST_PROGRAM=slipway")
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("slipway %s: %w: %s", strings.Join(args, " "), err, errOut.String())
	}
	return out.String(), nil
}

// any returns a server that runs.
func (w *world) any() (*process, error) {
	for _, p := range w.servers {
		if p.running() {
			return p, nil
		}
	}
	return nil, fmt.Errorf("no server runs")
}

// runs asks a server for all runs.
func (w *world) runs(ctx context.Context) (list web.RunList, err error) {
	return list, w.ask(ctx, "/api/v1/runs", &list)
}

func (w *world) deliveries(ctx context.Context) (list web.DeliveryList, err error) {
	return list, w.ask(ctx, "/api/v1/deliveries", &list)
}

// ask reads an answer of the JSON API.
func (w *world) ask(ctx context.Context, path string, answer any) error {
	p, err := w.any()
	if err != nil {
		return err
	}
	body, err := p.admin(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer body.Close()
	return json.NewDecoder(body).Decode(answer)
}

// begin says that the server may act.
func (w *world) begin(ctx context.Context, p *process) error {
	request, err := json.Marshal(beginRequest{Since: time.Now(), By: "a test"})
	if err != nil {
		return err
	}
	body, err := p.admin(ctx, http.MethodPost, "/api/v1/begin", request)
	if err != nil {
		return err
	}
	return body.Close()
}

// admin asks through the server's admin socket.
func (p *process) admin(ctx context.Context, method, path string, request []byte) (io.ReadCloser, error) {
	c := &client{http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(p.dir, "work", "admin.sock"))
	}}}}
	return c.do(ctx, method, path, request)
}

// settled waits until every delivery GitHub sent is decided and every run is over and reported.
func (w *world) settled(ctx context.Context) error {
	if err := w.github.WaitIdle(ctx); err != nil {
		return err
	}
	open := "a server to answer"
	err := wait(ctx, "everything to be settled", func() (bool, error) {
		if _, err := w.any(); err != nil {
			return false, err
		}
		deliveries, err := w.deliveries(ctx)
		if err != nil {
			return false, nil // a server that just started
		}
		list, err := w.runs(ctx)
		if err != nil {
			return false, nil // as above
		}
		reported := map[string]bool{"": true}
		for _, r := range list.Runs {
			reported[r.ID] = r.Reported
			if !r.Reported { // it may be a command's, which its comment's decision does not name
				open = fmt.Sprintf("run %s is %s", r.ID, r.State)
				return false, nil
			}
		}
		for _, d := range deliveries.Deliveries {
			if d.Outcome == "" || !reported[d.Run] {
				open = fmt.Sprintf("%s %s is %q, run %q; runs: %+v", d.Event, d.GUID, d.Outcome, d.Run, list.Runs)
				return false, nil
			}
		}
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("%w: %s", err, open)
	}
	return nil
}

// wait asks until the answer is yes.
func wait(ctx context.Context, what string, done func() (bool, error)) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if ok, err := done(); err != nil || ok {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited in vain for %s", what)
		case <-tick.C:
		}
	}
}

// logFile keeps what a server prints.
type logFile struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (l *logFile) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(p)
}

func (l *logFile) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

// worldOf returns the script's world.
func worldOf(ts *testscript.TestScript) *world {
	return ts.Value(worldKey{}).(*world)
}

type worldKey struct{}
