package main

import (
	"context"
	"fmt"
	"os"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
)

// serveRegistry is the registry process: CNCF distribution with the given
// configuration, until SIGTERM.
func serveRegistry(ctx context.Context, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read the registry's configuration: %w", err)
	}
	defer f.Close()
	config, err := configuration.Parse(f)
	if err != nil {
		return fmt.Errorf("read the registry's configuration %s: %w", path, err)
	}
	server, err := registry.NewRegistry(ctx, config)
	if err != nil {
		return fmt.Errorf("make the registry: %w", err)
	}
	return server.ListenAndServe()
}

// registryConfig is the configuration for a registry that keeps its data in
// storage and listens on address, plain HTTP.
func registryConfig(storage, address string) string {
	return fmt.Sprintf(`version: 0.1
log:
  level: error
  accesslog:
    disabled: true
storage:
  filesystem:
    rootdirectory: %q
  delete:
    enabled: true
  maintenance:
    uploadpurging:
      enabled: false
http:
  addr: %q
  draintimeout: 1s
`, storage, address)
}
