package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
)

// clean removes everything the instance owns outside its folder, and the mounts
// below it, whatever state a crash left it in. Nothing to clean is no error.
// The data in the folder stay.
func (i *instance) clean() error {
	return errors.Join(
		i.killProcesses(), // first: what lives would make new mounts
		i.unmount(),       // ends the network namespaces, and with them the veths
		i.removeBridges(),
		i.removeCgroups(),
		i.removeFiles(),
	)
}

// killProcesses kills what carries the instance's marker (engines and the
// container shims below them) and what is in its cgroups (the containers).
func (i *instance) killProcesses() error {
	deadline := time.Now().Add(10 * time.Second)
	for {
		pids, err := i.findProcesses()
		if err != nil {
			return err
		}
		if len(pids) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes %v survive SIGKILL", pids)
		}
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		time.Sleep(10 * time.Millisecond) // the kernel tells no one but the parent
	}
}

// findProcesses lists the instance's processes, ended ones that nobody has
// waited for left out.
func (i *instance) findProcesses() ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var found []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		if i.owns(pid) && !ended(pid) {
			found = append(found, pid)
		}
	}
	return found, nil
}

func (i *instance) owns(pid int) bool {
	environment, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err == nil && slices.ContainsFunc(bytes.Split(environment, []byte{0}), func(entry []byte) bool { return string(entry) == i.marker() }) {
		return true
	}
	groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return false // it has ended
	}
	for line := range strings.Lines(string(groups)) {
		if _, path, ok := strings.Cut(strings.TrimSpace(line), ":/"); ok && (path == i.cgroup()[1:] || strings.HasPrefix(path, i.cgroup()[1:]+"/")) {
			return true
		}
	}
	return false
}

// ended says whether a process is gone or a zombie.
func ended(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, rest, ok := strings.Cut(string(stat), ") ") // the name before may hold anything
	return !ok || strings.HasPrefix(rest, "Z") || strings.HasPrefix(rest, "X")
}

// mountsBelow lists the mount points at or below dir, the latest mounted first.
func mountsBelow(dir string) ([]string, error) {
	info, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var points []string
	for line := range strings.Lines(string(info)) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		point := unescapeMount(fields[4])
		if point == dir || strings.HasPrefix(point, dir+"/") {
			points = append(points, point)
		}
	}
	slices.Reverse(points)
	return points, nil
}

// unescapeMount undoes the octal escapes of proc(5).
func unescapeMount(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

func (i *instance) unmount() error {
	points, err := mountsBelow(i.Dir)
	if err != nil {
		return err
	}
	var faults []error
	for _, point := range points {
		if err := syscall.Unmount(point, syscall.MNT_DETACH); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOENT) {
			faults = append(faults, fmt.Errorf("unmount %s: %w", point, err))
		}
	}
	return errors.Join(faults...)
}

func (i *instance) removeBridges() error {
	var faults []error
	for _, name := range []string{i.buildBridge(), i.podBridge()} {
		link, err := netlink.LinkByName(name)
		var none netlink.LinkNotFoundError
		switch {
		case errors.As(err, &none):
		case err != nil:
			faults = append(faults, fmt.Errorf("find bridge %s: %w", name, err))
		default:
			// The kernel takes a moment to drop the veths of namespaces that
			// have ended; those still on the bridge go with it.
			faults = append(faults, removePorts(link), netlink.LinkDel(link))
		}
	}
	return errors.Join(faults...)
}

func removePorts(bridge netlink.Link) error {
	links, err := netlink.LinkList()
	if err != nil {
		return fmt.Errorf("list the ports of %s: %w", bridge.Attrs().Name, err)
	}
	for _, l := range links {
		if l.Attrs().MasterIndex == bridge.Attrs().Index {
			_ = netlink.LinkDel(l) // it may be gone by now
		}
	}
	return nil
}

// cgroupRoots lists the mount points of all cgroup hierarchies.
func cgroupRoots() ([]string, error) {
	info, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var roots []string
	for line := range strings.Lines(string(info)) {
		before, after, ok := strings.Cut(line, " - ")
		fields := strings.Fields(before)
		if ok && len(fields) > 4 && strings.HasPrefix(after, "cgroup") && strings.HasPrefix(fields[4], "/sys/fs/cgroup") {
			roots = append(roots, fields[4])
		}
	}
	if len(roots) == 0 {
		return nil, errors.New("no cgroup hierarchy is mounted below /sys/fs/cgroup")
	}
	return roots, nil
}

// makeCgroups makes the instance's cgroup in every hierarchy.
func (i *instance) makeCgroups() error {
	roots, err := cgroupRoots()
	if err != nil {
		return err
	}
	for _, root := range roots {
		if len(roots) == 1 {
			handDownControllers(root)
		}
		group := filepath.Join(root, i.cgroup())
		if err := os.MkdirAll(group, 0o755); err != nil {
			return fmt.Errorf("make cgroup %s: %w", group, err)
		}
		// In a version 1 cpuset nothing can run until it has processors and memory.
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			value, err := os.ReadFile(filepath.Join(root, file))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err == nil {
				err = os.WriteFile(filepath.Join(group, file), value, 0o644)
			}
			if err != nil {
				return fmt.Errorf("set up cgroup %s: %w", group, err)
			}
		}
	}
	return nil
}

// handDownControllers makes a version 2 hierarchy's root hand its controllers
// to the groups below. One it can't hand down is the kubelet's to complain about.
func handDownControllers(root string) {
	controllers, _ := os.ReadFile(filepath.Join(root, "cgroup.controllers"))
	for c := range strings.FieldsSeq(string(controllers)) {
		_ = os.WriteFile(filepath.Join(root, "cgroup.subtree_control"), []byte("+"+c), 0o644)
	}
}

func (i *instance) removeCgroups() error {
	roots, err := cgroupRoots()
	if err != nil {
		return err
	}
	var faults []error
	for _, root := range roots {
		faults = append(faults, removeCgroup(filepath.Join(root, i.cgroup())))
	}
	return errors.Join(faults...)
}

// removeCgroup removes a cgroup from the leaves up. The kernel may need a
// moment to forget the processes that were in it.
func removeCgroup(group string) error {
	var folders []string
	err := filepath.WalkDir(group, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			folders = append(folders, path)
		}
		return nil // what goes away meanwhile is fine
	})
	if err != nil {
		return err
	}
	slices.Reverse(folders)
	for _, f := range folders {
		deadline := time.Now().Add(5 * time.Second)
		for {
			err := syscall.Rmdir(f)
			if err == nil || errors.Is(err, syscall.ENOENT) {
				break
			}
			if !errors.Is(err, syscall.EBUSY) || time.Now().After(deadline) {
				return fmt.Errorf("remove cgroup %s: %w", f, err)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	return nil
}

// removeFiles removes what the engines write outside the folder whatever they
// are told: sockets of container shims, results of CNI plugins, links to the
// pods' logs.
func (i *instance) removeFiles() error {
	var faults []error
	// The shim's socket is named in its bundle.
	bundles, _ := filepath.Glob(filepath.Join(i.containerdState(), "io.containerd.runtime.v2.task", "*", "*", "address"))
	for _, bundle := range bundles {
		address, err := os.ReadFile(bundle)
		if err != nil {
			continue
		}
		if path, ok := strings.CutPrefix(string(address), "unix://"); ok && filepath.IsAbs(path) {
			faults = append(faults, removeIfExists(path))
		}
	}
	// A container's result for the loopback carries no network name of ours, but
	// the same container's for the bridge does.
	const results = "/var/lib/cni/results/"
	bridged, _ := filepath.Glob(results + i.network("*") + "-eth*")
	for _, path := range bridged {
		faults = append(faults, removeIfExists(path))
		if parts := strings.Split(filepath.Base(path), "-"); len(parts) == 5 { // slipway, ID, kind, container, interface
			faults = append(faults, removeIfExists(results+"cni-loopback-"+parts[3]+"-lo"))
		}
	}
	const podLogs = "/var/log/containers"
	links, _ := os.ReadDir(podLogs)
	for _, l := range links {
		path := filepath.Join(podLogs, l.Name())
		if target, err := os.Readlink(path); err == nil && strings.HasPrefix(target, i.Dir+"/") {
			faults = append(faults, removeIfExists(path))
		}
	}
	// The kubelet's socket for device plugins has a fixed place; the newest
	// kubelet has it.
	faults = append(faults, removeDeadSocket("/var/lib/kubelet/device-plugins/kubelet.sock"))
	// What the run left in its own folder is of no use to the next.
	for _, path := range []string{i.path("run"), i.containerdState()} {
		faults = append(faults, os.RemoveAll(path))
	}
	return errors.Join(faults...)
}

// removeDeadSocket removes a socket that nobody listens on.
func removeDeadSocket(path string) error {
	connection, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		return connection.Close()
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return removeIfExists(path)
	}
	return nil
}
