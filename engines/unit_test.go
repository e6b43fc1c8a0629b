package main

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestValidateNamesEveryFault(t *testing.T) {
	for name, test := range map[string]struct {
		options options
		want    []string
	}{
		"kubernetes":          {options{Dir: "/tmp/x", Kubernetes: "k3s", Nodes: 1, Registry: true}, []string{"--kubernetes=k3s"}},
		"no folder and nodes": {options{Kubernetes: "kwok"}, []string{"--dir", "--nodes=0"}},
		"build, no registry":  {options{Dir: "/tmp/x", Kubernetes: "none", Nodes: 1, BuildKit: true}, []string{"--registry=false"}},
		"pods, no registry":   {options{Dir: "/tmp/x", Kubernetes: "real", Nodes: 1}, []string{"--registry=false"}},
		"folder too long":     {options{Dir: "/tmp/" + strings.Repeat("x", maxDir), Kubernetes: "none", Nodes: 1}, []string{"shorter"}},
		"fine":                {options{Dir: "/tmp/x", Kubernetes: "kwok", Nodes: 1}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			err := test.options.validate()
			if (err != nil) != (test.want != nil) {
				t.Fatalf("got %v", err)
			}
			for _, want := range test.want {
				wantContains(t, "error", err.Error(), want)
			}
		})
	}
}

func TestInstanceDirFollowsLinks(t *testing.T) {
	dir := newDir(t)
	link := dir + "-link"
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(link) })
	for given, want := range map[string]string{link: dir, dir + "/": dir, link + "/new": dir + "/new"} {
		got, err := instanceDir(given)
		if err != nil || got != want {
			t.Errorf("instanceDir(%s) = %s, %v, want %s", given, got, err, want)
		}
	}
}

func TestFreePortsAreFreeAndDistinct(t *testing.T) {
	names := strings.Fields("a b c d e f g h")
	ports, err := freePorts(names)
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[int]bool)
	for name, port := range ports {
		if seen[port] {
			t.Errorf("port %d twice", port)
		}
		seen[port] = true
		l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		l.Close()
	}
	if len(ports) != len(names) {
		t.Errorf("got %d ports for %d names", len(ports), len(names))
	}
}

func TestFreeSubnetsDoNotOverlap(t *testing.T) {
	subnets, err := freeSubnets(50)
	if err != nil {
		t.Fatal(err)
	}
	for n, a := range subnets {
		if a.Bits() != 24 || !a.Addr().IsPrivate() || netip.MustParsePrefix(serviceSubnet).Overlaps(a) {
			t.Errorf("odd subnet %s", a)
		}
		for _, b := range subnets[n+1:] {
			if a.Overlaps(b) {
				t.Errorf("%s overlaps %s", a, b)
			}
		}
	}
}

func TestBridgeNamesFitTheKernel(t *testing.T) {
	i := &instance{ID: instanceID("/some/dir")}
	for _, name := range []string{i.buildBridge(), i.podBridge()} {
		if len(name) > 15 {
			t.Errorf("interface name %s has %d bytes, the kernel takes 15", name, len(name))
		}
	}
}

func TestHashFollowsSourcesOnly(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	hash := func() string {
		t.Helper()
		h, err := hashSources(dir)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	for _, name := range []string{"go.mod", "fake/stages.yaml", "standin/apk", "buildkit/go.mod", "kubernetes/go.sum"} {
		write(name, "1")
	}
	before := hash()
	write("README.md", "new")
	write("engines_test.go", "new")
	if hash() != before {
		t.Error("a document or a test changes the hash: everything would be compiled again")
	}
	for _, name := range []string{"go.mod", "fake/stages.yaml", "standin/apk", "buildkit/go.mod", "kubernetes/go.sum"} {
		write(name, "2")
		after := hash()
		if after == before {
			t.Errorf("a change of %s does not change the hash", name)
		}
		before = after
	}
}

func TestLastLines(t *testing.T) {
	for _, test := range []struct {
		in   string
		n    int
		want string
	}{
		{"", 3, ""},
		{"a\nb\n", 2, "a\nb"},
		{"a\nb\nc\n", 2, "(the last 2 of 3 lines)\nb\nc"},
	} {
		if got := lastLines([]byte(test.in), test.n); got != test.want {
			t.Errorf("lastLines(%q, %d) = %q, want %q", test.in, test.n, got, test.want)
		}
	}
}

func TestUnescapeMount(t *testing.T) {
	if got, want := unescapeMount(`/a\040b\134c`), `/a b\c`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
