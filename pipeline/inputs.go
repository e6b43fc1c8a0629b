package pipeline

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/slipway-ci/slipway/jobs"
)

// A moment is when inputs are looked at.
type moment uint8

const (
	early   moment = iota // a value may wait for other jobs: it counts as given and is not looked at
	asking                // all values are there
	sending               // with the mark, which only Slipway gives
)

// An inputFault is what is wrong with one input of a dispatch, or with all of them when it names none.
type inputFault struct{ input, message string }

// numberInput is how a number is written to GitHub: without an exponent.
var numberInput = regexp.MustCompile(`^[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)$`)

// CheckDispatch holds the inputs that a job is about to send, Slipway's own mark included, against the workflow that is to be
// started, and gives them as GitHub takes them. What is left out is left to GitHub, which knows the defaults. The fault is a clause
// for people.
func CheckDispatch(file jobs.WorkflowFile, inputs map[string]any) (prepared map[string]string, fault string) {
	w, problem := openWorkflow(file)
	if problem != "" {
		return nil, problem
	}
	return firstFault(w.prepare(inputs, sending))
}

// CheckInputs holds the inputs that people or pipelines give against what a workflow asks for, and gives them as GitHub takes them:
// as text. The fault is a clause that names the first input that is wrong.
func CheckInputs(w Workflow, inputs map[string]any) (prepared map[string]string, fault string) {
	return firstFault(w.prepare(inputs, asking))
}

func firstFault(prepared map[string]string, faults []inputFault) (map[string]string, string) {
	if len(faults) > 0 {
		return nil, faults[0].message
	}
	return prepared, ""
}

// prepare gives inputs as GitHub takes them, and says everything that is wrong with them: what was given by name, then what is
// missing.
func (w Workflow) prepare(inputs map[string]any, at moment) (prepared map[string]string, faults []inputFault) {
	bad := func(input, format string, args ...any) {
		faults = append(faults, inputFault{input, jobs.Cut(fmt.Sprintf(format, args...), 400)})
	}
	prepared = make(map[string]string, len(inputs))
	marker, length := w.Marker(), 0
	for _, name := range sortedKeys(inputs) {
		i := slices.IndexFunc(w.Inputs, func(in WorkflowInput) bool { return in.Name == name })
		switch {
		case name != "" && name == marker && at != sending:
			bad(name, "the input %s is filled by Slipway: leave it out", marker)
			continue
		case i < 0:
			bad(name, "the workflow has no input %q%s", shorten(name), w.others(name))
			continue
		}
		if text, ok := inputs[name].(string); ok && at == early && strings.HasPrefix(text, unresolved) {
			continue
		}
		text, message := w.Inputs[i].text(inputs[name])
		if message != "" {
			bad(name, "the input %s %s", shorten(name), message)
			continue
		}
		prepared[name] = text
		length += utf8.RuneCountInString(name) + utf8.RuneCountInString(text)
	}
	for _, in := range w.Inputs {
		if _, given := inputs[in.Name]; in.Required && in.Default == "" && !given && in.Name != marker {
			bad("", "the workflow requires the input %s, which is missing", shorten(in.Name))
		}
	}
	if len(inputs) > maxInputs {
		bad("", "there are %d inputs: GitHub takes at most %d", len(inputs), maxInputs)
	}
	if length > maxInputText {
		bad("", "the inputs have %d characters together: GitHub takes at most %d", length, maxInputText)
	}
	return prepared, faults
}

// others says which input may be meant in place of one that there is not.
func (w Workflow) others(name string) string {
	var names []string
	marker := w.Marker()
	for _, in := range w.Inputs {
		if in.Name != marker {
			names = append(names, in.Name)
		}
	}
	if len(names) == 0 {
		return "; it has none"
	}
	if near := suggest(name, names); near != "" {
		return shorten(near)
	}
	return "; it has " + jobs.Cut(strings.Join(names, ", "), 200)
}

// text writes a value as GitHub takes it. The message continues the input's name.
func (in WorkflowInput) text(v any) (text, message string) {
	text, ok := inputText(v)
	switch _, truth := v.(bool); {
	case !ok:
		return "", "must be text, a number, true or false"
	case !plainText(text):
		return "", "must be UTF-8 text without NUL characters"
	case text == "" && in.Required:
		return "", "is required, and its value is empty"
	case in.Type == "boolean" && text != "true" && text != "false":
		return "", fmt.Sprintf("takes true or false, not %q", shorten(text))
	case in.Type == "number" && (truth || !numberInput.MatchString(text)):
		return "", fmt.Sprintf("takes a number such as 3 or 2.5, not %q", shorten(text))
	case in.Type == "choice" && !slices.Contains(in.Options, text):
		return "", fmt.Sprintf("takes one of %s, not %q", jobs.Cut(strings.Join(in.Options, ", "), 200), shorten(text))
	}
	return text, ""
}

// inputText writes a value into text; numbers never with an exponent.
func inputText(v any) (text string, ok bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case bool:
		return strconv.FormatBool(v), true
	case int:
		return strconv.Itoa(v), true
	case int64:
		return strconv.FormatInt(v, 10), true
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), true
	case json.Number:
		if numberInput.MatchString(v.String()) {
			return v.String(), true
		}
		f, err := v.Float64()
		return strconv.FormatFloat(f, 'f', -1, 64), err == nil
	}
	return "", false
}

// Bounds of a usage.
const (
	maxUsage      = 4000 // bytes
	maxAboutInput = 200  // bytes of an input's description
)

// Usage is how a workflow is started by a command, and what its inputs are: a line, and a Markdown list when there are inputs.
// Nothing in it that the file says is Markdown, or mentions anybody.
func (w Workflow) Usage(workflow string) string {
	line := "/dispatch " + workflow
	var list strings.Builder
	marker := w.Marker()
	for _, in := range w.Inputs {
		if in.Name == marker {
			continue
		}
		form := fmt.Sprintf("%s=<%s>", in.Name, in.Type)
		if !in.Required || in.Default != "" {
			form = "[" + form + "]"
		}
		line += " " + form
		list.WriteString("\n- " + quote(in.Name) + ": " + in.about())
	}
	text := "Usage: " + code(jobs.Cut(line, 1500))
	if list.Len() > 0 {
		text += "\n" + list.String()
	}
	return jobs.Cut(text, maxUsage)
}

// about says in a line what an input takes.
func (in WorkflowInput) about() string {
	parts := []string{in.Type}
	if in.Type == "choice" {
		parts[0] = "one of " + quote(jobs.Cut(strings.Join(in.Options, ", "), 150))
	}
	if in.Required {
		parts = append(parts, "required")
	}
	if in.Default != "" {
		parts = append(parts, "default "+quote(in.Default))
	}
	text := strings.Join(parts, ", ")
	if in.Description != "" {
		text = plainMarkdown(jobs.Cut(strings.Join(strings.Fields(in.Description), " "), maxAboutInput)) + " (" + text + ")"
	}
	return text
}

// plainMarkdown writes a text so that Markdown shows it as it is. A blank that nobody sees keeps an @ from being a mention.
func plainMarkdown(text string) string {
	var b strings.Builder
	for _, r := range text {
		if strings.ContainsRune("\\`*_{}[]<>()#+!|~&$:", r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
		if r == '@' {
			b.WriteRune('\u200b')
		}
	}
	return b.String()
}
