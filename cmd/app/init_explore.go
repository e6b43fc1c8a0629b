package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/slipway-ci/slipway/jobs"
)

// findings are what a working copy holds that a pipeline could be about. Paths are from its root, with slashes.
type findings struct {
	dockerfiles []dockerfile
	charts      []chart
	files       map[string]bool // all regular files that were seen
	seen        []string        // what is there and is not carried out, or not proposed: a sentence each
	hasPipeline bool
}

// A dockerfile is a Dockerfile of the working copy, with its build context.
type dockerfile struct {
	path    string
	context string // folder
	why     string // this context, when it is not the Dockerfile's own folder
}

// A chart is a Helm chart with its default values.
type chart struct {
	dir, name string
	values    map[string]any
}

const (
	maxExplored   = 50_000  // files and folders that are looked at
	maxDepth      = 12      // levels of folders
	maxExploredIn = 1 << 20 // bytes read of a file
	maxProposed   = 40      // Dockerfiles, and as many charts
	maxSeen       = 40      // sentences about what is not carried out
)

// skipped are folders that hold others' files, or a test's.
var skipped = map[string]bool{"node_modules": true, "vendor": true, "testdata": true, "third_party": true}

// explore walks a working copy. Symbolic links are not followed.
func explore(dir string) (*findings, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	f := &findings{files: map[string]bool{}}
	looked := 0
	err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if looked++; looked > maxExplored {
			f.note("There are more than %d files: the rest was not looked at.", maxExplored)
			return fs.SkipAll
		}
		switch {
		case err != nil && name == ".":
			return err
		case err != nil:
			f.note("%s can't be read, and was left out.", name)
			if d != nil && d.IsDir() {
				return fs.SkipDir
			}
		case d.IsDir():
			base := path.Base(name)
			hidden := strings.HasPrefix(base, ".") && name != "." && base != ".github" && base != ".tekton"
			if hidden || skipped[base] || strings.Count(name, "/") >= maxDepth {
				return fs.SkipDir
			}
		case d.Type().IsRegular():
			f.files[name] = true
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", dir, err)
	}
	f.hasPipeline = f.files[jobs.PipelinePath]
	for _, name := range slices.Sorted(maps.Keys(f.files)) {
		f.look(root, name)
	}
	return f, nil
}

func (f *findings) note(format string, args ...any) {
	switch len(f.seen) {
	case maxSeen:
		f.seen = append(f.seen, "There is more; it is not listed.")
	default:
		if len(f.seen) < maxSeen {
			f.seen = append(f.seen, fmt.Sprintf(format, args...))
		}
	}
}

// look finds out what one file is about.
func (f *findings) look(root *os.Root, name string) {
	base, dir := path.Base(name), path.Dir(name)
	switch {
	case isDockerfile(base):
		f.dockerfile(root, name)
	case base == "Chart.yaml":
		f.chart(root, name)
	case base == "kustomization.yaml", base == "kustomization.yml", base == "Kustomization":
		f.note("%s: a kustomize overlay or base. Rolling these out is for a later version.", name)
	case dir == ".github/workflows" && isYAML(base):
		f.workflow(root, name)
	case (dir == ".tekton" || strings.HasPrefix(dir, ".tekton/")) && isYAML(base):
		f.tekton(root, name)
	}
}

func isYAML(base string) bool {
	return strings.HasSuffix(base, ".yaml") || strings.HasSuffix(base, ".yml")
}

var notDockerfile = regexp.MustCompile(`(?i)\.(dockerignore|md|txt|tmpl|tpl|template|j2|in|orig|bak|erb)$`)

func isDockerfile(base string) bool {
	switch {
	case notDockerfile.MatchString(base):
		return false
	case base == "Dockerfile", base == "Containerfile", strings.HasPrefix(base, "Dockerfile."), strings.HasPrefix(base, "Containerfile."):
		return true
	}
	return strings.HasSuffix(strings.ToLower(base), ".dockerfile")
}

// readFile reads the beginning of a file.
func readFile(root *os.Root, name string) ([]byte, error) {
	file, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxExploredIn+1))
	if err == nil && len(data) > maxExploredIn {
		err = errors.New("it is larger than 1 MB")
	}
	return data, err
}

func (f *findings) dockerfile(root *os.Root, name string) {
	data, err := readFile(root, name)
	if err != nil {
		f.note("%s can't be read, and was left out: %v.", name, err)
		return
	}
	copied, isOne := sources(string(data))
	switch {
	case !isOne:
		f.note("%s has no FROM, so it was not taken for a Dockerfile.", name)
		return
	case len(f.dockerfiles) == maxProposed:
		f.note("%s: more than %d Dockerfiles; this one and those after it have no job.", name, maxProposed)
		return
	case len(f.dockerfiles) > maxProposed:
		return
	}
	d := dockerfile{path: name, context: path.Dir(name)}
	if d.context != "." {
		d.why = f.wider(d.context, copied)
		if d.why != "" {
			d.context = "."
		}
	}
	f.dockerfiles = append(f.dockerfiles, d)
}

// wider says why a Dockerfile needs the whole repository as its context and not only its own folder, or "".
func (f *findings) wider(dir string, copied []string) string {
	alone := true
	for name := range f.files {
		if strings.HasPrefix(name, dir+"/") && !isDockerfile(path.Base(name)) && !strings.HasSuffix(name, ".dockerignore") {
			alone = false
			break
		}
	}
	if alone {
		return "its folder holds nothing else"
	}
	for _, source := range copied {
		if !f.holds(dir, source) && f.holds(".", source) {
			return "it copies " + source + ", which lies in the repository's root"
		}
	}
	return ""
}

// holds tells whether a COPY's source is there, seen from a folder.
func (f *findings) holds(dir, source string) bool {
	source = path.Join(dir, path.Clean("/"+source))
	if source == "." || f.files[source] {
		return true
	}
	for name := range f.files {
		if strings.HasPrefix(name, source+"/") {
			return true
		}
		if ok, err := path.Match(source, name); err == nil && ok {
			return true
		}
	}
	return false
}

// sources lists what a Dockerfile copies from its context. isOne is false when it has no FROM.
func sources(text string) (list []string, isOne bool) {
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\\\n", " ")
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		switch strings.ToUpper(words[0]) {
		case "FROM":
			isOne = true
		case "COPY", "ADD":
			list = append(list, copySources(words[1:])...)
		}
	}
	return list, isOne
}

func copySources(words []string) []string {
	for len(words) > 0 && strings.HasPrefix(words[0], "--") {
		if strings.HasPrefix(words[0], "--from=") {
			return nil
		}
		words = words[1:]
	}
	if joined := strings.Join(words, " "); strings.HasPrefix(joined, "[") {
		words = nil
		_ = json.Unmarshal([]byte(joined), &words) // what is no list copies nothing
	}
	if len(words) < 2 {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(words[:len(words)-1]), func(w string) bool {
		return strings.ContainsAny(w, "$<") || strings.Contains(w, "://") || strings.HasPrefix(w, "git@")
	})
}

func (f *findings) chart(root *os.Root, name string) {
	dir := path.Dir(name)
	for above := path.Dir(dir); above != "." && dir != "."; above = path.Dir(above) {
		if f.files[path.Join(above, "Chart.yaml")] {
			return // a part of the chart above
		}
	}
	var meta struct {
		Name string `yaml:"name"`
		Type string `yaml:"type"`
	}
	if err := loadYAML(root, name, &meta); err != nil || meta.Name == "" {
		f.note("%s can't be read as a Helm chart's, and was left out.", name)
		return
	}
	if meta.Type == "library" {
		f.note("%s: a library chart, which is not rolled out by itself.", name)
		return
	}
	if len(f.charts) >= maxProposed {
		if len(f.charts) == maxProposed {
			f.note("%s: more than %d charts; this one and those after it have no job.", name, maxProposed)
		}
		return
	}
	c := chart{dir: dir, name: meta.Name}
	if file := path.Join(dir, "values.yaml"); f.files[file] {
		if err := loadYAML(root, file, &c.values); err != nil {
			f.note("%s can't be read: which image the chart takes is not known.", file)
		}
	}
	f.charts = append(f.charts, c)
}

func loadYAML(root *os.Root, name string, into any) error {
	data, err := readFile(root, name)
	if err != nil {
		return err
	}
	return yaml.Unmarshal(data, into)
}

// valuesFiles finds values of a chart for one environment.
func (f *findings) valuesFiles(c chart, environment string) []string {
	for _, name := range []string{
		path.Join(c.dir, "values-"+environment+".yaml"), path.Join(c.dir, "values."+environment+".yaml"), path.Join(c.dir, "values", environment+".yaml"),
		path.Join("values", environment+".yaml"), path.Join("environments", environment+".yaml"),
	} {
		if f.files[name] {
			return []string{name}
		}
	}
	return nil
}
