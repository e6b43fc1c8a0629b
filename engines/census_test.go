package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// census lists what engines could leave on the machine: processes of instance
// i, and all mounts, network namespaces, links, cgroups and files in places
// that engines share, less those of other instances that live beside it.
func census(t *testing.T, i *instance) map[string]bool {
	t.Helper()
	found := make(map[string]bool)
	others := otherInstances(t, i)
	add := func(format string, args ...any) {
		entry := fmt.Sprintf(format, args...)
		for _, o := range others {
			if strings.Contains(entry, o) {
				return
			}
		}
		found[entry] = true
	}

	pids, err := i.findProcesses()
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		add("process %d %s", pid, strings.TrimSpace(string(name)))
	}

	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		before, after, _ := strings.Cut(line, " - ")
		add("mount %s %s", strings.Fields(before)[4], strings.Fields(after)[0]) // network namespaces are mounts of nsfs
	}
	names, _ := filepath.Glob("/run/netns/*")
	for _, name := range names {
		add("network namespace %s", name)
	}

	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		master := ""
		if m, err := netlink.LinkByIndex(l.Attrs().MasterIndex); err == nil {
			master = m.Attrs().Name
		}
		add("link %s %s", l.Attrs().Name, master)
	}

	roots, err := cgroupRoots()
	if err != nil {
		t.Fatal(err)
	}
	for _, root := range roots {
		_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				add("cgroup %s", path)
			}
			return nil
		})
	}

	for _, pattern := range []string{"/var/lib/cni/results/slipway-" + i.ID + "*", "/run/containerd/s/*", "/var/log/containers/*"} {
		paths, _ := filepath.Glob(pattern)
		for _, path := range paths {
			target, _ := os.Readlink(path)
			if strings.HasPrefix(path, "/run/containerd") && len(others) > 0 {
				continue // a shim's socket does not say whose it is
			}
			add("file %s %s", path, target)
		}
	}
	return found
}

// otherInstances returns the IDs and folders of instances that live beside i.
func otherInstances(t *testing.T, i *instance) []string {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var others []string
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		environment, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		for entry := range strings.SplitSeq(string(environment), "\x00") {
			id, ok := strings.CutPrefix(entry, markerName+"=")
			if !ok || id == i.ID || slices.Contains(others, id) {
				continue
			}
			others = append(others, id)
			if dir, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid)); err == nil && instanceID(dir) == id {
				others = append(others, dir+"/")
			}
		}
	}
	return others
}

// wantNothingLeft compares with a census taken before the engines started. What
// another instance is just taking up or down gets a moment to become
// attributable or to go.
func wantNothingLeft(t *testing.T, i *instance, before map[string]bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		var left []string
		for entry := range census(t, i) {
			if !before[entry] {
				left = append(left, entry)
			}
		}
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			slices.Sort(left)
			t.Errorf("%d things are left:\n%s", len(left), strings.Join(left, "\n"))
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}
