package main

import (
	"bytes"
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
	"strings"
	"syscall"
	"text/template"
	"time"
)

// serverConfig is what a server's config.yaml is written from.
type serverConfig struct {
	dir        string
	appID      int64
	key        []byte
	secret     string
	github     string // base of the REST API
	buildkit   string
	registry   registryOptions
	kubeconfig string
}

// A server is a running `slipway serve`.
type server struct {
	webhook, pages, metrics string // addresses
	secret                  string
	log                     string // path of its log

	cmd    *exec.Cmd
	exited chan struct{} // closed when the process has ended
}

// configuration is the server's config.yaml. The acme repositories may run; the environment lets them into one namespace.
var configuration = template.Must(template.New("config.yaml").Funcs(template.FuncMap{"quote": quote}).Parse(`
server: {webhook: "{{.Webhook}}", pages: "{{.Pages}}", metrics: "{{.Metrics}}", url: "http://{{.Pages}}"}
github: {app_id: {{.AppID}}, private_key_file: app.pem, webhook_secret_files: [webhook.secret], api_url: {{quote .GitHub}}}
queue: {embedded: {dir: data}}
work: {dir: work, name: demo}
builds: {buildkit: [{{quote .BuildKit}}]}
registries:
  {{quote .Registry}}: {insecure: {{.Insecure}}{{with .Username}}, username: {{quote .}}{{end}}{{with .PasswordFile}}, password_file: {{quote .}}{{end}}}
clusters:
  demo: {kubeconfig_file: {{quote .Kubeconfig}}}
environments:
  staging: {clusters: [demo], repositories: [acme/*], namespaces: [` + namespace + `]}
repositories: {allow: [acme/*], mode: run}
defaults: {image: {{quote .Image}}}
`))

// quote writes a string as JSON, which YAML reads alike.
func quote(s string) (string, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(s)
	return strings.TrimSpace(b.String()), err
}

// write makes the server's folder: configuration, key and secret.
func (c serverConfig) write(webhook, pages, metrics string) error {
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return err
	}
	var passwordFile string
	if c.registry.passwordFile != "" {
		var err error
		if passwordFile, err = filepath.Abs(c.registry.passwordFile); err != nil {
			return err
		}
	}
	var config bytes.Buffer
	err := configuration.Execute(&config, map[string]any{
		"Webhook": webhook, "Pages": pages, "Metrics": metrics, "AppID": c.appID, "GitHub": c.github, "BuildKit": c.buildkit,
		"Registry": c.registry.host, "Insecure": c.registry.insecure, "Username": c.registry.username, "PasswordFile": passwordFile,
		"Kubeconfig": c.kubeconfig, "Image": c.registry.host + "/${{ repository.owner }}/${{ repository.name }}",
	})
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{"config.yaml": config.Bytes(), "app.pem": c.key, "webhook.secret": []byte(c.secret)} {
		if err := os.WriteFile(filepath.Join(c.dir, name), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

const (
	readyTimeout = 2 * time.Minute
	stopTimeout  = time.Minute
)

// startServer starts a server on free ports and lets it act: it returns when it is ready. A port may be taken by another
// program between being found free and being used; then others are tried.
func startServer(ctx context.Context, program string, c serverConfig) (*server, error) {
	for attempt := 1; ; attempt++ {
		s, err := tryServer(ctx, program, c)
		if err == nil {
			return s, nil
		}
		taken := s != nil && strings.Contains(lastLines(s.log, 5), "address already in use")
		if s != nil {
			_ = s.stop()
		}
		if !taken || attempt == 3 {
			return s, err
		}
	}
}

func tryServer(ctx context.Context, program string, c serverConfig) (*server, error) {
	addresses, err := freeAddresses(3)
	if err != nil {
		return nil, err
	}
	s := &server{
		webhook: addresses[0], pages: addresses[1], metrics: addresses[2], secret: c.secret,
		log: filepath.Join(c.dir, "server.log"), exited: make(chan struct{}),
	}
	if err := c.write(s.webhook, s.pages, s.metrics); err != nil {
		return nil, fmt.Errorf("write the server's configuration: %w", err)
	}
	log, err := os.Create(s.log)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the process has its own
	//nolint:noctx // it is ended in good order, by a signal
	s.cmd = exec.Command(program, "serve", "--config", filepath.Join(c.dir, "config.yaml"))
	s.cmd.Dir, s.cmd.Stdout, s.cmd.Stderr = c.dir, log, log
	// In a process group of its own, Ctrl-C reaches it only through us, in order. It must not outlive us.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	go func() {
		_ = s.cmd.Wait()
		close(s.exited)
	}()
	if err := s.ready(ctx); err != nil {
		return s, err
	}
	// A new data folder only observes until someone says that it may act.
	err = command(ctx, c.dir, nil, program, "begin", "--config", filepath.Join(c.dir, "config.yaml"))
	return s, err
}

// ready waits until the server says that it is.
func (s *server) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	return poll(ctx, "the server to be ready", func() (bool, error) {
		select {
		case <-s.exited:
			return false, fmt.Errorf("the server ended: %s", s.cmd.ProcessState)
		default:
		}
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.metrics+"/readyz", nil)
		if err != nil {
			return false, err
		}
		answer, err := direct.Do(r)
		if err != nil {
			return false, nil // it doesn't listen yet
		}
		answer.Body.Close()
		return answer.StatusCode == http.StatusOK, nil
	})
}

// stop ends the server in good order.
func (s *server) stop() error {
	select {
	case <-s.exited:
	default:
		if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return err
		}
		select {
		case <-s.exited:
		case <-time.After(stopTimeout):
			_ = s.cmd.Process.Kill()
			<-s.exited
			return fmt.Errorf("it did not end within %s of being told to, and was killed", stopTimeout)
		}
	}
	if !s.cmd.ProcessState.Success() {
		return fmt.Errorf("it ended with %s", s.cmd.ProcessState)
	}
	return nil
}

// url is where people see the pages.
func (s *server) url() string { return "http://" + s.pages + "/" }

// direct speaks to loopback without a proxy.
var direct = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}}

// open sends a GET to the server's JSON API; the caller closes the body.
func (s *server) open(ctx context.Context, path string) (io.ReadCloser, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.pages+"/api/v1"+path, nil)
	if err != nil {
		return nil, err
	}
	answer, err := direct.Do(r)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		answer.Body.Close()
		return nil, fmt.Errorf("GET %s: %s", path, answer.Status)
	}
	return answer.Body, nil
}

// ask reads one answer of the server's JSON API.
func (s *server) ask(ctx context.Context, path string, answer any) error {
	body, err := s.open(ctx, path)
	if err != nil {
		return err
	}
	defer body.Close()
	if err := json.NewDecoder(body).Decode(answer); err != nil {
		return fmt.Errorf("read the answer to %s: %w", path, err)
	}
	return nil
}

// freeAddresses finds free loopback ports.
func freeAddresses(n int) ([]string, error) {
	var addresses []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // there is nothing to wait for
		if err != nil {
			return nil, err
		}
		defer l.Close()
		addresses = append(addresses, l.Addr().String())
	}
	return addresses, nil
}

// poll asks ten times a second until the answer is yes, an error comes, or ctx ends.
func poll(ctx context.Context, what string, done func() (bool, error)) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		if ok, err := done(); err != nil || ok {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited in vain for %s: %w", what, context.Cause(ctx))
		case <-tick.C:
		}
	}
}
