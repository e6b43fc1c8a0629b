package githubapp

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
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
}

const defaultAPIURL = "https://api.github.com/"

// Validate reports everything wrong with the block, joined. It opens no file.
func (c Config) Validate() error {
	var faults []error
	if c.AppID <= 0 {
		faults = append(faults, errors.New("github.app_id: set the App's numeric ID, shown on its settings page"))
	}
	if c.PrivateKeyFile == "" {
		faults = append(faults, errors.New("github.private_key_file: name the PEM file with the App's private key"))
	}
	if len(c.WebhookSecretFiles) == 0 {
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
