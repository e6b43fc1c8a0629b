package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// A proposal is what is known besides the files.
type proposal struct {
	image       string // where the images of several Dockerfiles go; "" for a placeholder
	environment string
	owner, name string // of the repository
}

// A buildJob is a job for a Dockerfile.
type buildJob struct {
	dockerfile
	name, image string // image is "" for the operator's default
}

// render writes the file.
func (p proposal) render(f *findings) (string, error) {
	if len(f.dockerfiles)+len(f.charts) == 0 {
		return "", errors.New("it holds no Dockerfile and no Helm chart, so there is nothing to propose")
	}
	var w strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&w, format+"\n", args...) }
	line("# Proposed by slipway init; look it over. What it does is described in docs/pipeline.md of Slipway.")
	line("# Check it: slipway validate. See what a push would start: slipway plan --as push --base HEAD")
	line("on:")
	line("  pull_request: {}")
	line("  push: {branches: [$default]}   # other branches start nothing by themselves")
	line("")
	line("jobs:")
	builds, placeholder := p.builds(f)
	if placeholder {
		line("  # There is more than one image, so each has a name of its own. registry.example.com is a placeholder: put your")
		line("  # registry there, and names that the operator lets this repository push.")
	}
	taken := map[string]bool{}
	for i, b := range builds {
		taken[b.name] = true
		if i > 0 || placeholder {
			line("")
		}
		b.render(line)
	}
	for i, c := range f.charts {
		name := "deploy"
		if len(f.charts) > 1 {
			name += "-" + jobName(c.name)
		}
		if i > 0 || len(builds) > 0 {
			line("")
		}
		p.deploy(line, f, c, unique(name, taken), builds)
	}
	if len(f.seen) > 0 {
		line("\n# Also seen:")
		for _, sentence := range f.seen {
			line("# - %s", oneLine(sentence))
		}
	}
	return w.String(), nil
}

// builds gives every Dockerfile its job. placeholder is true when the images' registry is made up.
func (p proposal) builds(f *findings) (list []buildJob, placeholder bool) {
	base, several := p.image, len(f.dockerfiles) > 1
	if base == "" {
		base = "registry.example.com/" + imagePart(p.owner) + "/" + imagePart(p.name)
		placeholder = several
	}
	taken := map[string]bool{}
	for _, d := range f.dockerfiles {
		b := buildJob{dockerfile: d}
		name := nameOf(d.path)
		if taken[name] { // two folders of one name: their paths differ
			name = jobName(strings.ReplaceAll(path.Dir(d.path), "/", "-"))
		}
		b.name = unique(name, taken)
		switch {
		case several && d.path == "Dockerfile":
			b.image = base
		case several || p.image != "":
			b.image = base
			if several {
				b.image += "/" + imagePart(b.name)
			}
		}
		list = append(list, b)
	}
	return list, placeholder
}

// general are folders whose name says nothing about what is built there.
var general = []string{"docker", "build", "container", "containers", "image", "images", "deploy", "deployment", "package", "."}

// nameOf names a Dockerfile's job: after its own suffix, else after its folder.
func nameOf(file string) string {
	base := path.Base(file)
	for _, prefix := range []string{"Dockerfile.", "Containerfile."} {
		if suffix, ok := strings.CutPrefix(base, prefix); ok {
			return jobName(suffix)
		}
	}
	if i := strings.LastIndex(strings.ToLower(base), ".dockerfile"); i > 0 {
		return jobName(base[:i])
	}
	for dir := path.Dir(file); dir != "."; dir = path.Dir(dir) {
		if !slices.Contains(general, strings.ToLower(path.Base(dir))) {
			return jobName(path.Base(dir))
		}
	}
	return "image"
}

var notInName = regexp.MustCompile(`[^a-z0-9_-]+`)

// jobName makes a job's name of any text.
func jobName(text string) string {
	name := strings.Trim(notInName.ReplaceAllString(strings.ToLower(text), "-"), "-")
	if len(name) > 40 {
		name = strings.Trim(name[:40], "-")
	}
	if name == "" || name[0] >= '0' && name[0] <= '9' {
		name = strings.TrimSuffix("image-"+name, "-")
	}
	return name
}

func unique(name string, taken map[string]bool) string {
	free := name
	for n := 2; taken[free]; n++ {
		free = fmt.Sprintf("%s-%d", name, n)
	}
	taken[free] = true
	return free
}

var notInImage = regexp.MustCompile(`[^a-z0-9]+`)

// imagePart makes a part of an image's name of any text.
func imagePart(text string) string {
	return cmp.Or(strings.Trim(notInImage.ReplaceAllString(strings.ToLower(text), "-"), "-"), "image")
}

func (b buildJob) render(line func(string, ...any)) {
	dir := path.Dir(b.path)
	why := fmt.Sprintf("From %s", b.path)
	if b.context != dir {
		why += ", with the whole repository as its context: " + b.why
	}
	line("  # %s.", oneLine(why))
	line("  %s:", scalar(b.name))
	if b.context != "." && !strings.ContainsAny(b.context, `*?+[]!$\`) { // a name that would be a pattern has no paths
		line("    paths: [%s]   # a change elsewhere does not build it on its own", scalar(b.context+"/**"))
	}
	var parts []string
	if b.image != "" {
		parts = append(parts, "image: "+scalar(b.image))
	}
	if b.context != "." {
		parts = append(parts, "context: "+scalar(b.context))
	}
	if b.path != path.Join(b.context, "Dockerfile") {
		parts = append(parts, "dockerfile: "+scalar(b.path))
	}
	note := ""
	if b.image == "" {
		note = "   # the image is the operator's default, the tags are policy"
	}
	line("    build: {%s}%s", strings.Join(parts, ", "), note)
}

// deploy writes a job for a chart.
func (p proposal) deploy(line func(string, ...any), f *findings, c chart, name string, builds []buildJob) {
	line("  # From the Helm chart %s, on pushes to the default branch.", oneLine(c.dir))
	set, unclear := understand(c, builds)
	for _, sentence := range unclear {
		line("  # %s", oneLine(sentence))
	}
	line("  %s:", scalar(name))
	line("    on: {push: {branches: [$default]}}")
	if needs := needed(set); len(needs) > 0 {
		line("    needs: [%s]", strings.Join(needs, ", "))
	}
	line("    deploy:")
	line("      environments: [%s]   # the operator's name for the place; the namespace is the repository's name", scalar(p.environment))
	line("      helm:")
	line("        - chart: %s", scalar(c.dir))
	if values := f.valuesFiles(c, p.environment); len(values) > 0 {
		line("          values_files: [%s]", scalar(values[0]))
	}
	if len(set) > 0 {
		line("          set:   # what was just built, by digest")
	}
	for _, s := range set {
		line("            %s: %s", scalar(s.key), scalar(s.value))
	}
}

func needed(set []setting) (names []string) {
	for _, s := range set {
		if name := scalar(s.job); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

var (
	plain    = regexp.MustCompile(`^[A-Za-z_/][A-Za-z0-9_./-]*$`)
	reserved = regexp.MustCompile(`(?i)^(true|false|yes|no|on|off|null|y|n|~|\.inf|\.nan|\.)$`)
)

// scalar writes a text as a YAML scalar that is read as just that.
func scalar(text string) string {
	if plain.MatchString(text) && !reserved.MatchString(text) {
		return text
	}
	if strings.Contains(text, `"`) && !strings.ContainsFunc(text, func(r rune) bool { return r == '\'' || unicode.IsControl(r) }) {
		return "'" + text + "'"
	}
	quoted, err := json.Marshal(text) // a YAML text in double quotes knows JSON's escapes
	if err != nil {
		return `""`
	}
	return string(quoted)
}

// oneLine keeps a text from ending its comment.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || r == '\ufeff' {
			return '?'
		}
		return r
	}, text)
}
