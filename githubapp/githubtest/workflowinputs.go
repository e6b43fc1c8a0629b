package githubtest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxInputText is GitHub's bound for all inputs of a dispatch together, from its page "Events that trigger workflows".
const maxInputText = 65_535

// fillInputs checks what a dispatch gives against what the workflow asks for, and fills in defaults. GitHub documents the
// rules but not the messages; those on unexpected, missing and unlisted values are what it says, the others are like them.
func (f *workflowFile) fillInputs(given map[string]any) (map[string]string, *answer) {
	refused := func(format string, values ...any) (map[string]string, *answer) {
		a := refuse(http.StatusUnprocessableEntity, fmt.Sprintf(format, values...))
		return nil, &a
	}
	var unexpected []string
	texts, length := map[string]string{}, 0
	for _, name := range slices.Sorted(maps.Keys(given)) {
		text, isText := given[name].(string)
		switch {
		case !slices.ContainsFunc(f.inputs, func(in workflowInput) bool { return in.name == name }):
			unexpected = append(unexpected, name)
		case !isText:
			return refused("Invalid request.\n\nFor 'properties/inputs/%s', %v is not a string.", name, given[name])
		}
		texts[name] = text
		length += utf8.RuneCountInString(name) + utf8.RuneCountInString(text)
	}
	if unexpected != nil {
		list, err := json.Marshal(unexpected)
		if err != nil {
			return refused("Unexpected inputs provided")
		}
		return refused("Unexpected inputs provided: %s", list)
	}
	if length > maxInputText {
		return refused("inputs are too large.")
	}
	filled := map[string]string{}
	for _, in := range f.inputs {
		value, was := texts[in.name]
		if !was {
			value = in.standard
		}
		filled[in.name] = value
		if value == "" {
			if in.required {
				return refused("Required input '%s' not provided", in.name)
			}
			if in.kind == "boolean" && !was {
				filled[in.name] = "false"
			}
			continue
		}
		switch in.kind {
		case "choice":
			if !slices.Contains(in.options, value) {
				return refused("Provided value '%s' for input '%s' not in the list of allowed values", value, in.name)
			}
		case "boolean":
			if value != "true" && value != "false" {
				return refused("Provided value '%s' for input '%s' is not a boolean", value, in.name)
			}
		case "number":
			if _, err := strconv.ParseFloat(value, 64); err != nil {
				return refused("Provided value '%s' for input '%s' is not a number", value, in.name)
			}
		}
	}
	return filled, nil
}

var expression = regexp.MustCompile(`\$\{\{\s*([^{}]*?)\s*\}\}`)

// evaluate replaces the expressions that name one known value. Everything else of the expression language stays as it is.
func evaluate(text string, known map[string]string) string {
	return expression.ReplaceAllStringFunc(text, func(found string) string {
		if value, ok := known[expression.FindStringSubmatch(found)[1]]; ok {
			return value
		}
		return found
	})
}

// known are the values that expressions of a run may name.
func (w *WorkflowRun) known() map[string]string {
	_, short, _ := strings.Cut(strings.TrimPrefix(w.ref, "refs/"), "/")
	values := map[string]string{
		"github.actor": w.Actor.Login, "github.triggering_actor": w.latest().actor.Login, "github.event_name": w.Event, "github.ref": w.ref, "github.ref_name": short,
		"github.repository": w.Repo.FullName(), "github.repository_owner": w.Repo.Owner.Login, "github.run_attempt": strconv.Itoa(w.latest().number),
		"github.run_id": strconv.FormatInt(w.ID, 10), "github.run_number": strconv.Itoa(w.Number), "github.sha": w.HeadSHA, "github.workflow": w.workflowName(),
		"github.server_url": strings.TrimSuffix(w.Repo.s.URL, "/"),
	}
	for name, value := range w.inputs {
		values["inputs."+name], values["github.event.inputs."+name] = value, value
	}
	return values
}

// conditionHolds decides the plain conditions of jobs and steps; what is written otherwise counts as success(), which is
// spoilt by whatever failed, was skipped or was cancelled before.
func conditionHolds(condition string, failed, skipped, cancelled bool) bool {
	condition = strings.TrimSpace(strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(condition), "${{"), "}}"))
	switch condition {
	case "always()":
		return true
	case "failure()":
		return failed && !cancelled
	case "cancelled()":
		return cancelled
	case "!cancelled()":
		return !cancelled
	}
	return !failed && !skipped && !cancelled
}
