package build

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/slipway-ci/slipway/jobs"
)

// maxListedTags is how many of a repository's tags are looked at before a line like 1.2 is moved; with more, whether
// a newer release exists counts as unknown, and the line stays where it is.
const maxListedTags = 50_000

// attestation marks entries of an index that describe other entries (BuildKit, docs/attestations/attestation-storage.md).
const attestation = "vnd.docker.reference.type"

// A publisher reads and tags the images of one repository at its registry.
type publisher struct {
	repo name.Repository
	rt   http.RoundTripper
	auth authn.Authenticator
}

func newPublisher(r *registry, repository string) (*publisher, error) {
	login, err := r.login()
	if err != nil {
		return nil, err
	}
	// The library asks for tokens of this one repository, and adds nothing to the scope.
	return &publisher{repo: r.reg.Repo(repository), rt: r.rt, auth: authn.FromConfig(login)}, nil
}

func (p *publisher) options(ctx context.Context) []remote.Option {
	return []remote.Option{
		remote.WithContext(ctx), remote.WithTransport(p.rt), remote.WithAuth(p.auth),
		remote.WithRetryBackoff(remote.Backoff{Duration: 200 * time.Millisecond, Factor: 3, Jitter: 0.1, Steps: 3}),
	}
}

// An image is what a build pushed.
type image struct {
	root   *remote.Descriptor // what the tags point to
	index  string             // digest of the index; empty when a plain manifest was pushed
	digest string             // of the platform's manifest; of the index when there are several platforms
	size   int64              // bytes of configs and compressed layers, of all platforms
}

// inspect reads back what was pushed under a digest.
func (p *publisher) inspect(ctx context.Context, digest string) (image, error) {
	root, err := remote.Get(p.repo.Digest(digest), p.options(ctx)...)
	if err != nil {
		return image{}, fmt.Errorf("read %s@%s: %w", p.repo, digest, err)
	}
	if !root.MediaType.IsIndex() {
		m, err := root.Image()
		if err != nil {
			return image{}, fmt.Errorf("read %s@%s: %w", p.repo, digest, err)
		}
		size, err := imageSize(m)
		return image{root: root, digest: digest, size: size}, err
	}
	index, err := root.ImageIndex()
	if err != nil {
		return image{}, fmt.Errorf("read %s@%s: %w", p.repo, digest, err)
	}
	list, err := index.IndexManifest()
	if err != nil {
		return image{}, fmt.Errorf("read %s@%s: %w", p.repo, digest, err)
	}
	img := image{root: root, index: digest}
	for _, d := range list.Manifests {
		if d.Annotations[attestation] != "" {
			continue
		}
		m, err := index.Image(d.Digest)
		if err != nil {
			return image{}, fmt.Errorf("read %s@%s: %w", p.repo, d.Digest, err)
		}
		size, err := imageSize(m)
		if err != nil {
			return image{}, fmt.Errorf("read %s@%s: %w", p.repo, d.Digest, err)
		}
		img.size += size
		if img.digest == "" {
			img.digest = d.Digest.String()
		} else {
			img.digest = img.index
		}
	}
	if img.digest == "" {
		return image{}, fmt.Errorf("read %s@%s: the index holds no image", p.repo, digest)
	}
	return img, nil
}

func imageSize(m v1.Image) (int64, error) {
	man, err := m.Manifest()
	if err != nil {
		return 0, err
	}
	size := man.Config.Size
	for _, l := range man.Layers {
		size += l.Size
	}
	return size, nil
}

// tag lets a tag point to the image. It moves no blob; doing it twice is doing it once.
func (p *publisher) tag(ctx context.Context, tag string, img image) error {
	if err := remote.Tag(p.repo.Tag(tag), img.root, p.options(ctx)...); err != nil {
		return fmt.Errorf("tag %s:%s: %w", p.repo, tag, err)
	}
	return nil
}

// newer finds a higher release on a line than v among the repository's tags.
func (p *publisher) newer(ctx context.Context, v release, line string) (string, error) {
	puller, err := remote.NewPuller(p.options(ctx)...)
	if err != nil {
		return "", err
	}
	lister, err := puller.Lister(ctx, p.repo)
	if notFound(err) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("list tags of %s: %w", p.repo, err)
	}
	seen := 0
	for lister.HasNext() {
		page, err := lister.Next(ctx)
		if err != nil {
			return "", fmt.Errorf("list tags of %s: %w", p.repo, err)
		}
		if w := newerOnLine(v, line, page.Tags); w != "" {
			return w, nil
		}
		if seen += len(page.Tags); seen > maxListedTags {
			return fmt.Sprintf("perhaps one among more than %d tags", maxListedTags), nil
		}
	}
	return "", nil
}

// published says which tags were set, and why others were not.
type published struct {
	tags []string // set
	kept []string // sentences about tags that stay where they are
}

// publish sets the recipe's tags: immutable ones always, moving ones one after the other, each under its lock and
// only while the run is the newest of its ref.
func (p *publisher) publish(ctx context.Context, task jobs.Task, r recipe, img image) (published, error) {
	var done published
	for _, t := range r.immutable {
		if err := p.tag(ctx, t, img); err != nil {
			return done, err
		}
		done.tags = append(done.tags, t)
	}
	for i, t := range r.moving {
		stale := ""
		err := task.Lock(ctx, "tag "+r.image+":"+t, func(ctx context.Context) error {
			ok, reason, err := task.Newest(ctx)
			if err != nil {
				return fmt.Errorf("ask whether the commit is the newest: %w", err)
			}
			if !ok {
				stale = reason
				return nil
			}
			if why, err := p.overtaken(ctx, r, t); err != nil || why != "" {
				if why != "" {
					done.kept = append(done.kept, why)
				}
				return err
			}
			if err := p.tag(ctx, t, img); err != nil {
				return err
			}
			done.tags = append(done.tags, t)
			return nil
		})
		if err != nil {
			return done, err
		}
		if stale != "" {
			for _, left := range r.moving[i:] {
				done.kept = append(done.kept, fmt.Sprintf("%s stays where it is: %s", left, stale))
			}
			break
		}
	}
	return done, nil
}

// overtaken reports why a release's line must not move to it: a higher release is there. Other tags have no order.
func (p *publisher) overtaken(ctx context.Context, r recipe, tag string) (string, error) {
	if r.release == nil || !r.release.onLine(tag) {
		return "", nil
	}
	w, err := p.newer(ctx, *r.release, tag)
	if err != nil || w == "" {
		return "", err
	}
	return fmt.Sprintf("%s stays where it is: %s is a higher release than %s", tag, w, r.release), nil
}

func notFound(err error) bool {
	var te *transport.Error
	return errors.As(err, &te) && te.StatusCode == http.StatusNotFound
}
