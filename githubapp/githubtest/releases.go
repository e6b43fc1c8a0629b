package githubtest

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Release is a release of a repository. Its exported fields never change.
type Release struct {
	ID     int64
	Repo   *Repository
	Tag    string
	Author *User

	name, body, target string
	draft, prerelease  bool
	created, published time.Time
}

// ReleaseOptions describe a release. Only Tag must be given.
type ReleaseOptions struct {
	Tag        string
	Target     string // branch or SHA that the tag is made at when it doesn't exist; empty: the default branch
	Name, Body string
	Prerelease bool
	Draft      bool  // saved only: Release.Publish makes the rest
	User       *User // who may write; nil: the repository's owner
}

// CreateRelease makes a release and, unless it is a draft, publishes it: release.created, published, and released or
// prereleased follow, after the events of the push if the tag is new.
func (r *Repository) CreateRelease(options ReleaseOptions) (*Release, error) {
	if options.User == nil {
		options.User = r.Owner
	}
	if options.Target == "" {
		options.Target = r.DefaultBranch
	}
	if err := r.refuseUnlocked(options.User, ""); err != nil || options.Tag == "" {
		return nil, errors.Join(err, fmt.Errorf("release %q of %s", options.Tag, r.FullName()))
	}
	release := &Release{Repo: r, Tag: options.Tag, Author: options.User, name: options.Name, body: options.Body, target: options.Target, draft: true, prerelease: options.Prerelease}
	if !options.Draft {
		if err := release.tagUnlocked(options.User); err != nil {
			return nil, err
		}
	}
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	release.ID, release.created = r.s.nextID(), r.s.now()
	r.releases = append(r.releases, release)
	if options.Draft {
		release.emit(options.User, "created")
	} else {
		release.publish(options.User, "created", "published")
	}
	return release, nil
}

// Publish makes a draft public: release.published, and released or prereleased follow.
func (release *Release) Publish(user *User) error {
	s := release.Repo.s
	if err := release.Repo.refuseUnlocked(user, ""); err != nil {
		return fmt.Errorf("publish the release %s: %w", release.Tag, err)
	}
	if err := release.tagUnlocked(user); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !release.draft {
		return fmt.Errorf("publish the release %s: it is public", release.Tag)
	}
	release.publish(user, "published")
	return nil
}

// tagUnlocked makes the release's tag if there is none.
func (release *Release) tagUnlocked(user *User) error {
	r := release.Repo
	if r.git.commitOf(r.s.done, "refs/tags/"+release.Tag) == "" {
		target := r.git.commitOf(r.s.done, release.target)
		if target == "" {
			return fmt.Errorf("publish the release %s: its target %s doesn't exist", release.Tag, release.target)
		}
		if err := r.SetRef("refs/tags/"+release.Tag, target, user); err != nil {
			return fmt.Errorf("publish the release %s: %w", release.Tag, err)
		}
	}
	return nil
}

func (release *Release) publish(user *User, actions ...string) {
	release.draft, release.published = false, release.Repo.s.now()
	for _, action := range append(actions, map[bool]string{true: "prereleased", false: "released"}[release.prerelease]) {
		release.emit(user, action)
	}
}

// Promote turns a prerelease into a release: release.edited and released follow.
func (release *Release) Promote(user *User) error {
	s := release.Repo.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if release.draft || !release.prerelease {
		return fmt.Errorf("promote the release %s: it is a draft, or no prerelease", release.Tag)
	}
	release.prerelease = false
	s.emit(release.Repo, user, "release", "edited", object{"release": release.shape(), "changes": object{}})
	release.emit(user, "released")
	return nil
}

func (release *Release) emit(sender *User, action string) {
	release.Repo.s.emit(release.Repo, sender, "release", action, object{"release": release.shape()})
}

func (release *Release) shape() object {
	r := release.Repo
	self := r.api("releases/%d", release.ID)
	return object{
		"id": release.ID, "node_id": nodeID("RE", release.ID), "url": self, "assets_url": self + "/assets", "upload_url": self + "/assets{?name,label}",
		"html_url": r.html("releases/tag/%s", escapePath(release.Tag)), "tag_name": release.Tag, "target_commitish": release.target, "name": orNil(release.name), "body": orNil(release.body),
		"draft": release.draft, "prerelease": release.prerelease, "immutable": false, "author": r.s.userShape(release.Author), "assets": []object{},
		"created_at": stamp(release.created), "updated_at": stamp(release.created), "published_at": stampOrNil(release.published),
		"tarball_url": r.api("tarball/%s", escapePath(release.Tag)), "zipball_url": r.api("zipball/%s", escapePath(release.Tag)),
	}
}

// listReleases lists releases newest first. Drafts are shown to who may write only.
func listReleases(c *call) answer {
	list := slices.DeleteFunc(slices.Clone(c.repo.releases), func(release *Release) bool { return release.draft && !c.caller.token.allows("contents", "write") })
	slices.Reverse(list)
	return page(c, list, func(some []*Release) any { return shapes(some, (*Release).shape) })
}

func getReleaseByTag(c *call) answer {
	for _, release := range c.repo.releases {
		if !release.draft && release.Tag == c.params["tag"] {
			return ok(release.shape())
		}
	}
	return notFound()
}

// getLatestRelease is the newest that is neither a draft nor a prerelease.
func getLatestRelease(c *call) answer {
	for _, release := range slices.Backward(c.repo.releases) {
		if !release.draft && !release.prerelease {
			return ok(release.shape())
		}
	}
	return notFound()
}
