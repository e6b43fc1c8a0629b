package build

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/distribution/reference"
	"github.com/slipway-ci/slipway/jobs"
)

// Limits of a recipe.
const (
	maxArgs      = 100
	maxArgValue  = 8 << 10 // bytes
	maxPlatforms = 8
)

var (
	argForm      = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)
	targetForm   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$`)
	platformForm = regexp.MustCompile(`^[a-z0-9]{1,20}/[a-z0-9_]{1,20}(/[a-z0-9.]{1,20})?$`)
)

// A recipe is a build as decided: everything in it was checked against the grant, and nothing in it is asked again.
type recipe struct {
	image  string // registry/name, without tag
	host   string // the image's registry
	name   string // the image's name within the registry
	push   bool   // work that is not trusted is built and stays where it was built, unless the operator has a quarantine for it
	grants []jobs.PushGrant

	context    string // folder, from the repository's root; "." is the root
	dockerfile string // file, from the repository's root
	target     string
	args       map[string]string
	platforms  []string

	immutable, moving []string
	notMoved          string   // about tags that the pipeline adds; "" when there is nothing to say
	release           *release // of the Git tag that caused the run

	cacheSpace string // keeps cache mounts apart
}

// newRecipe decides what a task builds. The error is a *jobs.Refusal when it is the pipeline's fault.
func newRecipe(task jobs.Task, allows func(patterns []string, name string) bool) (recipe, error) {
	var spec jobs.BuildSpec
	if err := json.Unmarshal(task.Spec, &spec); err != nil {
		return recipe{}, fmt.Errorf("decode the build of job %s: %w", task.Job, err)
	}
	r := recipe{target: spec.Target, args: spec.Args, platforms: spec.Platforms, grants: task.Grant.Push}
	trusted := task.Run.Trust.Level == jobs.Trusted
	// What an approved stranger is granted is the quarantine, and nothing else (pipeline.Rules).
	r.push = trusted || task.Run.Trust.Level == jobs.Approved && len(r.grants) > 0
	r.cacheSpace = strconv.FormatInt(task.Run.Repository.ID, 10) + "-" + string(jobs.Untrusted)
	if trusted {
		r.cacheSpace = strconv.FormatInt(task.Run.Repository.ID, 10) + "-" + string(jobs.Trusted)
	}
	if err := r.setImage(spec.Image); err != nil {
		return recipe{}, err
	}
	if r.push {
		if err := r.checkGrant(task.Run, allows); err != nil {
			return recipe{}, err
		}
	}
	if err := r.setPaths(spec); err != nil {
		return recipe{}, err
	}
	if err := r.checkArguments(); err != nil {
		return recipe{}, err
	}
	var err error
	if r.immutable, r.moving, err = Tags(task.Run, spec.Tags); err != nil {
		return recipe{}, err
	}
	r.notMoved = NotMoved(task.Run, spec.Tags)
	if v, ok := parseRelease(task.Run.Tag); ok {
		r.release = &v
	}
	return r, nil
}

func refuse(format string, args ...any) error {
	return &jobs.Refusal{Sentence: fmt.Sprintf(format, args...)}
}

func (r *recipe) setImage(image string) error {
	if image == "" {
		return refuse("the build names no image: set `image:`, or ask whoever runs Slipway to set defaults.image in config.yaml")
	}
	named, err := reference.ParseNamed(image)
	if err != nil {
		return refuse("%q is not an image name: write the registry, then the name in lower case, such as registry.example.com/team/app", jobs.Cut(image, 200))
	}
	if !reference.IsNameOnly(named) {
		return refuse("the image %s must be named without a tag or digest: Slipway tags it by policy, and further tags go into `tags:`", jobs.Cut(image, 200))
	}
	r.image, r.host, r.name = image, canonicalHost(reference.Domain(named)), reference.Path(named)
	return nil
}

// checkGrant holds that a repository pushes only what its operator's policy grants it.
func (r *recipe) checkGrant(run jobs.RunInfo, allows func(patterns []string, name string) bool) error {
	var granted []string
	for _, g := range r.grants {
		if canonicalHost(g.Registry) == r.host && allows(g.Names, r.name) {
			return nil
		}
		for _, pattern := range g.Names {
			granted = append(granted, g.Registry+"/"+pattern)
		}
	}
	if len(granted) == 0 {
		return refuse("%s may not push %s: no image is granted to it; whoever runs Slipway can grant it under registries.%s.push in config.yaml",
			run.Repository.FullName(), r.image, r.host)
	}
	return refuse("%s may not push %s: granted is %s; whoever runs Slipway can grant more under registries.%s.push in config.yaml",
		run.Repository.FullName(), r.image, jobs.Cut(strings.Join(granted, ", "), 200), r.host)
}

func (r *recipe) setPaths(spec jobs.BuildSpec) error {
	var err error
	if r.context, err = inside("context", spec.Context, "."); err != nil {
		return err
	}
	if r.dockerfile, err = inside("dockerfile", spec.Dockerfile, path.Join(r.context, "Dockerfile")); err != nil {
		return err
	}
	if r.dockerfile == "." {
		return refuse("dockerfile %q is a folder: name the file", spec.Dockerfile)
	}
	return nil
}

// inside cleans a path from the repository's root; one that leads out of it is refused. Links are looked at later,
// when there are files to look at.
func inside(field, p, otherwise string) (string, error) {
	if p == "" {
		return otherwise, nil
	}
	clean := path.Clean(p)
	if len(p) > 1000 || !filepath.IsLocal(p) || !fs.ValidPath(clean) || strings.ContainsAny(p, "\\\x00\n") {
		return "", refuse("%s %q must be a path inside the repository, from its root, with forward slashes", field, jobs.Cut(p, 200))
	}
	return clean, nil
}

func (r *recipe) checkArguments() error {
	if r.target != "" && !targetForm.MatchString(r.target) {
		return refuse("target %q is not the name of a stage", jobs.Cut(r.target, 200))
	}
	if len(r.args) > maxArgs {
		return refuse("the build has %d args; at most %d are possible", len(r.args), maxArgs)
	}
	for _, k := range slices.Sorted(maps.Keys(r.args)) {
		switch {
		case !argForm.MatchString(k):
			return refuse("args: %q is not the name of a build argument", jobs.Cut(k, 200))
		case strings.HasPrefix(strings.ToUpper(k), "BUILDKIT_"):
			// These steer the frontend itself: another frontend image, another cache space.
			return refuse("args: %s is not possible, names that begin with BUILDKIT_ are the builder's own", k)
		case len(r.args[k]) > maxArgValue:
			return refuse("args: the value of %s has %d bytes, at most %d are possible", k, len(r.args[k]), maxArgValue)
		}
	}
	if len(r.platforms) > maxPlatforms {
		return refuse("the build names %d platforms; at most %d are possible", len(r.platforms), maxPlatforms)
	}
	for i, p := range r.platforms {
		if !platformForm.MatchString(p) {
			return refuse("%q is not a platform: write it like linux/amd64 or linux/arm/v7", jobs.Cut(p, 100))
		}
		if slices.Contains(r.platforms[:i], p) {
			return refuse("platform %s is named twice", p)
		}
	}
	return nil
}

// access is how far the operator's credentials reach for a repository name.
type access int

// From nothing (anonymous) to what a push needs.
const (
	accessNone access = iota
	accessPull
	accessPush
)

// access decides what this build may do with the operator's credentials at a registry: push the image it builds, pull
// what its repository may push, pull what every build may. All else is done without credentials.
func (r *recipe) access(host, name string, conf Registry, allows func(patterns []string, name string) bool) access {
	if !r.push {
		return accessNone
	}
	if host == r.host && name == r.name {
		return accessPush
	}
	for _, g := range r.grants {
		if canonicalHost(g.Registry) == host && allows(g.Names, name) {
			return accessPull
		}
	}
	if allows(conf.Pull, name) {
		return accessPull
	}
	return accessNone
}
