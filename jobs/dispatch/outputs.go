package dispatch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/slipway-ci/slipway/jobs"
)

// OutputsArtifact is the name of the artifact in which a workflow leaves values for later jobs: one file with a JSON object of texts,
// numbers, true and false.
const OutputsArtifact = "slipway-outputs"

// The outputs that every dispatch has. No workflow can set them.
const (
	OutputRunID      = "run_id"
	OutputRunURL     = "run_url"
	OutputConclusion = "conclusion"
	OutputArtifacts  = "artifacts" // names, separated by commas
)

// Bounds of the values that a workflow leaves.
const (
	maxOutputs     = 50
	maxOutputsFile = 64 << 10 // bytes
	maxFaults      = 5        // that are told
)

var outputForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]{0,99}$`)

// parseOutputs reads the values that a workflow left. What can't be taken is told in sentences, and does not spoil the rest.
func parseOutputs(data []byte) (values map[string]any, faults []string) {
	fault := func(format string, args ...any) (map[string]any, []string) {
		return nil, []string{fmt.Sprintf(format, args...)}
	}
	if len(data) > maxOutputsFile {
		return fault("the file in %s has more than %d KB", OutputsArtifact, maxOutputsFile>>10)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var object map[string]any
	err := d.Decode(&object)
	if err == nil && object == nil {
		return fault("the file in %s is not a JSON object", OutputsArtifact)
	}
	if err == nil {
		if _, end := d.Token(); !errors.Is(end, io.EOF) {
			return fault("the file in %s has something behind its JSON object", OutputsArtifact)
		}
	}
	if err != nil {
		return fault("the file in %s is not a JSON object: %s", OutputsArtifact, jobs.Cut(err.Error(), 200))
	}
	values = map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(object)) {
		value, problem := output(name, object[name])
		switch {
		case problem != "":
			faults = append(faults, fmt.Sprintf("the output %q %s", jobs.Cut(name, 100), problem))
		case len(values) == maxOutputs:
			faults = append(faults, fmt.Sprintf("the output %q is one more than %d", name, maxOutputs))
		default:
			values[name] = value
		}
	}
	return values, faults
}

// output is one value as later jobs read it.
func output(name string, value any) (any, string) {
	switch name {
	case OutputRunID, OutputRunURL, OutputConclusion, OutputArtifacts:
		return nil, "is Slipway's own"
	}
	if !outputForm.MatchString(name) {
		return nil, "has a name that is not made of letters, digits, - and _"
	}
	switch v := value.(type) {
	case string, bool:
		return v, ""
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n, ""
		}
		if f, err := v.Float64(); err == nil {
			return f, ""
		}
		return nil, "is a number out of bounds"
	}
	return nil, "is not a text, a number, true or false"
}

// together adds the values of a workflow to our own, as far as there is room for them.
func together(own, theirs map[string]any) (all map[string]any, faults []string) {
	all = maps.Clone(own)
	for _, name := range slices.Sorted(maps.Keys(theirs)) {
		all[name] = theirs[name]
		if data, err := json.Marshal(all); err != nil || len(data) > jobs.MaxOutputs {
			delete(all, name)
			faults = append(faults, fmt.Sprintf("the output %q has no room: all together may have %d bytes", name, jobs.MaxOutputs))
		}
	}
	return all, faults
}

// untaken says which outputs were left out.
func untaken(faults []string) string {
	if len(faults) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("\nNot taken as outputs:\n\n")
	for _, f := range faults[:min(len(faults), maxFaults)] {
		fmt.Fprintf(&b, "- %s\n", text(f))
	}
	if more := len(faults) - maxFaults; more > 0 {
		fmt.Fprintf(&b, "- and %d more\n", more)
	}
	return b.String()
}
