package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/slipway-ci/slipway/jobs/build"
	"github.com/slipway-ci/slipway/pipeline"
)

const maxConfig = 1 << 20 // bytes of config.yaml

// LoadConfig reads a configuration for a server and reports everything that is wrong with it, and with the files that it names, at once.
func LoadConfig(path string) (Config, error) {
	c, faults, err := readConfig(path)
	if err == nil {
		err = errors.Join(faults, c.Validate(), c.files())
	}
	return c, within(path, err)
}

// consultConfig reads a configuration for a command that is not the server: the files that it names need not be there, and its values
// are not validated.
func consultConfig(path string) (Config, error) {
	c, faults, err := readConfig(path)
	return c, within(path, errors.Join(err, faults))
}

// within puts the file's name before an error; each takes the result apart into its faults, without the name.
func within(path string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", path, errors.Join(err))
}

// readConfig reads a configuration without looking at what it means. faults are what it holds that can't be understood; all else is
// in c. The errors do not name the file.
func readConfig(path string) (c Config, faults, err error) {
	f, err := os.Open(path)
	if err != nil {
		if named := (*fs.PathError)(nil); errors.As(err, &named) {
			err = named.Err
		}
		return c, nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err == nil && len(data) > maxConfig {
		err = errors.New("it is larger than 1 MiB")
	}
	if err != nil {
		return c, nil, err
	}
	c = Config{
		Server: ServerConfig{Webhook: ":8080", Pages: "127.0.0.1:8081", Metrics: "127.0.0.1:9090"},
		Work:   WorkConfig{Dir: "work", PerRepository: 4, Rollouts: 4},
		Log:    LogConfig{Level: "info", Format: "text"},
	}
	faults, err = decodeConfig(data, &c)
	if err != nil {
		return c, nil, err
	}
	folder, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return c, nil, err
	}
	c.locate(folder)
	return c, faults, nil
}

// decodeConfig fills c from YAML. faults are unknown keys and values of a wrong type; err says why the file can't be used at all.
func decodeConfig(data []byte, c *Config) (faults, err error) {
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	if err = d.Decode(c); err == nil || errors.Is(err, io.EOF) {
		return nil, nil
	}
	several, one := (*yaml.LoadErrors)(nil), (*yaml.LoadError)(nil)
	if !errors.As(err, &several) {
		if errors.As(err, &one) && one.Mark.Line > 0 {
			return nil, fmt.Errorf("line %d: %s", one.Mark.Line, one.Message)
		}
		return nil, err
	}
	var tree yaml.Node
	if err := yaml.Unmarshal(data, &tree); err != nil {
		return nil, err
	}
	var list []error
	whole := true
	for _, one := range several.Errors {
		list = append(list, fmt.Errorf("line %d: %s", one.Mark.Line, reword(one, &tree)))
		// The rest of a mapping with a key that is there twice is not decoded: what it lacks then would be no fault of the file's.
		whole = whole && !twice.MatchString(one.Message)
	}
	if !whole {
		return nil, errors.Join(list...)
	}
	return errors.Join(list...), nil
}

// What the YAML package says of a value that does not fit the type it is for.
var (
	unknownKey = regexp.MustCompile(`(?s)^field (.*) not found in type \S+$`)
	twice      = regexp.MustCompile(`(?s)^mapping key "(.*)" already defined at line (\d+)$`)
	wrongType  = regexp.MustCompile("(?s)^cannot construct (!!\\S+)(?: `.*`)? into (\\S+)$")
)

// reword says what is wrong with a value in terms of the file: its keys, and not the types that they are kept in. It quotes no value.
func reword(fault *yaml.LoadError, tree *yaml.Node) string {
	if m := unknownKey.FindStringSubmatch(fault.Message); m != nil {
		under := ""
		if keys, _ := keysTo(tree, fault.Mark.Line, fault.Mark.Column, true); len(keys) > 1 {
			under = fmt.Sprintf(" under `%s`", strings.Join(keys[:len(keys)-1], "."))
		}
		return fmt.Sprintf("unknown key `%s`%s", m[1], under)
	}
	if m := twice.FindStringSubmatch(fault.Message); m != nil {
		return fmt.Sprintf("key `%s` is here twice, first on line %s", m[1], m[2])
	}
	m := wrongType.FindStringSubmatch(fault.Message)
	if m == nil {
		return fault.Message
	}
	what := "the file"
	if keys, _ := keysTo(tree, fault.Mark.Line, fault.Mark.Column, false); len(keys) > 0 {
		what = "`" + strings.ReplaceAll(strings.Join(keys, "."), ".[", "[") + "`"
	}
	return fmt.Sprintf("%s wants %s, not %s", what, wanted(m[2]), given(m[1]))
}

// wanted is what a Go type of Config's is in YAML.
func wanted(goType string) string {
	switch {
	case goType == "int", goType == "int64":
		return "a whole number"
	case goType == "bool":
		return "true or false"
	case goType == "time.Duration":
		return "a length of time such as 90s or 5m"
	case goType == "string", goType == "jobs.Mode":
		return "text"
	case strings.HasPrefix(goType, "[]"):
		return "a list"
	}
	return "keys with values"
}

// given is what a YAML tag says that a value is.
func given(tag string) string {
	switch tag {
	case "!!int":
		return "a number"
	case "!!float":
		return "a number that is not whole"
	case "!!bool":
		return "true or false"
	case "!!seq":
		return "a list"
	case "!!map":
		return "keys with values"
	}
	return "this text"
}

// keysTo returns the path of keys to the key (isKey) or the value that begins at line and column.
func keysTo(n *yaml.Node, line, column int, isKey bool) (keys []string, found bool) {
	if n.Kind == yaml.DocumentNode && len(n.Content) > 0 {
		return keysTo(n.Content[0], line, column, isKey)
	}
	if !isKey && n.Line == line && n.Column == column {
		return nil, true
	}
	for i, child := range n.Content {
		name := fmt.Sprintf("[%d]", i)
		if n.Kind == yaml.MappingNode {
			if i%2 == 0 {
				if isKey && child.Line == line && child.Column == column {
					return []string{child.Value}, true
				}
				continue
			}
			name = n.Content[i-1].Value
		}
		if below, ok := keysTo(child, line, column, isKey); ok {
			return append([]string{name}, below...), true
		}
	}
	return nil, false
}

// locate makes the paths in c absolute, and fills in the blocks that are put together from several.
func (c *Config) locate(folder string) {
	paths := []*string{&c.GitHub.PrivateKeyFile, &c.Queue.Embedded.Dir, &c.Queue.CredentialsFile, &c.Queue.CAFile,
		&c.Work.Dir, &c.Server.AdminSocket, &c.Builds.TLS.CAFile, &c.Outgoing.CAFile, &c.Builds.TLS.CertFile, &c.Builds.TLS.KeyFile}
	for i := range c.GitHub.WebhookSecretFiles {
		paths = append(paths, &c.GitHub.WebhookSecretFiles[i])
	}
	absolute := func(p *string) {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(folder, *p)
		}
	}
	for _, p := range paths {
		absolute(p)
	}
	c.Builds.Registries = map[string]build.Registry{}
	for host, r := range c.Registries {
		absolute(&r.PasswordFile)
		absolute(&r.CAFile)
		c.Registries[host] = r
		c.Builds.Registries[host] = r.Registry
	}
	c.Builds.Allows = pipeline.Allows
	for name, cluster := range c.Clusters {
		absolute(&cluster.KubeconfigFile)
		c.Clusters[name] = cluster
	}
	if c.Server.AdminSocket == "" {
		c.Server.AdminSocket = filepath.Join(c.Work.Dir, "admin.sock")
	}
}

// files says which of the files that c names can't be read. What Validate reads already is left out.
func (c Config) files() error {
	var faults []error
	look := func(key, file string) {
		if file == "" {
			return
		}
		if _, err := os.ReadFile(file); err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", key, err))
		}
	}
	look("github.private_key_file", c.GitHub.PrivateKeyFile)
	for i, file := range c.GitHub.WebhookSecretFiles {
		if file == "" {
			continue // said by Validate
		}
		if _, err := readSecrets([]string{file}); err != nil {
			faults = append(faults, fmt.Errorf("github.webhook_secret_files[%d]: %w", i, err))
		}
	}
	look("queue.credentials_file", c.Queue.CredentialsFile)
	look("queue.ca_file", c.Queue.CAFile)
	for _, name := range c.clusterNames() {
		look("clusters."+name+".kubeconfig_file", c.Clusters[name].KubeconfigFile)
	}
	return errors.Join(faults...)
}
