package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"time"
)

// cniPlugins is where Debian's containernetworking-plugins puts them.
const cniPlugins = "/usr/lib/cni"

func (i *instance) buildkitSocket() string { return i.path("run", "bk.sock") }

// buildkitConfig makes the registry the mirror of Docker Hub, so that an
// unmodified FROM finds the base images; RUN steps get a network of their own.
func (i *instance) buildkitConfig() string {
	return fmt.Sprintf(`root = %q

[grpc]
  address = ["unix://%s"]

[otel]
  socketPath = %q

[cdi]
  disabled = true

[worker.containerd]
  enabled = false

[worker.oci]
  enabled = true
  binary = "runc"
  snapshotter = "overlayfs"
  networkMode = "cni"
  cniConfigPath = %q
  cniBinaryPath = %q
  cniPoolSize = 2
  defaultCgroupParent = %q
  max-parallelism = 2

[registry."docker.io"]
  mirrors = ["%[7]s"]

[registry."%[7]s"]
  http = true
`, i.path("buildkit"), i.buildkitSocket(), i.path("run", "otel.sock"), i.path("buildkit.conflist"), cniPlugins, i.cgroup(), i.address("registry"))
}

// cniConfig is a bridge without a way out: containers reach one another and
// the bridge's address, but neither this machine's loopback nor the internet.
// No iptables rule is made, so none can be left.
func (i *instance) cniConfig(kind, bridge, subnet string) string {
	return fmt.Sprintf(`{
  "cniVersion": "1.0.0",
  "name": %q,
  "plugins": [
    {
      "type": "bridge",
      "bridge": %q,
      "isDefaultGateway": true,
      "ipMasq": false,
      "ipam": {"type": "host-local", "dataDir": %q, "ranges": [[{"subnet": %q}]]}
    }
  ]
}
`, i.network(kind), bridge, i.path("run", "ipam"), subnet)
}

// startBuildKit starts buildkitd; it needs no registry until the first build.
func startBuildKit(ctx context.Context, s *supervisor, t tools) error {
	i := s.instance
	if err := requireInstalled("runc"); err != nil {
		return err
	}
	conflist := i.cniConfig("build", i.buildBridge(), i.BuildSubnet.String())
	if err := os.WriteFile(i.path("buildkit.conflist"), []byte(conflist), 0o600); err != nil {
		return err
	}
	config := i.path("buildkitd.toml")
	if err := os.WriteFile(config, []byte(i.buildkitConfig()), 0o600); err != nil {
		return err
	}
	return s.start(ctx, spec{
		name: "buildkitd",
		path: t.buildkitd(),
		args: []string{"--config", config},
		ready: func(ctx context.Context) error {
			out, err := exec.CommandContext(ctx, t.buildctl(), "--addr", "unix://"+i.buildkitSocket(), "--timeout", "2", "debug", "workers").CombinedOutput()
			if err != nil {
				return fmt.Errorf("%w: %s", err, lastLines(out, 3))
			}
			return nil
		},
		grace: 8 * time.Second,
	})
}

// requireInstalled says which of Debian's programs are not there.
func requireInstalled(programs ...string) error {
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			return fmt.Errorf("%s is not installed: %s", p, installHint)
		}
	}
	for _, plugin := range []string{"bridge", "host-local", "loopback"} {
		if _, err := os.Stat(cniPlugins + "/" + plugin); err != nil {
			return fmt.Errorf("containernetworking-plugins is not installed: %s", installHint)
		}
	}
	return nil
}
