package main

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"

	"github.com/slipway-ci/slipway/deploy"
	"github.com/slipway-ci/slipway/githubapp"
	"github.com/slipway-ci/slipway/jobs"
	"github.com/slipway-ci/slipway/jobs/build"
	"github.com/slipway-ci/slipway/pipeline"
	"github.com/slipway-ci/slipway/queue"
	"github.com/slipway-ci/slipway/webhook"
)

// Config is config.yaml: one block for each package that has something to configure. A block's fields are documented
// at its type. Secrets are named by file, never written into it. Relative paths are taken from the file's folder.
type Config struct {
	Server       ServerConfig                          `yaml:"server"`
	GitHub       githubapp.Config                      `yaml:"github"`
	Queue        queue.Config                          `yaml:"queue"`
	Work         WorkConfig                            `yaml:"work"`
	Builds       build.Config                          `yaml:"builds"`
	Registries   map[string]RegistryConfig             `yaml:"registries"` // by host[:port]
	Clusters     map[string]ClusterConfig              `yaml:"clusters"`   // by a name of the operator's choice
	Environments map[string]pipeline.EnvironmentPolicy `yaml:"environments"`
	Workflows    map[string]pipeline.WorkflowsPolicy   `yaml:"workflows"` // by owner/name of the repository they are in
	Repositories pipeline.RepositoriesPolicy           `yaml:"repositories"`
	Trust        pipeline.TrustPolicy                  `yaml:"trust"`
	Commands     map[string]pipeline.CommandPolicy     `yaml:"commands"` // by name, without the slash
	Defaults     pipeline.DefaultsPolicy               `yaml:"defaults"`
	API          APIConfig                             `yaml:"api"`
	Outgoing     OutgoingConfig                        `yaml:"outgoing"`
	Log          LogConfig                             `yaml:"log"`
}

// ServerConfig is where the server listens. The three listeners are apart because they are for different people.
type ServerConfig struct {
	Webhook string `yaml:"webhook"` // for GitHub; default ":8080"
	Pages   string `yaml:"pages"`   // for people; default "127.0.0.1:8081"
	Metrics string `yaml:"metrics"` // for monitoring; default "127.0.0.1:9090"
	// URL is where people reach the pages; checks on GitHub link to it.
	URL string `yaml:"url"`
	// PagesPublic lets the pages listen on more than loopback. Whoever reaches them reads everything on them.
	PagesPublic bool `yaml:"pages_public"`
	// AdminSocket is the Unix socket of `slipway runs` and its kin, made with mode 0600. Default: admin.sock in work.dir.
	AdminSocket string `yaml:"admin_socket"`
}

// WorkConfig is how this replica works.
type WorkConfig struct {
	// Dir holds what can be made again: checkouts, the admin socket. One process uses it. Default "work".
	Dir string `yaml:"dir"`
	// Name tells replicas apart; it must be unique among those on one queue. Default: the host's name and a random part.
	Name string `yaml:"name"`
	// PerRepository is how many jobs of one repository run at once, over all replicas. Default 4.
	PerRepository int `yaml:"per_repository"`
	// Rollouts is how many rollouts run at once on this replica. Default 4.
	Rollouts int `yaml:"rollouts"`
}

// RegistryConfig is one registry: how to log in, and who may push what.
type RegistryConfig struct {
	build.Registry          `yaml:",inline"`
	pipeline.RegistryPolicy `yaml:",inline"`
}

// ClusterConfig is one cluster: exactly one of the two.
type ClusterConfig struct {
	// KubeconfigFile may hold tokens and certificates; plugins that run programs are refused.
	KubeconfigFile string `yaml:"kubeconfig_file"`
	Context        string `yaml:"context"`    // of the kubeconfig; default its current one
	InCluster      bool   `yaml:"in_cluster"` // the cluster this server runs in, by its service account
}

// LogConfig is the server's own log, on standard error.
type LogConfig struct {
	Level  string `yaml:"level"`  // debug, info, warn or error; default info
	Format string `yaml:"format"` // text or json; default text
}

// Validate reports everything that is wrong with c.
func (c Config) Validate() error {
	_, rules := pipeline.Compile(c.policy(), c.clusterNames())
	return errors.Join(c.Server.validate(), c.GitHub.Validate(), c.Queue.Validate(), c.Work.validate(), c.Builds.Validate(), rules, c.validatePulls(),
		c.validateClusters(), c.API.validate(), c.Outgoing.validate(), c.Log.validate())
}

// doubts are what of c is no fault and may yet not be meant, each with its key.
func (c Config) doubts() (list []string) {
	var known []string
	for _, command := range jobs.BuiltinCommands() {
		known = append(known, command[0])
	}
	for _, name := range slices.Sorted(maps.Keys(c.Commands)) {
		if near := webhook.Suggestion(name, known); near != "" {
			list = append(list, fmt.Sprintf("commands.%s: holds only for pipelines that declare /%[1]s; /%s is there always: is that meant?", name, near))
		}
	}
	return list
}

// policy is what of c is about who may do what.
func (c Config) policy() pipeline.Policy {
	p := pipeline.Policy{
		Registries: map[string]pipeline.RegistryPolicy{}, Environments: c.Environments, Workflows: c.Workflows,
		Repositories: c.Repositories, Trust: c.Trust, Defaults: c.Defaults, Commands: c.Commands,
	}
	for host, r := range c.Registries {
		p.Registries[host] = r.RegistryPolicy
	}
	return p
}

func (c Config) clusterNames() []string {
	var names []string
	for name := range c.Clusters {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// validatePulls looks at the patterns that package build keeps and only package pipeline can read.
func (c Config) validatePulls() error {
	var faults []error
	for _, host := range slices.Sorted(maps.Keys(c.Registries)) {
		faults = append(faults, pipeline.CheckPatterns("registries."+host+".pull", c.Registries[host].Pull))
	}
	return errors.Join(faults...)
}

func (c Config) validateClusters() error {
	var faults []error
	for _, name := range c.clusterNames() {
		if cluster := c.Clusters[name]; (cluster.KubeconfigFile != "") == cluster.InCluster {
			faults = append(faults, fmt.Errorf("clusters.%s: set either kubeconfig_file or in_cluster", name))
		}
	}
	return errors.Join(faults...)
}

// deploy is the cluster as package deploy wants it.
func (c ClusterConfig) deploy(name string) deploy.ClusterConfig {
	return deploy.ClusterConfig{Name: name, KubeconfigFile: c.KubeconfigFile, Context: c.Context, InCluster: c.InCluster}
}

func (s ServerConfig) validate() error {
	var faults []error
	for name, address := range map[string]string{"webhook": s.Webhook, "pages": s.Pages, "metrics": s.Metrics} {
		if _, _, err := net.SplitHostPort(address); err != nil {
			faults = append(faults, fmt.Errorf("server.%s: %q is not an address such as 127.0.0.1:8080", name, address))
		}
	}
	if host, _, err := net.SplitHostPort(s.Pages); err == nil && !s.PagesPublic && !loopback(host) {
		faults = append(faults, fmt.Errorf("server.pages: %s can be reached from elsewhere and the pages have no sign-in; use a loopback address behind a proxy that has one, or set pages_public: true", s.Pages))
	}
	if u, err := url.Parse(s.URL); s.URL != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
		faults = append(faults, fmt.Errorf("server.url: %q is not a URL such as https://slipway.example.com", s.URL))
	}
	return errors.Join(faults...)
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (w WorkConfig) validate() error {
	var faults []error
	if w.Dir == "" {
		faults = append(faults, errors.New("work.dir: name a folder for checkouts"))
	}
	if w.PerRepository < 1 || w.PerRepository > 1000 {
		faults = append(faults, fmt.Errorf("work.per_repository: %d; it must be from 1 to 1000", w.PerRepository))
	}
	if w.Rollouts < 1 || w.Rollouts > 100 {
		faults = append(faults, fmt.Errorf("work.rollouts: %d; it must be from 1 to 100", w.Rollouts))
	}
	return errors.Join(faults...)
}

func (l LogConfig) validate() error {
	var faults []error
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, l.Level) {
		faults = append(faults, fmt.Errorf("log.level: %q; it must be debug, info, warn or error", l.Level))
	}
	if l.Format != "text" && l.Format != "json" {
		faults = append(faults, fmt.Errorf("log.format: %q; it must be text or json", l.Format))
	}
	return errors.Join(faults...)
}
