package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// nodeName is the real node's name. The API server fetches pods' logs from the
// kubelet under this name, and the kubelet listens on the loopback only.
const nodeName = "localhost"

func (i *instance) containerdState() string  { return i.path("containerd", "run") }
func (i *instance) containerdSocket() string { return i.path("run", "containerd.sock") }

// containerdConfig keeps all of containerd's state below the instance's folder.
// oom_score and restrict_oom_score_adj spare it CAP_SYS_RESOURCE, without which
// runc dies of "can't get final child's PID".
func (i *instance) containerdConfig() string {
	return fmt.Sprintf(`version = 2
root = %q
state = %q
temp = %q
oom_score = 0
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.restart",
]

[debug]
  level = "warn"

[grpc]
  address = %q

[plugins."io.containerd.internal.v1.opt"]
  path = %q

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = %q
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"

[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = %q
  conf_dir = %q

[plugins."io.containerd.grpc.v1.cri".registry]
  config_path = %q

[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "overlayfs"
  default_runtime_name = "runc"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  SystemdCgroup = false
  Root = %q
`, i.path("containerd", "data"), i.containerdState(), i.path("containerd", "run", "temp"), i.containerdSocket(), i.path("containerd", "opt"), pauseImage,
		cniPlugins, i.path("containerd", "cni"), i.path("containerd", "registries"), filepath.Join(i.containerdState(), "runc"))
}

// startContainerd starts containerd and gives it the pause image.
func startContainerd(ctx context.Context, s *supervisor) error {
	i := s.instance
	files := map[string]string{
		i.path("containerd", "config.toml"):                                     i.containerdConfig(),
		i.path("containerd", "cni", "pods.conflist"):                            i.cniConfig("pods", i.podBridge(), i.PodSubnet.String()),
		i.path("containerd", "registries", "docker.io", "hosts.toml"):           i.registryHost(),
		i.path("containerd", "registries", i.address("registry"), "hosts.toml"): i.registryHost(),
	}
	for path, content := range files {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			return err
		}
	}
	if err := s.start(ctx, spec{
		name:  "containerd",
		path:  "containerd",
		args:  []string{"--config", i.path("containerd", "config.toml")},
		ready: func(ctx context.Context) error { return i.ctr(ctx, "version") },
		grace: 3 * time.Second,
	}); err != nil {
		return err
	}
	images, err := baseImages(ctx)
	if err != nil {
		return err
	}
	return i.ctr(ctx, "--namespace", "k8s.io", "images", "import", images.pauseArchive())
}

// ctr runs containerd's command line tool.
func (i *instance) ctr(ctx context.Context, args ...string) error {
	args = append([]string{"--address", i.containerdSocket(), "--connect-timeout", "2s"}, args...)
	if out, err := exec.CommandContext(ctx, "ctr", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ctr %v: %w: %s", args, err, lastLines(out, 5))
	}
	return nil
}

// registryHost lets containerd pull from the registry over plain HTTP.
func (i *instance) registryHost() string {
	return fmt.Sprintf("server = \"http://%[1]s\"\n\n[host.\"http://%[1]s\"]\n  capabilities = [\"pull\", \"resolve\"]\n", i.address("registry"))
}

// kubeletConfig is for one node that shares the machine with everything else:
// it evicts nothing, reserves nothing and writes no iptables rules.
func (i *instance) kubeletConfig() string {
	return fmt.Sprintf(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: 127.0.0.1
port: %d
healthzPort: 0
authentication:
  anonymous: {enabled: true}
  webhook: {enabled: false}
authorization: {mode: AlwaysAllow}
containerRuntimeEndpoint: unix://%s
cgroupDriver: cgroupfs
cgroupRoot: %s
failCgroupV1: false
failSwapOn: false
oomScoreAdj: 0
makeIPTablesUtilChains: false
podLogsDir: %s
volumePluginDir: %s
clusterDomain: cluster.local
clusterDNS: [10.96.0.10]
maxPods: 200
serializeImagePulls: false
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
evictionHard: {memory.available: "0%%", nodefs.available: "0%%", nodefs.inodesFree: "0%%", imagefs.available: "0%%", imagefs.inodesFree: "0%%"}
`, i.Ports["kubelet"], i.containerdSocket(), i.cgroup(), i.path("kubelet", "logs"), i.path("kubelet", "plugins"))
}

// startKubelet starts the kubelet and waits until its node takes pods.
func startKubelet(ctx context.Context, s *supervisor, t tools, api *apiClient) error {
	i := s.instance
	config := i.path("kubelet", "config.yaml")
	if err := os.MkdirAll(filepath.Dir(config), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(config, []byte(i.kubeletConfig()), 0o600); err != nil {
		return err
	}
	certificates := i.path("kubelet", "certificates")
	if err := s.start(ctx, spec{
		name: "kubelet",
		path: t.component("kubelet"),
		args: []string{
			"--config=" + config, "--kubeconfig=" + i.kubeconfig(), "--hostname-override=" + nodeName,
			"--root-dir=" + i.path("kubelet"), "--cert-dir=" + certificates,
		},
		ready: func(ctx context.Context) error {
			client, err := httpsClient(filepath.Join(certificates, "kubelet.crt"), nodeName)
			if err != nil {
				return err
			}
			defer client.CloseIdleConnections()
			return answersOK(ctx, client, "https://"+i.address("kubelet")+"/healthz")
		},
	}); err != nil {
		return err
	}
	kubelet, err := s.find("kubelet")
	if err != nil {
		return err
	}
	return s.await(ctx, kubelet, "node "+nodeName, func(ctx context.Context) error { return api.nodeReady(ctx, nodeName) })
}

// answersOK asks for a URL and wants status 200.
func answersOK(ctx context.Context, client *http.Client, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return errors.New(url + " answers " + response.Status)
	}
	return nil
}
