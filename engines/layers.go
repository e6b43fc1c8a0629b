package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"embed"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

//go:embed standin
var standIn embed.FS

// alpineScripts are the Alpine commands that busybox does not bring.
var alpineScripts = []string{"adduser", "addgroup", "apk"}

const layerSuffix = ".layer.tar.gz"

// layerWriter writes one image layer. All entries belong to root and carry the
// epoch as their time unless said otherwise, so the same files give the same layer.
type layerWriter struct {
	tar   *tar.Writer
	mtime time.Time
}

// writeLayer has fill write a layer and returns it for use in an image. The
// file stays in dir.
func writeLayer(dir, label string, fill func(w *layerWriter) error) (v1.Layer, error) {
	path := filepath.Join(dir, label+layerSuffix)
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	zipped, err := gzip.NewWriterLevel(f, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	w := &layerWriter{tar: tar.NewWriter(zipped), mtime: time.Unix(0, 0)}
	if err := fill(w); err != nil {
		return nil, fmt.Errorf("write the %s layer: %w", label, err)
	}
	for _, c := range []io.Closer{w.tar, zipped, f} {
		if err := c.Close(); err != nil {
			return nil, fmt.Errorf("write the %s layer: %w", label, err)
		}
	}
	return tarball.LayerFromFile(path, tarball.WithMediaType(types.OCILayer))
}

func (w *layerWriter) folder(name string, mode int64) error {
	return w.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode, ModTime: w.mtime})
}

func (w *layerWriter) link(name, target string) error {
	return w.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777, ModTime: w.mtime})
}

func (w *layerWriter) file(name string, mode int64, content []byte) error {
	return w.stream(name, mode, int64(len(content)), bytes.NewReader(content))
}

func (w *layerWriter) stream(name string, mode, size int64, r io.Reader) error {
	header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: size, ModTime: w.mtime}
	if err := w.tar.WriteHeader(header); err != nil {
		return err
	}
	_, err := io.Copy(w.tar, r)
	return err
}

// tree copies the folder from to the folder to; skip says which paths, relative
// to from, stay out.
func (w *layerWriter) tree(from, to string, skip func(path string, d fs.DirEntry) bool) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if skip(rel, d) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name := filepath.Join(to, rel)
		switch {
		case d.IsDir():
			return w.folder(name, 0o755)
		case d.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			return w.link(name, target)
		case !d.Type().IsRegular():
			return fmt.Errorf("%s is neither file, folder nor link", path)
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		return w.stream(name, int64(info.Mode().Perm()), info.Size(), f)
	})
}

// alpineLayer is a small userland from the static busybox.
func alpineLayer(dir string) (v1.Layer, error) {
	busybox, err := os.ReadFile(busyboxPath)
	if err != nil {
		return nil, fmt.Errorf("busybox-static is not installed: %s: %w", installHint, err)
	}
	applets, err := exec.Command(busyboxPath, "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("list the applets of %s: %w", busyboxPath, err)
	}
	certificates, err := os.ReadFile(caBundle)
	if err != nil {
		return nil, fmt.Errorf("ca-certificates is not installed: %s: %w", installHint, err)
	}
	return writeLayer(dir, "alpine", func(w *layerWriter) error {
		for _, name := range []string{"bin", "dev", "etc", "etc/ssl", "etc/ssl/certs", "home", "lib", "mnt", "opt", "proc", "run", "sbin", "srv", "sys",
			"usr", "usr/bin", "usr/lib", "usr/local", "usr/local/bin", "usr/sbin", "usr/share", "var", "var/cache", "var/lib", "var/log"} {
			if err := w.folder(name, 0o755); err != nil {
				return err
			}
		}
		if err := w.folder("root", 0o700); err != nil {
			return err
		}
		for _, name := range []string{"tmp", "var/tmp"} {
			if err := w.folder(name, 0o1777); err != nil {
				return err
			}
		}
		files := []struct{ name, content string }{
			{"etc/passwd", "root:x:0:0:root:/root:/bin/ash\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n"},
			{"etc/group", "root:x:0:root\nwheel:x:10:root\nusers:x:100:\nnogroup:x:65533:\nnobody:x:65534:\n"},
			{"etc/nsswitch.conf", "hosts: files dns\n"},
			{"etc/os-release", "NAME=\"Alpine Linux (Slipway's stand-in)\"\nID=alpine\nPRETTY_NAME=\"Slipway's stand-in for Alpine Linux\"\n"},
			{"etc/ssl/certs/ca-certificates.crt", string(certificates)},
		}
		for _, f := range files {
			if err := w.file(f.name, 0o644, []byte(f.content)); err != nil {
				return err
			}
		}
		if err := w.file("bin/busybox", 0o755, busybox); err != nil {
			return err
		}
		for applet := range strings.FieldsSeq(string(applets)) {
			if applet == "busybox" {
				continue
			}
			if err := w.link("bin/"+applet, "busybox"); err != nil {
				return err
			}
		}
		for _, script := range alpineScripts {
			content, err := standIn.ReadFile("standin/" + script)
			if err != nil {
				return err
			}
			if err := w.file("sbin/"+script, 0o755, content); err != nil {
				return err
			}
		}
		return nil
	})
}

// pauseLayer holds what keeps a pod's namespaces open.
func pauseLayer(dir string) (v1.Layer, error) {
	busybox, err := os.ReadFile(busyboxPath)
	if err != nil {
		return nil, err
	}
	return writeLayer(dir, "pause", func(w *layerWriter) error { return w.file("busybox", 0o755, busybox) })
}

// compiledPackages come compiled with the golang image, so that a Dockerfile's
// RUN go build takes a second and not half a minute.
var compiledPackages = []string{
	"database/sql", "encoding/json", "expvar", "flag", "html/template", "log/slog", "net/http", "net/http/pprof", "os/exec", "os/signal", "testing",
}

// golangLayer is this machine's Go toolchain under /usr/local/go, with a store
// of compiled packages that the image's go command links into the build cache;
// a layer upon alpine's.
func golangLayer(ctx context.Context, dir string) (v1.Layer, error) {
	goroot, err := goEnv("GOROOT")
	if err != nil {
		return nil, err
	}
	cache, err := os.MkdirTemp(dir, "gocache-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(cache)
	for _, flags := range [][]string{nil, {"-trimpath"}} { // the two are cached apart
		cmd := exec.CommandContext(ctx, filepath.Join(goroot, "bin", "go"), append(append([]string{"build"}, flags...), compiledPackages...)...)
		cmd.Dir = cache
		cmd.Env = append(os.Environ(), "GOCACHE="+cache, "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off", "GO111MODULE=off", "GOTOOLCHAIN=local")
		if out, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("compile the standard library for the golang image: %w\n%s", err, lastLines(out, 20))
		}
	}
	return writeLayer(dir, "golang", func(w *layerWriter) error {
		for _, name := range []string{"go", "go/bin", "go/src"} {
			if err := w.folder(name, 0o755); err != nil {
				return err
			}
		}
		wrapper, err := standIn.ReadFile("standin/go")
		if err != nil {
			return err
		}
		if err := w.file("go/bin/go", 0o755, wrapper); err != nil {
			return err
		}
		if err := w.tree(goroot, "usr/local/go", skipInGoroot); err != nil {
			return err
		}
		w.mtime = time.Now() // the go command drops what it takes for old
		return w.tree(cache, "usr/local/share/go-build", func(string, fs.DirEntry) bool { return false })
	})
}

// skipInGoroot leaves out what building programs does not need.
func skipInGoroot(path string, d fs.DirEntry) bool {
	switch path {
	case "api", "doc", "misc", "test", ".git", "src/cmd", "pkg/obj":
		return true
	}
	if d.IsDir() {
		return d.Name() == "testdata"
	}
	return strings.HasSuffix(path, "_test.go")
}
