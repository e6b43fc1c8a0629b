package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/slipway-ci/slipway/githubapp/githubtest"
)

// A scene is what registry and cluster show at one moment.
type scene struct {
	registry registryFacts
	cluster  clusterFacts
}

// look takes in the scene.
func (s *stage) look(ctx context.Context) (scene, error) {
	registry, err := s.lookAtRegistry(ctx)
	if err != nil {
		return scene{}, err
	}
	cluster, err := s.cluster.look(ctx)
	return scene{registry, cluster}, err
}

// registryFacts is what the registry shows.
type registryFacts struct {
	Image string `json:"image"`
	// Tags are the image's tags with the digest of the image for this platform: what a pod would run.
	Tags map[string]string `json:"tags"`
}

func (s *stage) lookAtRegistry(ctx context.Context) (registryFacts, error) {
	facts := registryFacts{Image: s.registry.host + "/" + repositoryName, Tags: map[string]string{}}
	var options []name.Option
	if s.registry.insecure {
		options = append(options, name.Insecure)
	}
	repo, err := name.NewRepository(facts.Image, options...)
	if err != nil {
		return facts, err
	}
	login, err := s.registry.login()
	if err != nil {
		return facts, err
	}
	puller, err := remote.NewPuller(remote.WithAuth(login))
	if err != nil {
		return facts, err
	}
	tags, err := puller.List(ctx, repo)
	var answer *transport.Error
	if errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound {
		return facts, nil // nothing was ever pushed
	}
	if err != nil {
		return facts, fmt.Errorf("list the tags of %s: %w", repo, err)
	}
	for _, tag := range tags {
		d, err := puller.Get(ctx, repo.Tag(tag))
		if err != nil {
			return facts, fmt.Errorf("look at %s: %w", repo.Tag(tag), err)
		}
		if facts.Tags[tag], err = platformDigest(d); err != nil {
			return facts, fmt.Errorf("look at %s: %w", repo.Tag(tag), err)
		}
	}
	return facts, nil
}

// login reads the password anew each time, as the server does.
func (r registryOptions) login() (authn.Authenticator, error) {
	if r.username == "" {
		return authn.Anonymous, nil
	}
	password, err := os.ReadFile(r.passwordFile)
	if err != nil {
		return nil, fmt.Errorf("read the registry's password: %w", err)
	}
	return &authn.Basic{Username: r.username, Password: strings.TrimSpace(string(password))}, nil
}

// platformDigest finds the one image in an index; what else lies in it are attestations.
func platformDigest(d *remote.Descriptor) (string, error) {
	if !d.MediaType.IsIndex() {
		return d.Digest.String(), nil
	}
	index, err := d.ImageIndex()
	if err != nil {
		return "", err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return "", err
	}
	images := slices.DeleteFunc(manifest.Manifests, func(m v1.Descriptor) bool {
		return m.Annotations["vnd.docker.reference.type"] != ""
	})
	if len(images) != 1 {
		return "", fmt.Errorf("the index holds %d images, want one", len(images))
	}
	return images[0].Digest.String(), nil
}

// githubFacts is what GitHub shows on a commit.
type githubFacts struct {
	Commit      string  `json:"commit"`
	PullRequest int     `json:"pull_request,omitempty"`
	Checks      []check `json:"checks"`
	Asked       int     `json:"asked"` // how many calls of the App this step took
}

// A check is a check run as GitHub shows it.
type check struct {
	Name        string   `json:"name"`
	Conclusion  string   `json:"conclusion"` // or its status, while it is not completed
	Title       string   `json:"title"`
	Annotations []string `json:"annotations,omitempty"` // PATH:LINE: MESSAGE

	text string // the whole of it, as people read it
}

func (s *stage) lookAtGitHub(sha string) githubFacts {
	facts := githubFacts{Commit: sha, Checks: []check{}}
	for _, c := range s.repo.CheckRuns(sha) {
		facts.Checks = append(facts.Checks, shapeCheck(c))
	}
	facts.Asked = s.github.CountRequests(func(r githubtest.Request) bool {
		return r.App != 0
	})
	return facts
}

func shapeCheck(c githubtest.CheckRun) check {
	shape := check{Name: c.Name, Conclusion: c.Conclusion, Title: c.Title, text: c.Title + "\n" + c.Summary + "\n" + c.Text}
	if c.Status != "completed" {
		shape.Conclusion = c.Status
	}
	for _, a := range c.Annotations {
		shape.Annotations = append(shape.Annotations, fmt.Sprintf("%s:%d: %s", a.Path, a.StartLine, a.Message))
	}
	return shape
}

// check finds the one check of a name.
func (f githubFacts) check(name string) (check, error) {
	var found []check
	for _, c := range f.Checks {
		if c.Name == name {
			found = append(found, c)
		}
	}
	if len(found) != 1 {
		return check{}, fmt.Errorf("there are %d checks %q, want one", len(found), name)
	}
	return found[0], nil
}
