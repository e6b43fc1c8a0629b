package githubapp

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"
)

// Config is the github block of config.yaml: which GitHub App this server is.
type Config struct {
	// AppID is the App's numeric ID, shown on the App's settings page.
	AppID int64 `yaml:"app_id"`
	// PrivateKeyFile is the PEM file with the App's RSA private key, as GitHub offers it for download.
	PrivateKeyFile string `yaml:"private_key_file"`
	// WebhookSecretFiles hold one webhook secret each. A delivery signed with any of them is taken, so that a secret can be
	// replaced without losing deliveries: add the new one, change it at GitHub, remove the old one.
	WebhookSecretFiles []string `yaml:"webhook_secret_files"`
	// APIURL is the REST API's address. Empty means https://api.github.com/; a GitHub Enterprise Server has
	// https://HOST/api/v3/. It must be https, except on this machine's loopback addresses.
	APIURL string `yaml:"api_url,omitempty"`
	// Intake is how deliveries come. "webhook", the default: GitHub sends them, and what it could not send is fetched from the
	// App's delivery log. "poll": all are fetched from there, for networks that GitHub can't reach. The App's webhook must be
	// active all the same, with any address: GitHub logs what it tried to send. Then webhook_secret_files may be left out.
	Intake string `yaml:"intake,omitempty"`
	// RecoverEvery is the time between two readings of the App's delivery log: from 5 s to 1 h. Default: 5 m, with intake poll
	// 10 s. A reading costs a call, and one for each delivery that is fetched, out of 5,000 an hour.
	RecoverEvery time.Duration `yaml:"recover_every,omitempty"`
}

const defaultAPIURL = "https://api.github.com/"

// The values of Config.Intake.
const (
	IntakeWebhook = "webhook"
	IntakePoll    = "poll"
)

// Bounds and defaults of Config.RecoverEvery.
const (
	recoverLeast   = 5 * time.Second
	recoverMost    = time.Hour
	recoverWebhook = 5 * time.Minute
	recoverPoll    = 10 * time.Second
)

// Polls reports whether all deliveries come from the App's delivery log.
func (c Config) Polls() bool { return c.Intake == IntakePoll }

// Every is the time between two readings of the App's delivery log.
func (c Config) Every() time.Duration {
	switch {
	case c.RecoverEvery != 0:
		return c.RecoverEvery
	case c.Polls():
		return recoverPoll
	}
	return recoverWebhook
}

// Validate reports everything wrong with the block, joined. It opens no file.
func (c Config) Validate() error {
	var faults []error
	if c.AppID <= 0 {
		faults = append(faults, errors.New("github.app_id: set the App's numeric ID, shown on its settings page"))
	}
	if c.PrivateKeyFile == "" {
		faults = append(faults, errors.New("github.private_key_file: name the PEM file with the App's private key"))
	}
	if c.Intake != "" && c.Intake != IntakeWebhook && c.Intake != IntakePoll {
		faults = append(faults, fmt.Errorf("github.intake: %q; it must be webhook or poll", c.Intake))
	}
	if every := c.Every(); every < recoverLeast || every > recoverMost {
		faults = append(faults, fmt.Errorf("github.recover_every: %s; it must be from %s to %s", every, recoverLeast, recoverMost))
	}
	if len(c.WebhookSecretFiles) == 0 && !c.Polls() {
		faults = append(faults, errors.New("github.webhook_secret_files: name at least one file with the App's webhook secret"))
	}
	for i, file := range c.WebhookSecretFiles {
		if file == "" {
			faults = append(faults, fmt.Errorf("github.webhook_secret_files[%d]: is empty", i))
		}
	}
	if _, err := c.apiURL(); err != nil {
		faults = append(faults, fmt.Errorf("github.api_url: %w", err))
	}
	return errors.Join(faults...)
}

// WebURL is the web site that belongs to the API, where people see repositories, without a slash at its end: what [NewSite] makes
// an API's address of, backwards.
func (c Config) WebURL() string {
	api, err := c.apiURL()
	if err != nil {
		return ""
	}
	web := url.URL{Scheme: api.Scheme, Host: api.Host, Path: strings.TrimSuffix(strings.TrimRight(api.Path, "/"), "/api/v3")}
	if host := strings.ToLower(api.Host); host == "api.github.com" || strings.HasPrefix(host, "api.") && strings.HasSuffix(host, ".ghe.com") {
		web.Host = strings.TrimPrefix(host, "api.")
	}
	return web.String()
}

// apiURL is the API's address with a slash at its end, as relative addresses need it.
func (c Config) apiURL() (*url.URL, error) {
	text := c.APIURL
	if text == "" {
		text = defaultAPIURL
	}
	parsed, err := url.Parse(text)
	if err != nil {
		return nil, errors.New("is not a URL")
	}
	switch {
	case parsed.Host == "" || parsed.User != nil || parsed.RawQuery != "" || parsed.Fragment != "":
		return nil, errors.New("must look like https://HOST/api/v3/, without credentials or a query")
	case parsed.Scheme == "https":
	case parsed.Scheme == "http" && isLoopback(parsed.Hostname()):
	default:
		return nil, errors.New("must be https: tokens travel on it")
	}
	if !strings.HasSuffix(parsed.Path, "/") {
		parsed.Path += "/"
	}
	return parsed, nil
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
