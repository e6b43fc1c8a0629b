package main

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// A setting is one key of `set` in a proposal, and the job whose output it takes.
type setting struct{ key, value, job string }

const maxValuesDepth = 4 // levels of a chart's values in which images are looked for

// understand finds the keys of a chart's values that take an image which one of the jobs builds. Only well-known forms
// count: image.digest, image.tag with image.repository, or image as one text. unclear says what was seen besides.
func understand(c chart, builds []buildJob) (set []setting, unclear []string) {
	if len(builds) == 0 {
		return nil, nil
	}
	found := false
	visit(c.values, nil, func(at []string, value any) {
		name := strings.Join(append(slices.Clone(at), "image"), ".")
		job, ok := whose(c, at, value, builds)
		if !ok {
			if len(at) == 0 {
				unclear = append(unclear, fmt.Sprintf("Its values have %s, but which job builds that is not clear: set it, and add the job to needs.", name))
			}
			return // deeper down, most are others' images
		}
		forms, problem := form(name, value, job)
		if problem != "" {
			unclear = append(unclear, problem)
			return
		}
		found = true
		set = append(set, forms...)
	})
	if !found && len(unclear) == 0 {
		unclear = append(unclear, "No key for an image of this repository was found in its values: what is built here does not reach it yet.")
	}
	return set, unclear
}

// visit calls each for every key called image, from the outside in; at are the keys above it.
func visit(values map[string]any, at []string, each func(at []string, value any)) {
	if len(at) >= maxValuesDepth {
		return
	}
	if image, ok := values["image"]; ok {
		each(at, image)
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if below, ok := values[name].(map[string]any); ok && name != "image" && !strings.ContainsAny(name, `."\[],= `) {
			visit(below, append(slices.Clone(at), name), each)
		}
	}
}

// whose finds the job that builds the image at a place: by the name of the place or of the image, or because there is
// one job only and the place is the chart's outermost.
func whose(c chart, at []string, value any, builds []buildJob) (buildJob, bool) {
	var hints []string
	if len(at) > 0 {
		hints = append(hints, jobName(at[len(at)-1]))
	} else {
		hints = append(hints, jobName(c.name), jobName(path.Base(c.dir)))
	}
	repository, _ := value.(string)
	if table, ok := value.(map[string]any); ok {
		repository, _ = table["repository"].(string)
	}
	if repository != "" {
		last := path.Base(repository)
		last, _, _ = strings.Cut(last, "@")
		last, _, _ = strings.Cut(last, ":")
		hints = append(hints, jobName(last))
	}
	for _, hint := range hints {
		for _, b := range builds {
			if b.name == hint {
				return b, true
			}
		}
	}
	if len(builds) == 1 && len(at) == 0 {
		return builds[0], true
	}
	return buildJob{}, false
}

// form turns an image key of a known form into settings; problem says why another can't be set.
func form(name string, value any, job buildJob) (set []setting, problem string) {
	output := func(field string) string {
		if strings.Contains(job.name, "-") {
			return fmt.Sprintf("${{ needs[%q].outputs.%s }}", job.name, field)
		}
		return fmt.Sprintf("${{ needs.%s.outputs.%s }}", job.name, field)
	}
	table, isTable := value.(map[string]any)
	if _, isText := value.(string); isText {
		return []setting{{name, output("ref"), job.name}}, ""
	}
	has := func(key string) bool { _, ok := table[key]; return isTable && ok }
	registry, _ := table["registry"].(string)
	switch {
	case !isTable:
		return nil, fmt.Sprintf("Its %s is neither a table nor a text: what to set there is not known.", name)
	case registry != "":
		return nil, fmt.Sprintf("Its %s has the registry apart from the repository: set them and the digest by hand.", name)
	case has("digest"):
		if has("repository") {
			set = append(set, setting{name + ".repository", output("image"), job.name})
		}
		return append(set, setting{name + ".digest", output("digest"), job.name}), ""
	case has("tag") && has("repository"):
		// repository:tag@digest is a whole reference, and the digest is what counts in it.
		return []setting{
			{name + ".repository", output("image"), job.name},
			{name + ".tag", "sha-${{ run.short_sha }}@" + output("digest"), job.name},
		}, ""
	}
	return nil, fmt.Sprintf("Its %s has neither a digest nor a repository and a tag: what to set there is not known.", name)
}
