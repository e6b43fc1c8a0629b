package build

import (
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// PingBuildKit asks one BuildKit of the configuration, by its address, whether it can build.
func (k *Kind) PingBuildKit(ctx context.Context, address string) error {
	for _, b := range k.pool.builders {
		if b.address == address {
			return k.pool.ask(ctx, b)
		}
	}
	return fmt.Errorf("there is no BuildKit %s", address)
}

// PingRegistry asks a registry whether it is there and takes the configured credentials, if it has any. It changes nothing.
func (k *Kind) PingRegistry(ctx context.Context, host string) error {
	r, err := k.registries.get(host)
	if err != nil {
		return err
	}
	login, err := r.login()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, registryTimeout)
	defer cancel()
	if _, err := r.challenge(ctx); err != nil {
		return err
	}
	if login.Username == "" {
		return nil
	}
	// With token authentication this is where the token server looks at the password.
	authorized, err := transport.NewWithContext(ctx, r.reg, authn.FromConfig(login), r.rt, nil)
	if err != nil {
		return fmt.Errorf("log in to registry %s: %w", host, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s://%s/v2/", r.reg.Scheme(), r.reg.RegistryStr()), nil)
	if err != nil {
		return fmt.Errorf("log in to registry %s: %w", host, err)
	}
	resp, err := (&http.Client{Transport: authorized}).Do(req)
	if err != nil {
		return fmt.Errorf("log in to registry %s: %w", host, err)
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, 4<<10)
	if resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden {
		return fmt.Errorf("registry %s does not take the login of %s: it answered %s", host, login.Username, resp.Status)
	}
	return nil
}
