package jobs

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Bounds of a command's declared arguments.
const (
	maxArgs        = 20
	maxOptions     = 50
	maxOption      = 100  // bytes of a choice's option
	maxPattern     = 300  // bytes
	maxArgValue    = 1000 // bytes
	maxDescription = 200  // bytes
)

var (
	argNameForm = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,62}$`)
	// numberForm has at most 15 digits on each side: no float64 garbles them much, and no exponent makes a huge number.
	numberForm = regexp.MustCompile(`^-?[0-9]{1,15}(\.[0-9]{1,15})?$`)
)

// Bind gives every declared argument of a command its value: what stands without a name in the order of declaration,
// then what is named, then defaults. Values are string, bool, int64 (whole numbers) or float64. A refusal is one
// sentence for the command's writer with the usage line in it; then there are no values.
func Bind(declared []CommandArg, c Command) (values map[string]any, fault string) {
	said, problem := assign(declared, c)
	if problem == "" {
		values, problem = convert(declared, said)
	}
	if problem != "" {
		return nil, fmt.Sprintf("%s; usage: %s", problem, Usage(c.Name, declared))
	}
	return values, ""
}

// assign says which text each argument was given.
func assign(declared []CommandArg, c Command) (said map[string]string, problem string) {
	said = map[string]string{}
	for i, text := range c.Args {
		if i >= len(declared) {
			return nil, fmt.Sprintf("/%s takes %s, and %s is one more", c.Name, argumentsOf(len(declared)), quoteArg(text))
		}
		said[declared[i].Name] = text
	}
	names := make([]string, 0, len(c.Named))
	for name := range c.Named {
		names = append(names, name)
	}
	slices.Sort(names) // the same refusal every time
	for _, name := range names {
		if !slices.ContainsFunc(declared, func(a CommandArg) bool { return a.Name == name }) {
			return nil, fmt.Sprintf("/%s has no argument %s", c.Name, quoteArg(name))
		}
		if _, twice := said[name]; twice {
			return nil, fmt.Sprintf("%s is given twice, by its place and by its name", name)
		}
		said[name] = c.Named[name]
	}
	return said, ""
}

func convert(declared []CommandArg, said map[string]string) (values map[string]any, problem string) {
	values = make(map[string]any, len(declared))
	for _, a := range declared {
		text, given := said[a.Name]
		switch {
		case given:
			v, problem := a.value(text)
			if problem != "" {
				return nil, a.Name + problem
			}
			values[a.Name] = v
		case a.Required:
			return nil, a.Name + " is missing"
		default:
			v, problem := a.preset()
			if problem != "" {
				return nil, a.Name + problem
			}
			values[a.Name] = v
		}
	}
	return values, ""
}

// value reads a text as the argument's type. The problem continues the argument's name.
func (a ArgSpec) value(text string) (v any, problem string) {
	if len(text) > maxArgValue {
		return nil, fmt.Sprintf(" has %d bytes, more than %d", len(text), maxArgValue)
	}
	switch a.Type {
	case "", ArgString:
		if a.Pattern == "" {
			return text, ""
		}
		whole, err := compilePattern(a.Pattern)
		if err != nil {
			return nil, " has a pattern in the pipeline file that can't be used"
		}
		if !whole.MatchString(text) {
			return nil, fmt.Sprintf(" must match %s, and %s does not", a.Pattern, quoteArg(text))
		}
		return text, ""
	case ArgChoice:
		if !slices.Contains(a.Options, text) {
			return nil, fmt.Sprintf(" must be %s, not %s", eitherOf(a.Options), quoteArg(text))
		}
		return text, ""
	case ArgBoolean:
		switch strings.ToLower(text) {
		case "true":
			return true, ""
		case "false":
			return false, ""
		}
		return nil, fmt.Sprintf(" must be true or false, not %s", quoteArg(text))
	case ArgNumber:
		if n, ok := parseNumber(text); ok {
			return n, ""
		}
		return nil, fmt.Sprintf(" must be a number such as 3 or 2.5, not %s", quoteArg(text))
	}
	return nil, fmt.Sprintf(" has the type %s in the pipeline file, which there is not", quoteArg(a.Type))
}

// preset is the value of an argument that was not given. It may come from a record: whole numbers are float64 there.
func (a ArgSpec) preset() (v any, problem string) {
	const wrong = " has a default in the pipeline file that does not fit its type"
	switch d := a.Default.(type) {
	case nil:
		switch a.Type {
		case "", ArgString:
			return "", ""
		case ArgBoolean:
			return false, ""
		}
		return nil, " is missing"
	case string:
		if a.Type == ArgBoolean || a.Type == ArgNumber {
			return nil, wrong
		}
		if v, problem = a.value(d); problem != "" {
			return nil, wrong
		}
		return v, ""
	case bool:
		if a.Type != ArgBoolean {
			return nil, wrong
		}
		return d, ""
	default:
		text, ok := plainNumber(d)
		if a.Type != ArgNumber || !ok {
			return nil, wrong
		}
		v, _ := parseNumber(text)
		return v, ""
	}
}

// parseNumber reads a number of the form that arguments take: int64 when it is whole.
func parseNumber(text string) (any, bool) {
	if !numberForm.MatchString(text) {
		return nil, false
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n, true
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return nil, false
	}
	if f == 0 {
		f = 0 // not -0
	}
	return f, true
}

// plainNumber writes a number as an argument would be written.
func plainNumber(v any) (string, bool) {
	var text string
	switch v := v.(type) {
	case int:
		text = strconv.Itoa(v)
	case int64:
		text = strconv.FormatInt(v, 10)
	case uint64:
		text = strconv.FormatUint(v, 10)
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return "", false
		}
		text = strconv.FormatFloat(v, 'f', -1, 64)
	case json.Number:
		text = v.String()
	}
	return text, numberForm.MatchString(text)
}

// compilePattern makes an expression that matches a whole text or not at all. RE2 takes time linear in the text.
func compilePattern(pattern string) (*regexp.Regexp, error) {
	if len(pattern) > maxPattern {
		return nil, fmt.Errorf("has %d bytes, more than %d", len(pattern), maxPattern)
	}
	if _, err := regexp.Compile(pattern); err != nil { // by itself, so that no ) of its own ends ours
		return nil, err
	}
	return regexp.Compile(`\A(?:` + pattern + `)\z`)
}

// CheckArgs says what is wrong with the declaration of a command's arguments, one clause for each fault; nil when
// nothing is. Bind refuses what CheckArgs would have told.
func CheckArgs(declared []CommandArg) []string {
	var faults []string
	if len(declared) > maxArgs {
		faults = append(faults, fmt.Sprintf("there are %d arguments, more than %d", len(declared), maxArgs))
	}
	seen := map[string]bool{}
	for _, a := range declared {
		if !argNameForm.MatchString(a.Name) {
			faults = append(faults, quoteArg(a.Name)+" can't be an argument's name: write 1 to 63 lower-case letters, digits, _ and -, beginning with a letter")
		}
		if seen[a.Name] {
			faults = append(faults, a.Name+" is declared twice")
		}
		seen[a.Name] = true
		for _, f := range a.faults() {
			faults = append(faults, a.Name+": "+f)
		}
	}
	return faults
}

func (a ArgSpec) faults() []string {
	var faults []string
	add := func(wrong bool, format string, args ...any) {
		if wrong {
			faults = append(faults, fmt.Sprintf(format, args...))
		}
	}
	text := a.Type == "" || a.Type == ArgString
	if !text && a.Type != ArgChoice && a.Type != ArgBoolean && a.Type != ArgNumber {
		return []string{fmt.Sprintf("there is no type %s; there are string, choice, boolean, number", quoteArg(a.Type))}
	}
	add(len(a.Description) > maxDescription, "the description has %d bytes, more than %d", len(a.Description), maxDescription)
	add(a.Pattern != "" && !text, "only a string has a pattern")
	add(len(a.Options) > 0 && a.Type != ArgChoice, "only a choice has options")
	add(a.Required && a.Default != nil, "required and default exclude each other")
	add((a.Type == ArgChoice || a.Type == ArgNumber) && !a.Required && a.Default == nil, "give it a default, or required: true")
	if text && a.Pattern != "" {
		_, err := compilePattern(a.Pattern)
		add(err != nil, "the pattern can't be used: %v", err)
		add(err == nil && !a.Required && a.Default == nil && !a.fits(""), "the pattern does not match the empty text: give it a default, or required: true")
	}
	if a.Type == ArgChoice {
		add(len(a.Options) == 0 || len(a.Options) > maxOptions, "a choice has 1 to %d options, not %d", maxOptions, len(a.Options))
		for i, o := range a.Options {
			add(o == "" || len(o) > maxOption, "option %s must have 1 to %d bytes", quoteArg(o), maxOption)
			add(slices.Contains(a.Options[:i], o), "option %s stands twice", quoteArg(o))
		}
	}
	if len(faults) == 0 && a.Default != nil {
		_, problem := a.preset()
		add(problem != "", "the default does not fit: a %s was expected%s", a.kind(), a.limits())
	}
	return faults
}

func (a ArgSpec) fits(text string) bool {
	_, problem := a.value(text)
	return problem == ""
}

func (a ArgSpec) kind() string {
	if a.Type == "" {
		return ArgString
	}
	return a.Type
}

// limits says what narrows an argument's values, beside the type.
func (a ArgSpec) limits() string {
	switch {
	case a.Pattern != "":
		return " that matches " + a.Pattern
	case len(a.Options) > 0:
		return ": " + eitherOf(a.Options)
	}
	return ""
}

// Usage is how a command is written: <required> and [optional=default] arguments in their order. To show it with the
// operator's prefix, give the name as "prefix name".
func Usage(name string, declared []CommandArg) string {
	var b strings.Builder
	b.WriteString("/" + name)
	for _, a := range declared {
		choices := ""
		switch a.Type {
		case ArgChoice:
			choices = Cut(strings.Join(a.Options, "|"), 200)
		case ArgBoolean:
			choices = "true|false"
		}
		switch {
		case a.Required && choices == "":
			fmt.Fprintf(&b, " <%s>", a.Name)
		case a.Required:
			fmt.Fprintf(&b, " <%s: %s>", a.Name, choices)
		case choices != "":
			fmt.Fprintf(&b, " [%s=%s]", a.Name, choices)
		default:
			fmt.Fprintf(&b, " [%s=%s]", a.Name, a.shown())
		}
	}
	return b.String()
}

// shown is the default as a person would write it.
func (a ArgSpec) shown() string {
	switch d := a.Default.(type) {
	case nil:
		return "…"
	case string:
		if d == "" || strings.ContainsAny(d, " \t\"'\\") {
			return quoteArg(d)
		}
		return Cut(d, 60)
	default:
		text, _ := plainNumber(d)
		return text
	}
}

func argumentsOf(n int) string {
	switch n {
	case 0:
		return "no arguments"
	case 1:
		return "one argument"
	}
	return fmt.Sprintf("%d arguments", n)
}

// eitherOf lists options: "a, b or c".
func eitherOf(options []string) string {
	if len(options) == 0 {
		return "nothing"
	}
	const most = 20
	if len(options) > most {
		return fmt.Sprintf("%s or one of %d others", strings.Join(options[:most], ", "), len(options)-most)
	}
	last := len(options) - 1
	if last == 0 {
		return options[0]
	}
	return strings.Join(options[:last], ", ") + " or " + options[last]
}

// quoteArg shows a stranger's text in a sentence.
func quoteArg(s string) string { return strconv.Quote(Cut(s, 60)) }
