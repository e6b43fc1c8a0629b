package pipeline

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"path"
	"strings"

	"github.com/slipway-ci/slipway/jobs"
)

// maxSpec bounds a job's Spec or Template, in bytes. [jobs.MaxSettings] bounds those of all jobs, with needs and ifs.
const maxSpec = 16 << 10

// A spec is a job's settings, of whichever kind.
type spec struct {
	build    *jobs.BuildSpec
	deploy   *jobs.DeploySpec
	dispatch *jobs.DispatchSpec
	await    *jobs.AwaitSpec
}

// decodeSpec fills a spec from JSON, strictly.
func decodeSpec(kind jobs.KindName, data []byte) (spec, error) {
	var s spec
	var target any
	switch kind {
	case jobs.KindBuild:
		s.build = new(jobs.BuildSpec)
		target = s.build
	case jobs.KindDeploy:
		s.deploy = new(jobs.DeploySpec)
		target = s.deploy
	case jobs.KindDispatch:
		s.dispatch = new(jobs.DispatchSpec)
		target = s.dispatch
	case jobs.KindAwait:
		s.await = new(jobs.AwaitSpec)
		target = s.await
	default:
		return s, fmt.Errorf("there is no kind %q", kind)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	d.UseNumber() // numbers below set and inputs stay as they are written
	if err := d.Decode(target); err != nil {
		return s, fmt.Errorf("read %s settings: %w", kind, err)
	}
	return s, nil
}

func (s spec) marshal() ([]byte, error) {
	switch {
	case s.build != nil:
		return json.Marshal(s.build)
	case s.dispatch != nil:
		return json.Marshal(s.dispatch)
	case s.await != nil:
		return json.Marshal(s.await)
	}
	return json.Marshal(s.deploy)
}

// keepsTypes reports whether values below a key of a kind's settings keep the type that an expression gives them.
func keepsTypes(kind jobs.KindName, key string) bool {
	return kind == jobs.KindDeploy && key == "set" || kind == jobs.KindDispatch && key == "inputs"
}

// A place is a path to a setting within a spec: keys and list indexes.
type place []any

// defaults are the values of settings that a file leaves out, as far as they depend on the run.
type defaults struct {
	image string       // defaults.image
	run   jobs.RunInfo // its repository's name is the default namespace
}

// complete fills in what the file leaves out, as far as it is known.
func (s spec) complete(with defaults) {
	switch {
	case s.build != nil:
		completeBuild(s.build, with)
	case s.dispatch != nil:
		completeDispatch(s.dispatch, with.run)
	case s.await != nil:
		s.await.Timeout = cmp.Or(s.await.Timeout, defaultWait)
	default:
		completeDeploy(s.deploy, with)
	}
}

func completeBuild(b *jobs.BuildSpec, with defaults) {
	if b.Image == "" {
		b.Image = with.image
	}
	if b.Context == "" {
		b.Context = "."
	}
	if b.Dockerfile == "" && resolved(b.Context) {
		b.Dockerfile = path.Join(b.Context, "Dockerfile")
	}
}

func completeDeploy(d *jobs.DeploySpec, with defaults) {
	for i := range d.Helm {
		h := &d.Helm[i]
		if h.Release == "" && resolved(h.Chart) {
			if name := path.Base(path.Clean(h.Chart)); name != "." && name != "/" {
				h.Release = name
			}
		}
		if h.Namespace == "" {
			h.Namespace = strings.ToLower(with.run.Repository.Name)
		}
		if h.Timeout == "" {
			h.Timeout = "5m"
		}
	}
}

// check calls bad for every setting that a registry, a builder, a cluster or GitHub would refuse. Settings that are not
// known yet are passed over.
func (s spec) check(bad func(at place, format string, args ...any)) {
	switch {
	case s.build != nil:
		checkBuild(s.build, bad)
	case s.dispatch != nil:
		checkDispatch(s.dispatch, bad)
	case s.await != nil:
		checkAwait(s.await, bad)
	default:
		checkDeploy(s.deploy, bad)
	}
}

func checkBuild(b *jobs.BuildSpec, bad func(at place, format string, args ...any)) {
	if b.Image != "" && resolved(b.Image) {
		if _, _, err := SplitImage(b.Image); err != nil {
			bad(place{"image"}, "build.image %s %v", shorten(b.Image), err)
		}
	}
	for _, p := range []struct{ key, value string }{{"context", b.Context}, {"dockerfile", b.Dockerfile}} {
		if p.value == "" || !resolved(p.value) {
			continue
		}
		if message := checkPath(p.value); message != "" {
			bad(place{p.key}, "build.%s %s %s", p.key, shorten(p.value), message)
		}
	}
	if resolved(b.Target) && strings.ContainsAny(b.Target, " \t\r\n") {
		bad(place{"target"}, "build.target must be the name of one stage")
	}
	for _, name := range sortedKeys(b.Args) {
		if len(name) > 128 || !argForm.MatchString(name) {
			bad(place{"args", name}, "build.args: %q can't be a build argument: write letters, digits and _", shorten(name))
		}
	}
	for i, p := range b.Platforms {
		if resolved(p) && !platform.MatchString(p) {
			bad(place{"platforms", i}, "build.platforms: %q is not of the form linux/amd64 or linux/arm/v7", shorten(p))
		}
	}
	for i, tag := range b.Tags {
		if message := jobs.CheckExtraTag(tag); resolved(tag) && message != "" {
			bad(place{"tags", i}, "build.tags: %s", message)
		}
	}
}

func checkDeploy(d *jobs.DeploySpec, bad func(at place, format string, args ...any)) {
	for i, name := range d.Environments {
		if resolved(name) && !envForm.MatchString(name) {
			bad(place{"environments", i}, "deploy.environments: %q can't be an environment's name", shorten(name))
		}
		for _, before := range d.Environments[:i] {
			if resolved(name) && before == name {
				bad(place{"environments", i}, "deploy.environments names %s twice", shorten(name))
			}
		}
	}
	seen := map[string]bool{}
	for i := range d.Helm {
		h := &d.Helm[i]
		checkHelm(h, i, d.Rollback != nil, bad)
		key := h.Namespace + "/" + h.Release
		if resolved(key) && h.Namespace != "" && h.Release != "" {
			if seen[key] {
				bad(place{"helm", i}, "deploy.helm: release %s in namespace %s is here twice", shorten(h.Release), shorten(h.Namespace))
			}
			seen[key] = true
		}
	}
}

// checkHelm checks one release; one that is taken back has no chart.
func checkHelm(h *jobs.HelmSpec, i int, back bool, bad func(at place, format string, args ...any)) {
	at := func(key ...any) place { return append(place{"helm", i}, key...) }
	if resolved(h.Chart) && !back {
		if message := checkPath(h.Chart); message != "" {
			bad(at("chart"), "deploy.helm.chart %s %s", shorten(h.Chart), message)
		}
	}
	for k, file := range h.ValuesFile {
		if message := checkPath(file); resolved(file) && message != "" {
			bad(at("values_files", k), "deploy.helm.values_files: %s %s", shorten(file), message)
		}
	}
	if h.Release != "" && resolved(h.Release) {
		// Helm takes at most 53 characters (helm.sh/helm pkg/chart/common/util, ValidateReleaseName).
		if message := checkLabel(h.Release, 53); message != "" {
			bad(at("release"), "deploy.helm.release %s %s (the default is the chart folder's name)", shorten(h.Release), message)
		}
	}
	if h.Namespace != "" && resolved(h.Namespace) {
		if message := checkLabel(h.Namespace, 63); message != "" {
			bad(at("namespace"), "deploy.helm.namespace %s %s (the default is the repository's name)", shorten(h.Namespace), message)
		}
	}
	if h.Timeout != "" && resolved(h.Timeout) {
		if message := checkTimeout(h.Timeout, minTimeout, maxTimeout); message != "" {
			bad(at("timeout"), "deploy.helm.timeout %s %s", shorten(h.Timeout), message)
		}
	}
}

// at finds the node of a place below a job's spec, or the nearest one above it that is there.
func (n *node) at(p place) *node {
	for _, step := range p {
		var next *node
		switch step := step.(type) {
		case string:
			next = n.get(step)
		case int:
			if n.kind == listNode && step < len(n.items) {
				next = n.items[step]
			}
		}
		if next == nil {
			return n
		}
		n = next
	}
	return n
}

// checkWritten checks what a job's settings say without evaluating anything.
func (f *file) checkWritten(j *job) {
	n := j.node.get(string(j.kind))
	s, err := j.spec(n, func(*node, *textExpr) (any, error) { return unresolved, nil })
	if err != nil {
		f.report.meaning(n, "%v", err)
		return
	}
	s.check(func(at place, format string, args ...any) { f.report.meaning(n.at(at), format, args...) })
}

// spec makes a job's settings, with the value that each text with expressions is given.
func (j *job) spec(n *node, value func(*node, *textExpr) (any, error)) (spec, error) {
	tree, err := j.fill(n, value)
	if err != nil {
		return spec{}, err
	}
	data, err := json.Marshal(tree)
	if err != nil {
		return spec{}, fmt.Errorf("write settings: %w", err)
	}
	return decodeSpec(j.kind, data)
}

func (j *job) fill(n *node, value func(*node, *textExpr) (any, error)) (any, error) {
	if t := j.texts[n]; t != nil {
		return value(n, t)
	}
	switch n.kind {
	case listNode:
		list := make([]any, len(n.items))
		for i, item := range n.items {
			v, err := j.fill(item, value)
			if err != nil {
				return nil, err
			}
			list[i] = v
		}
		return list, nil
	case mapNode:
		m := make(map[string]any, len(n.entries))
		for _, e := range n.entries {
			v, err := j.fill(e.val, value)
			if err != nil {
				return nil, err
			}
			m[e.key.text] = v
		}
		return m, nil
	}
	return n.value, nil
}
