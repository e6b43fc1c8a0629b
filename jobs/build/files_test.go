package build

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tonistiigi/fsutil"
	"github.com/tonistiigi/fsutil/types"

	"github.com/slipway-ci/slipway/jobs"
)

func open(t testing.TB, c *commit, spec jobs.BuildSpec) (*files, error) {
	t.Helper()
	spec.Image = "registry.example.com/acme/shop"
	task, _ := newTask(t, c, "registry.example.com", spec)
	r, err := newRecipe(task, allows)
	if err != nil {
		t.Fatal(err)
	}
	checkout, err := c.Checkout(t.Context(), task.Run)
	if err != nil {
		t.Fatal(err)
	}
	f, err := openFiles(r, checkout)
	if err == nil {
		t.Cleanup(f.close)
	}
	return f, err
}

func TestOpenFiles(t *testing.T) {
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "Dockerfile"), []byte("FROM scratch\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := newCommit(t, map[string]string{
		"Dockerfile": "FROM scratch\n", "low/dockerfile": "FROM scratch\n", "empty/.keep": "",
		"inside": "-> low", "out": "-> " + outside, "up": "-> ../..", "outfile": "-> " + outside + "/Dockerfile",
		"loop": "-> loop", "other": "# syntax = docker.io/docker/dockerfile-upstream:master\nFROM scratch\n",
		"frontend": "#syntax=example.com/x:1\nFROM scratch\n", "frontend2": "# escape=`\n# syntax=docker/dockerfilex\n", "frontend3": "//syntax=evil/x\n",
		"huge": strings.Repeat("#", maxDockerfile+1),
	})
	for _, tc := range []struct {
		name       string
		spec       jobs.BuildSpec
		dockerfile string // when it opens
		says       string // when it doesn't
		line       int
	}{
		{"defaults", jobs.BuildSpec{}, "Dockerfile", "", 0},
		{"lower case", jobs.BuildSpec{Context: "low"}, "low/dockerfile", "", 0},
		{"a link inside", jobs.BuildSpec{Context: "inside"}, "inside/dockerfile", "", 0},
		{"Dockerfile elsewhere", jobs.BuildSpec{Context: "empty", Dockerfile: "Dockerfile"}, "Dockerfile", "", 0},
		{"upstream's frontend", jobs.BuildSpec{Dockerfile: "other"}, "other", "", 0},
		{"no context", jobs.BuildSpec{Context: "nope"}, "", "there is no context folder nope in this commit", 0},
		{"context a file", jobs.BuildSpec{Context: "other"}, "", "the context folder other can't be opened", 0},
		{"context leads out", jobs.BuildSpec{Context: "out"}, "", "leads out of the repository", 0},
		{"context leads up", jobs.BuildSpec{Context: "up"}, "", "leads out of the repository", 0},
		{"context in a loop", jobs.BuildSpec{Context: "loop"}, "", "can't be opened", 0},
		{"no Dockerfile", jobs.BuildSpec{Context: "empty"}, "", "there is no Dockerfile empty/Dockerfile in this commit", 0},
		{"Dockerfile leads out", jobs.BuildSpec{Dockerfile: "outfile"}, "", "leads out of the repository", 0},
		{"Dockerfile in a folder that leads out", jobs.BuildSpec{Dockerfile: "out/Dockerfile"}, "", "leads out of the repository", 0},
		{"Dockerfile a folder", jobs.BuildSpec{Dockerfile: "low"}, "", "is not a file", 0},
		{"Dockerfile huge", jobs.BuildSpec{Dockerfile: "huge"}, "", "too many for a Dockerfile", 0},
		{"another frontend", jobs.BuildSpec{Dockerfile: "frontend"}, "", "asks for the frontend example.com/x:1", 1},
		{"a frontend alike", jobs.BuildSpec{Dockerfile: "frontend2"}, "", "asks for the frontend docker/dockerfilex", 2},
		{"a frontend in another comment", jobs.BuildSpec{Dockerfile: "frontend3"}, "", "asks for the frontend evil/x", 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f, err := open(t, c, tc.spec)
			if tc.says == "" {
				if err != nil || f.dockerfile != tc.dockerfile {
					t.Fatalf("got %+v, %v", f, err)
				}
				return
			}
			result, ok := theirs(err)
			if !ok || result.Conclusion != jobs.Failure || !strings.Contains(result.Summary, tc.says) {
				t.Fatalf("got %+v, %v, want %q", result, err, tc.says)
			}
			if tc.line > 0 && (len(result.Annotations) != 1 || result.Annotations[0].Line != tc.line || result.Annotations[0].Path != tc.spec.Dockerfile) {
				t.Errorf("annotations %+v", result.Annotations)
			}
		})
	}
}

// list shows a file system as BuildKit is sent it.
func list(t testing.TB, f fsutil.FS, target string) []string {
	t.Helper()
	var out []string
	err := f.Walk(t.Context(), target, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*types.Stat)
		if st.ModTime != commitTime.UnixNano() || st.Uid != 0 || st.Gid != 0 || st.Path != p {
			t.Errorf("%s: %+v", p, st)
		}
		out = append(out, strings.TrimRight(fmt.Sprintf("%s %s %s", fs.FileMode(st.Mode), p, st.Linkname), " "))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestPlainFS(t *testing.T) {
	c := newCommit(t, map[string]string{
		"Dockerfile": "FROM scratch\n", "app/run": "#!/bin/sh\n", "app/data": "x", "app/sub/file": "y",
		"app/inside": "-> sub", "app/out": "-> /etc", "app/up": "-> ../Dockerfile",
	})
	f, err := open(t, c, jobs.BuildSpec{Context: "app", Dockerfile: "Dockerfile"})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"-rw-r--r-- data", "Lrwxrwxrwx inside sub", "Lrwxrwxrwx out /etc", "-rwxr-xr-x run", "drwxr-xr-x sub", "-rw-r--r-- sub/file",
		"Lrwxrwxrwx up ../Dockerfile",
	}
	for _, target := range []string{"/", "", "."} {
		if got := list(t, f.context, target); !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", target, got, want)
		}
	}
	if got := list(t, f.context, "out"); !slices.Equal(got, want[2:3]) {
		t.Errorf("a link itself: %q", got)
	}
	for name, content := range map[string]string{"data": "x", "inside/file": "y", "out/passwd": "", "up": "", "../Dockerfile": ""} {
		r, err := f.context.Open(name)
		if (err == nil) != (content != "") {
			t.Errorf("open %s: %v", name, err)
		}
		if err == nil {
			r.Close()
		}
	}
	for _, name := range []string{"out/passwd", "nope"} {
		err := f.context.Walk(t.Context(), name, func(string, fs.DirEntry, error) error { return nil })
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("walk %s: %v", name, err)
		}
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.context.Walk(gone, "/", func(string, fs.DirEntry, error) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("a walk goes on after its context ended: %v", err)
	}
}

func TestSharedKey(t *testing.T) {
	base := recipe{cacheSpace: "7-trusted", context: "."}
	other := base
	other.context = "app"
	fork := base
	fork.cacheSpace = "7-untrusted"
	later := push("main")
	later.SHA = strings.Repeat("f", 40)
	keys := []string{sharedKey(push("main"), base), sharedKey(push("main"), other), sharedKey(push("main"), fork), sharedKey(later, base)}
	slices.Sort(keys)
	if len(slices.Compact(keys)) != 4 {
		t.Errorf("different files share a key: %q", keys)
	}
}
