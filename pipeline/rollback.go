package pipeline

import (
	"fmt"
	"slices"

	"github.com/slipway-ci/slipway/jobs"
)

// A target is a release where it runs.
type target struct{ environment, namespace, release string }

// askBack makes of the deploy jobs that a rollback is about what takes their releases back. A release that two jobs roll
// out to one place is taken back once, by the first of them.
func (p *planning) askBack(a *asked) (refusal string) {
	want := *p.in.Ask.Rollback
	a.back, a.covered = map[string]*jobs.DeploySpec{}, map[string]bool{}
	first := map[target]string{}
	for _, j := range p.file.jobs {
		if !a.jobs[j.name] {
			continue
		}
		d := p.peek(j)
		narrow(d, *a.target)
		if name := unknownPart(d); name != "" {
			return fmt.Sprintf("The %s of job %s depends on other jobs, so it can't be taken back from here.", name, j.name)
		}
		back := &jobs.DeploySpec{Rollback: &jobs.RollbackSpec{Revision: want.Revision}}
		covered := 0
		for _, environment := range d.Environments {
			for _, h := range d.Helm {
				at := target{environment, h.Namespace, h.Release}
				if first[at] != "" {
					covered++
					continue
				}
				first[at] = j.name
				if !slices.Contains(back.Environments, environment) {
					back.Environments = append(back.Environments, environment)
				}
				if !slices.ContainsFunc(back.Helm, func(o jobs.HelmSpec) bool { return o.Release == h.Release && o.Namespace == h.Namespace }) {
					back.Helm = append(back.Helm, jobs.HelmSpec{Release: h.Release, Namespace: h.Namespace})
				}
			}
		}
		switch left := len(d.Environments)*len(d.Helm) - covered; {
		case left == 0:
			delete(a.jobs, j.name)
			a.covered[j.name] = true
			continue
		case left != len(back.Environments)*len(back.Helm):
			return fmt.Sprintf("Job %s rolls out releases of which others roll out some, too: name one environment, `/rollback <environment>`.", j.name)
		}
		a.back[j.name] = back
	}
	if want.Revision > 0 && len(first) > 1 {
		return fmt.Sprintf("Each release counts its own revisions, and this would take back %d: name one, `/rollback <environment> <release> revision=%d`.",
			len(first), want.Revision)
	}
	return ""
}

// unknownPart names what of a rollout's places is not known before other jobs have ended, or "".
func unknownPart(d *jobs.DeploySpec) string {
	for _, environment := range d.Environments {
		if !resolved(environment) {
			return "environment"
		}
	}
	for _, h := range d.Helm {
		switch {
		case !resolved(h.Release), h.Release == "":
			return "release"
		case !resolved(h.Namespace), h.Namespace == "":
			return "namespace"
		}
	}
	return ""
}

// takeBack writes down a job that takes rollouts back: it waits for nothing, and nothing of its chart is looked at.
func (p *planning) takeBack(j *job, out *jobs.PlannedJob) {
	settings := spec{deploy: p.asked.back[j.name]}
	n := j.node.get(string(j.kind))
	bad := func(at place, format string, args ...any) { p.fault(j, n.at(at), format, args...) }
	checkDeploy(settings.deploy, bad)
	settings.checkGrant(p.in.Run, p.in.Grant, bad)
	if p.file.report.first(j.name) == nil {
		p.record(j, out, settings, false)
	}
}
