package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
)

// options are what the user of run and start chooses.
type options struct {
	Dir        string `json:"dir"`
	Kubernetes string `json:"kubernetes"` // real, kwok or none
	Nodes      int    `json:"nodes"`      // fake nodes under kwok
	BuildKit   bool   `json:"buildkit"`
	Registry   bool   `json:"registry"`
	Purge      bool   `json:"purge"`
	detached   bool
}

// maxDir bounds the folder's length: sockets lie below it, and the kernel takes
// 107 bytes for a socket's path.
const maxDir = 64

func (o *options) validate() error {
	var faults []error
	switch o.Kubernetes {
	case "real", "kwok", "none":
	default:
		faults = append(faults, fmt.Errorf("--kubernetes=%s: want real, kwok or none", o.Kubernetes))
	}
	if o.Nodes < 1 || o.Nodes > 1000 {
		faults = append(faults, fmt.Errorf("--nodes=%d: want 1 to 1000", o.Nodes))
	}
	if !o.Registry && (o.BuildKit || o.Kubernetes == "real") {
		faults = append(faults, errors.New("--registry=false: BuildKit and real pods need the registry for their base images"))
	}
	dir, err := instanceDir(o.Dir)
	if err != nil {
		faults = append(faults, err)
	}
	o.Dir = dir
	if os.Geteuid() != 0 {
		faults = append(faults, errors.New("not root: the engines mount file systems and make network namespaces and cgroups, run this as root"))
	}
	return errors.Join(faults...)
}

// instanceDir makes dir absolute with all links resolved: the instance is
// identified by it, and mounts show up under it.
func instanceDir(dir string) (string, error) {
	if dir == "" {
		return "", errors.New("no folder: give --dir D")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	resolved, err := filepath.EvalSymlinks(dir)
	if errors.Is(err, fs.ErrNotExist) {
		parent, err := filepath.EvalSymlinks(filepath.Dir(dir))
		if err != nil {
			return "", fmt.Errorf("--dir: %w", err)
		}
		resolved = filepath.Join(parent, filepath.Base(dir))
	} else if err != nil {
		return "", fmt.Errorf("--dir: %w", err)
	}
	if len(resolved) > maxDir {
		return "", fmt.Errorf("--dir %s is longer than %d bytes, too long for the sockets below it: choose a shorter one", resolved, maxDir)
	}
	return resolved, nil
}

// instance is one set of engines in one folder. Everything it owns outside the
// folder carries its ID, so that it can be found again after a crash:
//
//   - processes: the environment variable marker
//   - cgroups: /slipway-<ID> in every hierarchy
//   - bridges: sw<ID>b for builds, sw<ID>k for pods
//   - CNI results: network names slipway-<ID>-…
//
// Mounts and network namespaces lie below the folder.
type instance struct {
	options
	ID          string         `json:"id"`
	Ports       map[string]int `json:"ports"`
	BuildSubnet netip.Prefix   `json:"buildSubnet"`
	PodSubnet   netip.Prefix   `json:"podSubnet"`
}

func instanceID(dir string) string {
	sum := sha256.Sum256([]byte(dir))
	return hex.EncodeToString(sum[:4])
}

const markerName = "SLIPWAY_ENGINES_INSTANCE"

func (i *instance) marker() string      { return markerName + "=" + i.ID }
func (i *instance) cgroup() string      { return "/slipway-" + i.ID }
func (i *instance) buildBridge() string { return "sw" + i.ID + "b" }
func (i *instance) podBridge() string   { return "sw" + i.ID + "k" }
func (i *instance) network(kind string) string {
	return "slipway-" + i.ID + "-" + kind
}

// path joins elements to the instance's folder.
func (i *instance) path(elem ...string) string {
	return filepath.Join(append([]string{i.Dir}, elem...)...)
}

// address is the loopback address of the named port.
func (i *instance) address(port string) string {
	return fmt.Sprintf("127.0.0.1:%d", i.Ports[port])
}

var portNames = []string{"registry", "etcd", "etcd-peer", "kube-apiserver", "kubelet"}

// openInstance settles the ports and subnets of the instance in o.Dir. A folder
// used before keeps its own, because its data speak of them.
func openInstance(o options) (*instance, error) {
	i := &instance{options: o, ID: instanceID(o.Dir)}
	if err := os.MkdirAll(i.path("logs"), 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of the logs: %w", err)
	}
	content, err := os.ReadFile(i.path("instance.json"))
	if err == nil {
		var before instance
		if err := json.Unmarshal(content, &before); err != nil {
			return nil, fmt.Errorf("read %s: %w", i.path("instance.json"), err)
		}
		i.Ports, i.BuildSubnet, i.PodSubnet = before.Ports, before.BuildSubnet, before.PodSubnet
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	} else {
		if i.Ports, err = freePorts(portNames); err != nil {
			return nil, err
		}
		subnets, err := freeSubnets(2)
		if err != nil {
			return nil, err
		}
		i.BuildSubnet, i.PodSubnet = subnets[0], subnets[1]
	}
	return i, writeJSON(i.path("instance.json"), i)
}

// freePorts finds a free loopback port for every name, below the range that
// the kernel hands out by itself, so that no other program's connection takes
// it between now and the engine's start, or while the engine is dead.
func freePorts(names []string) (map[string]int, error) {
	const low, high = 15000, 32000
	ports := make(map[string]int, len(names))
	for _, name := range names {
		for range 1000 {
			port := low + rand.IntN(high-low)
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
			if err != nil {
				continue
			}
			defer l.Close() // held until all are found, so that none is found twice
			ports[name] = port
			break
		}
		if ports[name] == 0 {
			return nil, fmt.Errorf("no free port between %d and %d on 127.0.0.1", low, high)
		}
	}
	return ports, nil
}

// freeSubnets finds n subnets 10.x.y.0/24 that overlap no interface's address.
func freeSubnets(n int) ([]netip.Prefix, error) {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("list the interfaces' addresses: %w", err)
	}
	var taken []netip.Prefix
	for _, a := range addresses {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			taken = append(taken, p.Masked())
		}
	}
	var found []netip.Prefix
search:
	for range 1000 {
		if len(found) == n {
			return found, nil
		}
		candidate := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(100 + rand.IntN(150)), byte(rand.IntN(256)), 0}), 24)
		for _, p := range taken {
			if p.Overlaps(candidate) {
				continue search
			}
		}
		taken = append(taken, candidate)
		found = append(found, candidate)
	}
	return nil, errors.New("no free subnet 10.x.y.0/24: too many interfaces hold addresses in 10.0.0.0/8")
}

// writeJSON replaces path as a whole, so that no reader sees half of it, and no other writer another's.
func writeJSON(path string, v any) error {
	content, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	temporary, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // readable by its owner only
	if err != nil {
		return err
	}
	_, err = temporary.Write(append(content, '\n'))
	if err = errors.Join(err, temporary.Close()); err == nil {
		err = os.Rename(temporary.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temporary.Name()))
	}
	return nil
}
