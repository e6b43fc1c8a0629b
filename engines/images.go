package main

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const (
	pauseImage    = "slipway.local/pause:1"
	refAnnotation = "org.opencontainers.image.ref.name"
	busyboxPath   = "/usr/bin/busybox"
	caBundle      = "/etc/ssl/certs/ca-certificates.crt"
)

// images is a folder with the base images: an OCI layout whose descriptors name
// their repository and tag, and the pause image as an archive for containerd.
type images struct{ dir string }

func (i images) pauseArchive() string { return filepath.Join(i.dir, "pause.tar") }

// What the images are made of decides whether cached ones still fit.
var (
	//go:embed images.go
	imagesSource []byte
	//go:embed layers.go
	layersSource []byte
)

// baseImages returns the base images from the cache, made first if needed.
func baseImages(ctx context.Context) (images, error) {
	dir, err := imagesDir()
	if err != nil {
		return images{}, err
	}
	if _, err := os.Stat(dir); err == nil {
		return images{dir}, nil
	}
	unlock, err := lockCache()
	if err != nil {
		return images{}, err
	}
	defer unlock()
	return baseImagesLocked(ctx)
}

// baseImagesLocked is baseImages for who holds the cache's lock.
func baseImagesLocked(ctx context.Context) (images, error) {
	dir, err := imagesDir()
	if err != nil {
		return images{}, err
	}
	if _, err := os.Stat(dir); err == nil {
		return images{dir}, nil
	}
	done := step("make the base images")
	if err := fillFolder(dir, func(work string) error { return makeImages(ctx, work) }); err != nil {
		return images{}, fmt.Errorf("make the base images: %w", err)
	}
	done()
	return images{dir}, nil
}

// imagesDir is the cache folder for images made of this machine's busybox, CA
// certificates and Go toolchain by this version of the recipe.
func imagesDir() (string, error) {
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	version, err := goEnv("GOVERSION")
	if err != nil {
		return "", err
	}
	h := sha256.New()
	fmt.Fprintln(h, version, runtime.GOARCH)
	h.Write(imagesSource)
	h.Write(layersSource)
	scripts, err := standIn.ReadDir("standin")
	if err != nil {
		return "", err
	}
	for _, script := range scripts {
		content, err := standIn.ReadFile("standin/" + script.Name())
		if err != nil {
			return "", err
		}
		h.Write(content)
	}
	for _, path := range []string{busyboxPath, caBundle} {
		if err := hashFile(h, path, path); err != nil {
			return "", fmt.Errorf("%w: %s", err, installHint)
		}
	}
	return filepath.Join(cache, "images-"+hex.EncodeToString(h.Sum(nil))[:16]), nil
}

// makeImages writes all images into dir.
func makeImages(ctx context.Context, dir string) error {
	goVersion, err := goEnv("GOVERSION")
	if err != nil {
		return err
	}
	goVersion = strings.TrimPrefix(goVersion, "go")
	goMinor := goVersion
	if parts := strings.SplitN(goVersion, ".", 3); len(parts) == 3 {
		goMinor = parts[0] + "." + parts[1]
	}

	base, err := alpineLayer(dir)
	if err != nil {
		return err
	}
	toolchain, err := golangLayer(ctx, dir)
	if err != nil {
		return err
	}
	pauseFiles, err := pauseLayer(dir)
	if err != nil {
		return err
	}
	const path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	alpine, err := makeImage("alpine", v1.Config{Env: []string{"PATH=" + path}, Cmd: []string{"/bin/sh"}}, base)
	if err != nil {
		return err
	}
	golang, err := makeImage("golang", v1.Config{
		Env: []string{
			"PATH=/go/bin:/usr/local/go/bin:" + path,
			"GOLANG_VERSION=" + goVersion,
			"GOTOOLCHAIN=local",
			"GOPATH=/go",
			"CGO_ENABLED=0",
			"GOFLAGS=-buildvcs=false",
			"GOPROXY=off", // a build has no network: say so at once
		},
		Cmd:        []string{"/bin/sh"},
		WorkingDir: "/go",
	}, base, toolchain)
	if err != nil {
		return err
	}
	pause, err := makeImage("pause", v1.Config{Entrypoint: []string{"/busybox", "sleep", "infinity"}}, pauseFiles)
	if err != nil {
		return err
	}

	oci, err := layout.Write(filepath.Join(dir, "oci"), empty.Index)
	if err != nil {
		return err
	}
	for _, set := range []struct {
		image      v1.Image
		repository string
		tags       []string
	}{
		{alpine, "library/alpine", []string{"latest", "3", "3.22"}},
		{golang, "library/golang", []string{"latest", "alpine", goMinor, goMinor + "-alpine", goVersion, goVersion + "-alpine"}},
		{alpine, "library/busybox", []string{"latest"}},
	} {
		for _, tag := range set.tags {
			annotation := map[string]string{refAnnotation: set.repository + ":" + tag}
			if err := oci.AppendImage(set.image, layout.WithAnnotations(annotation)); err != nil {
				return fmt.Errorf("write %s:%s: %w", set.repository, tag, err)
			}
		}
	}
	ref, err := name.NewTag(pauseImage)
	if err != nil {
		return err
	}
	if err := tarball.WriteToFile(images{dir}.pauseArchive(), ref, pause); err != nil {
		return fmt.Errorf("write %s: %w", pauseImage, err)
	}
	layers, err := filepath.Glob(filepath.Join(dir, "*"+layerSuffix))
	if err != nil {
		return err
	}
	for _, layer := range layers { // they are in the layout now
		if err := os.Remove(layer); err != nil {
			return err
		}
	}
	return nil
}

// makeImage puts layers under a config; its labels say that it is a stand-in.
func makeImage(of string, config v1.Config, layers ...v1.Layer) (v1.Image, error) {
	config.Labels = map[string]string{
		"org.opencontainers.image.title":       "stand-in for " + of,
		"org.opencontainers.image.description": "Made by Slipway's engines from this machine's own files; it is not the official image.",
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err := mutate.ConfigFile(image, &v1.ConfigFile{
		Architecture: runtime.GOARCH,
		OS:           "linux",
		Config:       config,
		Created:      v1.Time{Time: time.Unix(0, 0).UTC()},
		RootFS:       v1.RootFS{Type: "layers"},
	})
	if err != nil {
		return nil, err
	}
	return mutate.AppendLayers(image, layers...)
}

// push sends every image of the layout to the registry at host:port.
func (i images) push(ctx context.Context, registry string) error {
	index, err := layout.ImageIndexFromPath(filepath.Join(i.dir, "oci"))
	if err != nil {
		return fmt.Errorf("read the base images in %s (remove the folder to have them made again): %w", i.dir, err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return err
	}
	jobs, err := remote.NewPusher(remote.WithContext(ctx), remote.WithJobs(4))
	if err != nil {
		return err
	}
	for _, descriptor := range manifest.Manifests {
		ref, err := name.NewTag(registry+"/"+descriptor.Annotations[refAnnotation], name.Insecure)
		if err != nil {
			return err
		}
		image, err := index.Image(descriptor.Digest)
		if err != nil {
			return err
		}
		if err := jobs.Push(ctx, ref, image); err != nil {
			return fmt.Errorf("push %s: %w", ref, err)
		}
	}
	return nil
}
