package pipeline

import (
	"path"
	"strings"

	"github.com/slipway-ci/slipway/jobs"
)

// quarantine checks the place that builds of approved pull requests from outside are pushed to.
func (c *compiler) quarantine(r *Rules, p Policy) {
	text := p.Trust.Quarantine
	if text == "" {
		return
	}
	host, name, err := SplitImage(text)
	switch {
	case err != nil:
		c.fault("trust.quarantine", "%s %v", shorten(text), err)
		return
	case len(name) > 100:
		c.fault("trust.quarantine", "%s has more than 100 bytes after the registry", shorten(text))
	}
	if _, ok := p.Registries[host]; !ok {
		c.fault("trust.quarantine", "%s is not among registries", host)
	}
	r.quarantineHost, r.quarantineName = host, name
}

// quarantined is what an approved run of a repository may touch: images below its own name in the quarantine, and
// nothing else. A repository whose name fits no image gets nothing; its builds are not pushed. No character of an image's
// name means anything in a pattern.
func (r *Rules) quarantined(repo jobs.Repository) jobs.Grant {
	if r.quarantineHost == "" || !usable(repo) {
		return jobs.Grant{}
	}
	own := path.Join(r.quarantineName, repo.Owner, repo.Name)
	if !imageForm.MatchString(own) {
		return jobs.Grant{}
	}
	return jobs.Grant{Push: []jobs.PushGrant{{Registry: r.quarantineHost, Names: []string{own + "/**"}}}}
}

// quarantine moves the image of an approved run's build to where the run may push: the quarantine, the repository's own
// name, and the last part of the image's name. Doing it twice changes nothing. Without a quarantine the image keeps its
// name: it is not pushed.
func (s spec) quarantine(run jobs.RunInfo, grant jobs.Grant) {
	if s.build == nil || run.Trust.Level != jobs.Approved || !resolved(s.build.Image) || s.build.Image == "" {
		return
	}
	for _, p := range grant.Push {
		for _, name := range p.Names {
			if own, ok := strings.CutSuffix(name, "/**"); ok {
				s.build.Image = p.Registry + "/" + own + "/" + path.Base(s.build.Image)
				return
			}
		}
	}
}
