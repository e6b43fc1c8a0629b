package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"text/template"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-ci/slipway/githubapp"
)

// setupFlags are what a person says about the App that is to be made.
type setupFlags struct {
	url, org, dir, name, github string
	port                        int
	outgoing                    OutgoingConfig
}

// What setup writes. None of them may be there before.
const (
	configFile = "config.yaml"
	keyFile    = "app.pem"
	secretFile = "webhook.secret"
)

// setupPatience is how long setup waits for the person: GitHub's code is good for an hour.
const setupPatience = time.Hour

func setupCommand() *cobra.Command {
	var f setupFlags
	cmd := &cobra.Command{
		Use: "setup", Short: "Make a GitHub App for a server, and its configuration", Args: cobra.NoArgs,
		Long: `Make a GitHub App by GitHub's manifest flow. It prints what the App asks for and why, and serves one page on this machine's
loopback; nothing is made until you open that page and agree, there and at GitHub. Then it writes config.yaml, app.pem and
webhook.secret, which only their owner may read; existing files are never changed.

On a machine without a browser, choose a --port and forward it: ssh -L PORT:127.0.0.1:PORT HOST`,
		Example: "  slipway setup --url https://slipway.example.com --org acme --dir /etc/slipway",
	}
	flags := cmd.Flags()
	flags.StringVar(&f.url, "url", "", "the server's address for GitHub, such as https://slipway.example.com; webhooks go to its /webhook")
	flags.StringVar(&f.org, "org", "", "the organization that owns the App; default: your own account")
	flags.StringVar(&f.dir, "dir", ".", "the folder for the files; made with mode 0700 when missing")
	flags.StringVar(&f.name, "name", "", "the App's name, at most 34 characters; you may change it at GitHub; default: slipway, and the organization")
	flags.StringVar(&f.github, "github-url", "https://github.com", "the GitHub, such as an Enterprise Server's https://github.example.com")
	flags.IntVar(&f.port, "port", 0, "the page's port; default: a free one")
	flags.StringVar(&f.outgoing.Proxy, "proxy", "", "outgoing.proxy of the configuration, used now as well")
	flags.StringVar(&f.outgoing.CAFile, "ca-file", "", "outgoing.ca_file of the configuration, used now as well")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx, cancel := context.WithTimeoutCause(cmd.Context(), setupPatience, errors.New("nobody agreed within an hour; nothing was made"))
		defer cancel()
		return f.run(ctx, cmd.OutOrStdout())
	}
	return cmd
}

func (f setupFlags) run(ctx context.Context, out io.Writer) error {
	site, err := f.check()
	if err != nil {
		return err
	}
	transport, err := f.outgoing.github()
	if err != nil {
		return err
	}
	if err := f.prepare(); err != nil {
		return err
	}
	on, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(f.port)))
	if err != nil {
		return fmt.Errorf("--port: %w", err)
	}
	defer on.Close()
	page, err := newManifestPage(site, f, on.Addr().String())
	if err != nil {
		return err
	}
	if err := announce(out, f, on.Addr().String()); err != nil {
		return err
	}
	code, err := page.wait(ctx, on)
	if err != nil {
		return err
	}
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute) // the App exists: its key is shown this once
	defer cancel()
	made, err := site.Convert(late, &http.Client{Transport: transport, Timeout: time.Minute}, code)
	if err != nil {
		return fmt.Errorf("%w; the App was made at GitHub, but its key did not arrive: delete it there, and run setup again", err)
	}
	if err := f.write(made, site); err != nil {
		return fmt.Errorf("%w; the App %s was made at GitHub: delete it there, and run setup again", err, made.URL)
	}
	return f.next(out, made)
}

// check looks at the flags before anything is done.
func (f *setupFlags) check() (githubapp.Site, error) {
	var faults []error
	site, err := githubapp.NewSite(f.github)
	if err != nil {
		faults = append(faults, fmt.Errorf("--github-url: %w", err))
	}
	f.url = strings.TrimRight(f.url, "/")
	switch err := (ServerConfig{Webhook: ":0", Pages: "127.0.0.1:0", Metrics: ":0", URL: f.url}).validate(); {
	case f.url == "":
		faults = append(faults, errors.New("--url is missing: the address under which GitHub will reach the server, such as https://slipway.example.com"))
	case err != nil || strings.ContainsAny(f.url, "?# \"'\\\n"):
		faults = append(faults, fmt.Errorf("--url: %q is not an address such as https://slipway.example.com", f.url))
	}
	if strings.HasPrefix(f.url, "http://") && !strings.HasPrefix(f.url, "http://127.0.0.1") {
		faults = append(faults, errors.New("--url must be https: what GitHub sends would travel in the clear"))
	}
	if site.Web != nil {
		if _, err := site.RegisterURL(f.org, ""); err != nil {
			faults = append(faults, fmt.Errorf("--org: %w", err))
		}
	}
	if f.name == "" {
		f.name = strings.TrimSuffix("slipway-"+f.org, "-")
		f.name = f.name[:min(len(f.name), 34)]
	}
	if len(f.name) > 34 {
		faults = append(faults, errors.New("--name: GitHub takes at most 34 characters"))
	}
	if f.outgoing.CAFile != "" {
		if f.outgoing.CAFile, err = filepath.Abs(f.outgoing.CAFile); err != nil {
			faults = append(faults, err)
		}
	}
	return site, errors.Join(append(faults, f.outgoing.validate())...)
}

// prepare makes sure, before an App is made, that its key can be written.
func (f setupFlags) prepare() error {
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return fmt.Errorf("--dir: %w", err)
	}
	for _, name := range []string{configFile, keyFile, secretFile} {
		if _, err := os.Lstat(filepath.Join(f.dir, name)); err == nil {
			return fmt.Errorf("%s exists; setup changes no file: choose another --dir, or move it away", filepath.Join(f.dir, name))
		}
	}
	probe, err := os.CreateTemp(f.dir, ".setup-")
	if err != nil {
		return fmt.Errorf("--dir: %w", err)
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}

// announce says what the App will ask for, and what to do.
func announce(out io.Writer, f setupFlags, address string) error {
	owner := "your account"
	if f.org != "" {
		owner = "the organization " + f.org
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "A GitHub App for %s will ask for these permissions, and no others:\n\n", owner)
	for _, p := range githubapp.Permissions() {
		why := p.Why
		if p.Optional {
			why += " (optional: you may take it away later)"
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\n", p.Name, p.Level, why)
	}
	fmt.Fprintf(w, "\nand be sent these events at %s/webhook:\n\n", f.url)
	for _, s := range githubapp.Subscriptions() {
		fmt.Fprintf(w, "  %s\t\t%s\n", s.Name, s.Why)
	}
	fmt.Fprintf(w, "\nNothing is made until you agree. Open this page in a browser on this machine:\n\n  http://%s/\n\n", address)
	return w.Flush()
}

// write puts the files down, the key first: it can't be had again.
func (f setupFlags) write(made githubapp.Registered, site githubapp.Site) error {
	var config strings.Builder
	if err := configTemplate.Execute(&config, struct {
		setupFlags
		App githubapp.Registered
		API string
	}{f, made, site.API.String()}); err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	for _, file := range []struct{ name, content string }{
		{keyFile, made.PEM}, {secretFile, made.WebhookSecret + "\n"}, {configFile, config.String()},
	} {
		if err := writeNew(filepath.Join(f.dir, file.name), file.content); err != nil {
			return err
		}
	}
	return nil
}

// writeNew writes a file that only its owner may read and that must not be there yet.
func writeNew(path, content string) error {
	out, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.WriteString(out, content)
	if err := errors.Join(err, out.Sync(), out.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

func (f setupFlags) next(out io.Writer, made githubapp.Registered) error {
	config := filepath.Join(f.dir, configFile)
	_, err := fmt.Fprintf(out, `The App %s (%d) of %s was made. Written, for their owner only: %s, %s and %s.

Next:
  1. Add your registry, BuildKit and clusters to %s
  2. Install the App: %s/installations/new
  3. slipway doctor --config %s
  4. slipway serve --config %s
  5. slipway begin --config %s, while it runs: until then nothing is started
`, made.Slug, made.ID, made.Owner, config, filepath.Join(f.dir, keyFile), filepath.Join(f.dir, secretFile), config, made.URL, config, config, config)
	return err
}

// configTemplate is a server's first configuration. Values are quoted as YAML.
var configTemplate = template.Must(template.New("config").Funcs(template.FuncMap{"yaml": scalar}).Parse(
	`# Written by slipway setup. Every key there is, with what it means, is in the config.yaml of Slipway's repository.
# Check it: slipway doctor --config config.yaml

server:
  url: {{yaml .URL}}   # GitHub reaches /webhook of it; people the pages

github:                # the App {{.App.Slug}}
  app_id: {{.App.ID}}
  private_key_file: app.pem
  webhook_secret_files: [webhook.secret]
{{- if ne .API "https://api.github.com/"}}
  api_url: {{yaml .API}}
{{- end}}
{{- if or .Proxy .CAFile}}

outgoing:
{{- if .Proxy}}
  proxy: {{yaml .Proxy}}
{{- end}}
{{- if .CAFile}}
  ca_file: {{yaml .CAFile}}
{{- end}}
{{- end}}

queue:
  embedded: {dir: data}

builds:
  buildkit: [unix:///run/buildkit/buildkitd.sock]

# Where images go, and the clusters that charts are rolled out to: see config.yaml of Slipway's repository.
# registries:
#   registry.example.com: {username: slipway, password_file: registry.password}
# clusters:
#   staging: {kubeconfig_file: staging.kubeconfig}
# environments:
#   staging: {clusters: [staging], repositories: [{{if .Org}}{{.Org}}{{else}}acme{{end}}/*]}
# defaults:
#   image: "registry.example.com/${{"{{"}} repository.owner }}/${{"{{"}} repository.name }}"

repositories:
{{- if .Org}}
  allow: [{{yaml (print .Org "/*")}}]
{{- end}}
  mode: observe        # decides and explains, starts nothing; see: slipway observe report
  # run: [{{if .Org}}{{.Org}}{{else}}acme{{end}}/shop]   # repositories that run all the same
`))

// URL, Org, Proxy and CAFile are what the template writes.
func (f setupFlags) URL() string    { return f.url }
func (f setupFlags) Org() string    { return f.org }
func (f setupFlags) Proxy() string  { return f.outgoing.Proxy }
func (f setupFlags) CAFile() string { return f.outgoing.CAFile }
