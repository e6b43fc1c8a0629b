package pipeline

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/slipway-ci/slipway/jobs"
)

// DefaultJob is the name of the default pipeline's one job.
const DefaultJob = "image"

// Plan decides which jobs an event starts, with the reason for every job considered. It is pure: the same input
// gives the same plan.
//
// An untrusted event is planned as if it were approved, so that it can be said what would run, but what is granted is not
// looked at: such a run is held, and planned again when it is approved.
func Plan(in jobs.PlanInput) jobs.Plan {
	if in.Ask != nil && in.Ask.Dispatch != nil {
		return planDispatch(in)
	}
	p := newPlanning(in)
	if p.endsEarly() {
		return p.plan // what holds back the jobs holds back their faults
	}
	p.file.checkExpressions()
	switch {
	case p.file.report.whole():
		p.hold("the pipeline file has faults")
	case !p.weigh():
		p.hold("what was asked for was refused")
	default:
		p.write()
	}
	p.plan.Faults = p.file.report.list()
	return p.plan
}

func newPlanning(in jobs.PlanInput) *planning {
	p := &planning{in: in, file: defaultPipeline(in)}
	p.plan.Pipeline = "the default pipeline"
	if in.HasFile {
		p.file = parse(in.File, in.Path)
		p.plan.Pipeline = in.Path
		if in.SHA != "" { // which a plan without GitHub may not know
			p.plan.Pipeline += " at " + short(in.SHA)
		}
	}
	return p
}

// NeedsChanges reports whether the plan of this input can depend on changed files, so that nobody asks GitHub for
// them in vain. It reads no expression and is cheap beside Plan.
func NeedsChanges(in jobs.PlanInput) bool {
	if !in.HasFile || in.Ask != nil {
		return false
	}
	f := parse(in.File, in.Path)
	return !f.report.whole() && slices.ContainsFunc(f.jobs, func(j *job) bool { return j.looksAtFiles(in.Event) })
}

// defaultPipeline is what a repository with a Dockerfile and without a pipeline file gets.
func defaultPipeline(in jobs.PlanInput) *file {
	f := newFile("")
	if in.HasDockerfile {
		spec := &node{kind: mapNode}
		key := &node{value: string(jobs.KindBuild), text: string(jobs.KindBuild)}
		f.kinds[DefaultJob] = jobs.KindBuild
		f.jobs = []*job{{
			name: DefaultJob, kind: jobs.KindBuild, trigger: f.readTrigger(nil, ""),
			node: &node{kind: mapNode, entries: []entry{{key, spec}}},
		}}
	}
	return f
}

// planning is one call of Plan.
type planning struct {
	in   jobs.PlanInput
	file *file
	plan jobs.Plan

	asked   *asked // nil when it is the event that starts jobs
	vars    map[string]any
	verdict map[string]*verdict
	bytes   int // of all specs so far
}

// A verdict is what was found out about a job.
type verdict struct {
	job     *job
	own     bool   // its own triggers fit, or it was asked for
	why     string // that is so or not
	stop    string // why it can't run even when it is needed; empty when it can
	weighed bool   // stop is settled
	wanted  string // job that pulled it in
	runs    bool
}

// endsEarly reports whether the plan ends before any trigger is looked at: skip ci, a deleted ref, or neither a pipeline file nor a
// Dockerfile.
func (p *planning) endsEarly() bool {
	in := p.in
	switch reason := p.skip(); {
	case reason != "":
		p.plan.SkipReason = reason
		p.hold("held back: " + reason)
	case in.Event.Kind == jobs.EventPush && in.Event.After == "":
		p.plan.Notes = append(p.plan.Notes, fmt.Sprintf("%s was deleted: there is no commit to run on", shorten(in.Event.Ref)))
		p.hold("the pushed ref was deleted")
	case !in.HasFile && !in.HasDockerfile:
		p.plan.Notes = append(p.plan.Notes, "there is neither a pipeline file nor a Dockerfile in the repository's root, so nothing is to be done")
	default:
		return false
	}
	return true
}

// hold lists every job as not planned, for one reason.
func (p *planning) hold(reason string) {
	for _, j := range p.file.jobs {
		p.plan.Jobs = append(p.plan.Jobs, jobs.PlannedJob{Name: j.name, Kind: j.kind, Needs: j.needs, Line: j.line, Reason: reason})
	}
}

// skipForm are the words in a head commit's message that hold back pushes and pull requests
// (docs.github.com, "Skipping workflow runs").
var (
	skipForm    = regexp.MustCompile(`(?i)\[(skip ci|ci skip|no ci|skip actions|actions skip)\]`)
	skipTrailer = regexp.MustCompile(`(?i)\n\n\n?([A-Za-z0-9-]+:[^\n]*\n)*skip-checks: *true\s*$`)
)

// skip returns why the whole event is held back, or "".
func (p *planning) skip() string {
	e := p.in.Event
	if p.in.Ask != nil || e.Tag() != "" || e.Kind != jobs.EventPush && e.Kind != jobs.EventPullRequest {
		return ""
	}
	message := strings.ReplaceAll(e.Message, "\r\n", "\n")
	if word := skipForm.FindString(message); word != "" {
		return fmt.Sprintf("the head commit's message says %s", word)
	}
	if skipTrailer.MatchString(message) {
		return "the head commit's message says skip-checks: true"
	}
	return ""
}

// weigh finds the jobs that run. It is false when what was asked for was refused.
func (p *planning) weigh() bool {
	p.vars = runVariables(p.in.Run)
	if p.in.Ask != nil {
		if p.asked, p.plan.Refusal = p.asks(); p.plan.Refusal != "" {
			return false
		}
	}
	p.verdict = make(map[string]*verdict, len(p.file.jobs))
	paths := false
	for _, j := range p.file.jobs {
		v := &verdict{job: j}
		if p.asked != nil {
			v.own, v.why = p.asked.matches(j)
		} else {
			v.own, v.why = j.match(p.in.Event, p.in.Changes)
			paths = paths || j.looksAtFiles(p.in.Event)
		}
		p.verdict[j.name] = v
	}
	if paths && !p.in.Changes.Known {
		note := "changed files could not be known, so all files count as changed"
		if p.in.Changes.Why != "" {
			note += ": " + p.in.Changes.Why
		}
		p.plan.Notes = append(p.plan.Notes, note)
	}
	for _, j := range p.file.jobs {
		if v := p.verdict[j.name]; v.own && p.stop(v) == "" {
			v.runs = true
			p.pull(v)
		}
	}
	return true
}

// write writes the verdicts down, and resolves the jobs that run.
func (p *planning) write() {
	for _, j := range p.file.jobs {
		p.plan.Jobs = append(p.plan.Jobs, p.planned(p.verdict[j.name]))
	}
	if p.asked != nil {
		p.plan.Refusal = p.unmet()
	}
}

// stop settles why a job can't run even when it is needed: nothing may be rolled out or dispatched here, its if is false, or that holds
// for one of its needs.
func (p *planning) stop(v *verdict) string {
	if v.weighed {
		return v.stop
	}
	v.weighed = true
	j := v.job
	switch {
	case p.asked.rollsBack():
		return "" // it needs nothing, and may go back in time
	case j.acts():
		if v.stop = p.stopActing(j); v.stop != "" {
			return v.stop
		}
	}
	if j.ifExpr != nil && !j.ifExpr.needs {
		s, err := p.file.scope(j)
		yes := true
		if err == nil {
			yes, err = s.evaluateIf(j.ifExpr, p.vars)
		}
		switch {
		case err != nil:
			p.fault(j, j.ifNode, "if: %v", err)
		case !yes:
			v.stop = fmt.Sprintf("its if is false: %s", shorten(j.ifExpr.text))
			return v.stop
		}
	}
	for _, name := range j.needs {
		if reason := p.stop(p.verdict[name]); reason != "" {
			v.stop = fmt.Sprintf("it needs %s, which does not run (%s)", name, jobs.Cut(reason, 200))
			return v.stop
		}
	}
	return ""
}

// acts reports whether a job changes more than images: it rolls out, or starts a workflow.
func (j *job) acts() bool { return j.kind == jobs.KindDeploy || j.kind == jobs.KindDispatch }

// Why nothing of a pull request from outside goes further than its builds.
const (
	neverRolledOut  = "a pull request from outside is built once it is approved, never rolled out"
	neverDispatched = "a pull request from outside never starts workflows"
)

// stopActing says why this event rolls nothing out and dispatches nothing by a job, or "".
func (p *planning) stopActing(j *job) string {
	rollout := j.kind == jobs.KindDeploy
	switch outside := p.in.Trust.Level == jobs.Approved || p.in.Trust.Level == jobs.Untrusted; {
	case outside && rollout:
		return neverRolledOut
	case outside:
		return neverDispatched
	case p.in.Event.Kind == jobs.EventMergeGroup && !j.queues():
		return j.notQueued()
	case p.in.Stale != "" && rollout:
		return "nothing is rolled out from a commit that is behind: " + p.in.Stale
	case p.in.Stale != "":
		return "no workflow is started from a commit that is behind: " + p.in.Stale
	}
	return ""
}

// pull takes in what a job needs.
func (p *planning) pull(v *verdict) {
	if p.asked.rollsBack() {
		return
	}
	for _, name := range v.job.needs {
		need := p.verdict[name]
		if need.wanted == "" {
			need.wanted = v.job.name
		}
		if !need.runs {
			need.runs = true
			p.pull(need)
		}
	}
}

// planned writes a verdict down, and resolves the job when it runs.
func (p *planning) planned(v *verdict) jobs.PlannedJob {
	j := v.job
	out := jobs.PlannedJob{Name: j.name, Kind: j.kind, Needs: j.needs, Line: j.line, Planned: v.runs}
	switch {
	case v.runs && v.own:
		out.Reason = v.why
	case v.runs:
		out.Reason = fmt.Sprintf("pulled in by %s, which needs it (by itself: %s)", v.wanted, v.why)
	case v.own:
		out.Reason = v.stop
	default:
		out.Reason = v.why
	}
	if !v.runs {
		return out
	}
	switch {
	case p.file.report.first(j.name) != nil:
	case p.asked.rollsBack():
		out.Needs = nil
		p.takeBack(j, &out)
	default:
		p.resolve(j, &out)
	}
	if f := p.file.report.first(j.name); f != nil {
		out.Spec, out.Template, out.If = nil, nil, ""
		out.Fault = f.Message
		if f.Line > 0 {
			out.Fault = fmt.Sprintf("line %d: %s", f.Line, f.Message)
		}
	}
	return out
}

// fault reports what is wrong with one job for this event.
func (p *planning) fault(j *job, at *node, format string, args ...any) {
	if at != nil && at.line == 0 {
		at = nil // of the default pipeline
	}
	p.file.report.job = j.name
	p.file.report.meaning(at, format, args...)
	p.file.report.job = ""
}

// resolve evaluates a planned job's settings as far as they do not depend on other jobs.
func (p *planning) resolve(j *job, out *jobs.PlannedJob) {
	s, err := p.file.scope(j)
	if err != nil {
		p.fault(j, j.node, "expressions can't be read: %v", err)
		return
	}
	n := j.node.get(string(j.kind))
	waits := j.ifExpr != nil && j.ifExpr.needs
	if waits {
		out.If = j.ifText
	}
	settings, err := j.spec(n, func(at *node, t *textExpr) (any, error) {
		if t.needs {
			waits = true
			return unresolved + at.text, nil
		}
		v, err := s.evaluateText(t, p.vars)
		if err != nil {
			p.fault(j, at, "%v", err)
			return unresolved, nil
		}
		return v, nil
	})
	if err != nil {
		p.fault(j, n, "%v", err)
		return
	}
	settings.complete(defaults{image: p.in.DefaultImage, run: p.in.Run})
	settings.quarantine(p.in.Run, p.in.Grant)
	if p.asked != nil && p.asked.target != nil && p.asked.jobs[j.name] {
		narrow(settings.deploy, *p.asked.target)
	}
	bad := func(at place, format string, args ...any) { p.fault(j, n.at(at), format, args...) }
	settings.check(bad)
	if level := p.in.Trust.Level; !p.in.NoGrants && (level == jobs.Trusted || level == jobs.Approved) {
		settings.checkGrant(p.in.Run, p.in.Grant, bad)
	}
	if settings.dispatch != nil && p.file.report.first(j.name) == nil {
		if file, found := workflowOf(p.in, *settings.dispatch); found {
			p.file.checkWorkflow(j, *settings.dispatch, file)
		}
	}
	if p.file.report.first(j.name) == nil {
		p.record(j, out, settings, waits)
	}
}

// record writes a job's settings down, as a template when it waits for other jobs.
func (p *planning) record(j *job, out *jobs.PlannedJob, settings spec, waits bool) {
	n := j.node.get(string(j.kind))
	data, err := settings.marshal()
	if err == nil && waits {
		data, err = makeTemplate(data)
	}
	p.bytes += len(data) + len(out.If)
	for _, name := range out.Needs {
		p.bytes += len(name)
	}
	switch {
	case err != nil:
		p.fault(j, n, "its settings can't be written down: %v", err)
	case len(data) > maxSpec:
		p.fault(j, n, "its settings have %d bytes once evaluated, more than %d", len(data), maxSpec)
	case p.bytes > jobs.MaxSettings:
		p.fault(j, n, "the settings, needs and ifs of all planned jobs up to this one have more than %d bytes once evaluated", jobs.MaxSettings)
	case waits:
		out.Template = json.RawMessage(data)
	default:
		out.Spec = json.RawMessage(data)
	}
}
