package pipeline

import (
	"fmt"
	"slices"
	"strings"

	"github.com/slipway-ci/slipway/jobs"
)

// asked is what a person's command means in a file: triggers and paths are not looked at.
type asked struct {
	command string // as reasons name it: /build
	jobs    map[string]bool
	covered map[string]bool    // by other jobs that take the same releases back
	target  *jobs.DeployTarget // of a deploy or a rollback, as the file writes its names
	back    map[string]*jobs.DeploySpec
}

// asks reads what a person asked for. A refusal is a sentence for them.
func (p *planning) asks() (a *asked, refusal string) {
	ask := p.in.Ask
	a = &asked{jobs: map[string]bool{}}
	rollout := ask.Deploy != nil || ask.Rollback != nil
	switch {
	case rollout && p.in.Trust.Level == jobs.Approved:
		return a, "A pull request from outside is built once it is approved, never rolled out."
	case ask.Build:
		a.command = "/build"
		return a, p.askBuild(a, ask.Jobs)
	case ask.Deploy != nil && p.in.Stale != "":
		return a, fmt.Sprintf("This commit is behind: %s. Time goes forward; use %s to go back.", p.in.Stale, quote("/rollback "+ask.Deploy.Environment))
	case ask.Deploy != nil:
		a.command = "/deploy"
		return a, p.askDeploy(a, *ask.Deploy)
	case ask.Rollback != nil:
		a.command = "/rollback"
		if refusal := p.askDeploy(a, *ask.Rollback); refusal != "" {
			return a, refusal
		}
		return a, p.askBack(a)
	}
	a.command = "/" + ask.Command
	for _, j := range p.file.jobs {
		if c := j.command(); c != nil && c.Name == ask.Command {
			a.jobs[j.name] = true
		}
	}
	if len(a.jobs) == 0 {
		var names []string
		for _, c := range p.file.commands() {
			names = append(names, "/"+c.Name)
		}
		return a, fmt.Sprintf("No job of the pipeline has the command %s; %s.", quote(ask.Command), thereAre(names))
	}
	return a, ""
}

// askBuild finds the build jobs of the names; without any, those that pull requests and pushes of branches start.
func (p *planning) askBuild(a *asked, names []string) (refusal string) {
	var builds []string
	for _, j := range p.file.jobs {
		if j.kind == jobs.KindBuild && !j.byCommand() {
			builds = append(builds, j.name)
			if len(names) == 0 && j.trigger != nil && j.trigger.everyday() {
				a.jobs[j.name] = true
			}
		}
	}
	for _, word := range names {
		name, ok := pick(word, builds)
		if !ok {
			return fmt.Sprintf("There is no build job %s; %s.", quote(word), thereAre(builds))
		}
		a.jobs[name] = true
	}
	if len(a.jobs) == 0 {
		return fmt.Sprintf("No build job is for pull requests or pushes; name the ones you mean: %s.", thereAre(builds))
	}
	return ""
}

// byCommand reports whether nothing but a command of the pipeline's starts a job. Who may give that is the operator's to say, so no other
// command starts it.
func (j *job) byCommand() bool {
	t := j.trigger
	return t != nil && t.command != nil && !t.byDefault && t.push == nil && t.pull == nil && t.queue == nil && t.release == nil && len(t.tag) == 0 && len(t.label) == 0 &&
		len(t.schedules) == 0
}

// everyday reports whether pull requests or pushes of branches start a job.
func (t *trigger) everyday() bool {
	return t.pull != nil || t.push != nil && (len(t.push.branches) > 0 || len(t.push.tags) == 0)
}

// askDeploy finds the deploy jobs that name an environment, "" for any, and a release, "" for any.
func (p *planning) askDeploy(a *asked, target jobs.DeployTarget) (refusal string) {
	settings := map[string]*jobs.DeploySpec{}
	var environments, releases []string
	for _, j := range p.file.jobs {
		if d := p.peek(j); d != nil && (p.in.Ask.Rollback != nil || !j.byCommand()) {
			settings[j.name] = d
			environments = union(environments, d.Environments)
		}
	}
	if len(settings) == 0 {
		return "Nothing here is rolled out: no job of the pipeline has a deploy." + p.faultyRollout()
	}
	if target.Environment != "" {
		name, ok := pick(target.Environment, environments)
		if !ok {
			return fmt.Sprintf("No job rolls out to %s; %s.%s", quote(target.Environment), thereAre(environments), p.faultyRollout())
		}
		target.Environment = name
	}
	for name, d := range settings {
		if target.Environment != "" && !slices.Contains(d.Environments, target.Environment) {
			delete(settings, name)
			continue
		}
		for _, h := range d.Helm {
			releases = union(releases, []string{h.Release})
		}
	}
	slices.Sort(releases)
	if target.Release != "" {
		name, ok := pick(target.Release, releases)
		if !ok {
			return fmt.Sprintf("No job rolls out a release %s to %s; %s.", quote(target.Release), target.Environment, thereAre(releases))
		}
		target.Release = name
	}
	for name, d := range settings {
		if narrow(d, target); len(d.Helm) > 0 {
			a.jobs[name] = true
		}
	}
	a.target = &target
	return ""
}

// peek is what a deploy job's settings say before other jobs have ended; nil for other jobs and faulty ones.
func (p *planning) peek(j *job) *jobs.DeploySpec {
	if j.kind != jobs.KindDeploy {
		return nil
	}
	return p.glance(j).deploy
}

// glance is what a job's settings say before other jobs have ended; empty for faulty ones.
func (p *planning) glance(j *job) spec {
	if p.file.report.first(j.name) != nil {
		return spec{}
	}
	s, err := p.file.scope(j)
	if err != nil {
		return spec{}
	}
	settings, err := j.spec(j.node.get(string(j.kind)), func(_ *node, t *textExpr) (any, error) {
		if !t.needs {
			if v, err := s.evaluateText(t, p.vars); err == nil {
				return v, nil
			}
		}
		return unresolved, nil // told when the job is planned
	})
	if err != nil {
		return spec{}
	}
	settings.complete(defaults{run: p.in.Run})
	return settings
}

// faultyRollout tells of a deploy job that could not be looked at, or "".
func (p *planning) faultyRollout() string {
	for _, j := range p.file.jobs {
		if f := p.file.report.first(j.name); f != nil && j.kind == jobs.KindDeploy {
			return fmt.Sprintf(" (Job %s has a fault, line %d: %s.)", j.name, f.Line, f.Message)
		}
	}
	return ""
}

// narrow leaves of a rollout what goes to one environment, and of it one release; "" leaves all.
func narrow(d *jobs.DeploySpec, target jobs.DeployTarget) {
	if target.Environment != "" {
		d.Environments = []string{target.Environment}
	}
	if target.Release != "" {
		d.Helm = slices.DeleteFunc(d.Helm, func(h jobs.HelmSpec) bool { return h.Release != target.Release })
	}
}

// matches is what the command says of a job.
func (a *asked) matches(j *job) (bool, string) {
	switch {
	case a.jobs[j.name]:
		return true, "asked for by " + a.command
	case a.covered[j.name]:
		return false, "other jobs take its releases back already"
	}
	return false, "not asked for by " + a.command
}

// rollsBack reports whether the command takes rollouts back.
func (a *asked) rollsBack() bool { return a != nil && a.back != nil }

// unmet says why nothing of what was asked for can run, or "" when something can.
func (p *planning) unmet() string {
	why := ""
	for _, j := range p.plan.Jobs {
		switch {
		case !p.asked.jobs[j.Name]:
		case j.Planned && j.Fault == "":
			return ""
		case why != "":
		case j.Planned:
			why = fmt.Sprintf("Job %s can't be started: %s.", j.Name, j.Fault)
		default:
			why = fmt.Sprintf("Job %s does not run: %s.", j.Name, j.Reason)
		}
	}
	return why
}

// pick finds the name that a word means: the same, or the only one that differs in case alone.
func pick(word string, names []string) (string, bool) {
	if slices.Contains(names, word) {
		return word, true
	}
	found := ""
	for _, name := range names {
		if strings.EqualFold(name, word) {
			if found != "" {
				return "", false
			}
			found = name
		}
	}
	return found, found != ""
}

// union adds the names that are known and new.
func union(list, more []string) []string {
	for _, name := range more {
		if resolved(name) && name != "" && !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	return list
}

// thereAre lists what there is, as the second half of a refusal.
func thereAre(names []string) string {
	if len(names) == 0 {
		return "there is none"
	}
	verb := "there are"
	if len(names) == 1 {
		verb = "there is"
	}
	return verb + " " + jobs.Cut(strings.Join(names, ", "), 300)
}

// quote shows a word of a person's in a comment's Markdown, shortened.
func quote(word string) string { return code(shorten(word)) }

// code shows a text as code in Markdown, on one line: nothing in it ends the code before its end.
func code(text string) string {
	return "`" + strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "`", "'") + "`"
}
