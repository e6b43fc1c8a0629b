package pipeline

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"

	"github.com/slipway-ci/slipway/jobs"
)

// A scope is where expressions stand: what they may read.
type scope struct {
	env   *cel.Env
	jobs  map[string]jobs.KindName // the file's jobs; nil where needs can't be read
	needs []string                 // direct needs of the job at hand
	job   string
	args  []string // of the commands that start the job

	hasArgs bool // a command starts the job
}

// An expression is parsed and type-checked.
type expression struct {
	text  string
	ast   *cel.Ast
	needs bool // reads needs, so it must wait for them
}

// An exprError is what is wrong with an expression, and where in it.
type exprError struct {
	line, col int // from 1, within the expression
	message   string
}

func (e *exprError) Error() string { return e.message }

// wanted is what a place takes.
type wanted uint8

const (
	wantText wanted = iota // text, numbers and truth values become text
	wantBool
	wantAny // a YAML value of any type
)

// compile parses and checks an expression for a place that takes want.
func (s *scope) compile(text string, want wanted) (*expression, *exprError) {
	parsed, issues := s.env.Parse(text)
	if issues.Err() != nil {
		return nil, s.explain(text, issues)
	}
	factory := celast.NewExprFactory()
	root := parsed.NativeRep().Expr()
	literalIndexes(root, factory)
	reads, problem := s.readsNeeds(text, parsed.NativeRep(), root)
	if problem != nil {
		return nil, problem
	}
	checked, issues := s.env.Check(parsed)
	if issues.Err() != nil {
		return nil, s.explain(text, issues)
	}
	if message := takes(want, checked.OutputType()); message != "" {
		return nil, &exprError{1, 1, fmt.Sprintf("${{ %s }} %s", shorten(text), message)}
	}
	return &expression{text: text, ast: checked, needs: reads}, nil
}

// takes says why a place can't take a value of that type, or "".
func takes(want wanted, t *cel.Type) string {
	switch t.Kind() {
	case types.BoolKind:
		return ""
	case types.StringKind, types.IntKind, types.UintKind, types.DoubleKind:
		if want != wantBool {
			return ""
		}
		return fmt.Sprintf("gives %s where true or false is needed", typeName(t))
	case types.NullTypeKind, types.ListKind, types.MapKind:
		if want == wantAny {
			return ""
		}
	case types.DynKind:
		return "" // seen when it is evaluated
	}
	if want == wantBool {
		return fmt.Sprintf("gives %s where true or false is needed", typeName(t))
	}
	return fmt.Sprintf("gives %s, which can't be put here", typeName(t))
}

func typeName(t *cel.Type) string {
	switch t.Kind() {
	case types.StringKind:
		return "text"
	case types.IntKind, types.UintKind, types.DoubleKind:
		return "a number"
	case types.ListKind:
		return "a list"
	case types.MapKind:
		return "a mapping"
	case types.StructKind:
		return "the whole of " + strings.TrimPrefix(t.TypeName(), typePrefix) + " (read one of its fields)"
	case types.NullTypeKind:
		return "null"
	}
	return t.String()
}

// literalIndexes turns needs["api-gateway"] into the field that it means, so that it is typed like needs.api; args and outputs
// likewise.
func literalIndexes(e celast.Expr, factory celast.ExprFactory) {
	walk(e, nil, func(e, _ celast.Expr) {
		if e.Kind() != celast.CallKind || e.AsCall().FunctionName() != operators.Index {
			return
		}
		args := e.AsCall().Args()
		if len(args) != 2 || !hasFields(args[0]) || args[1].Kind() != celast.LiteralKind {
			return
		}
		if name, ok := args[1].AsLiteral().(types.String); ok {
			e.SetKindCase(factory.NewSelect(e.ID(), args[0], string(name)))
		}
	})
}

// hasFields reports whether an expression is needs, args or a job's outputs.
func hasFields(e celast.Expr) bool {
	switch e.Kind() {
	case celast.IdentKind:
		return e.AsIdent() == "needs" || e.AsIdent() == "args"
	case celast.SelectKind:
		return e.AsSelect().FieldName() == "outputs"
	}
	return false
}

// readsNeeds reports whether an expression reads needs, and what is wrong with how it does or reads args.
func (s *scope) readsNeeds(text string, tree *celast.AST, root celast.Expr) (reads bool, problem *exprError) {
	walk(root, nil, func(e, parent celast.Expr) {
		if e.Kind() != celast.IdentKind || problem != nil {
			return
		}
		fail := func(format string, args ...any) {
			at := tree.SourceInfo().GetStartLocation(e.ID())
			problem = &exprError{max(at.Line(), 1), max(at.Column(), 0) + 1, fmt.Sprintf(format, args...)}
		}
		switch e.AsIdent() {
		case "args":
			if s.job != "" && !s.hasArgs {
				fail("job %s reads args, but no command starts it: give it on: {command: {name: ..., args: ...}}, or let a job with a command need it", s.job)
			}
			return
		case "needs":
			reads = true
		default:
			return
		}
		if parent == nil || parent.Kind() != celast.SelectKind {
			fail(`needs is read as needs.JOB.outputs.NAME, needs["JOB"].outputs.NAME or needs.JOB.result`)
			return
		}
		name := parent.AsSelect().FieldName()
		if slices.Contains(s.needs, name) {
			return
		}
		if problem = s.subtraction(text); problem != nil {
			return
		}
		if _, ok := s.jobs[name]; ok {
			fail("job %s reads needs.%s without needing it: add %s to its needs", s.job, name, name)
			return
		}
		fail("there is no job %q%s", name, suggest(name, sortedKeys(s.jobs)))
	})
	return reads, problem
}

// hyphenForm finds what may be meant as a job's or an argument's name with hyphens.
var hyphenForm = regexp.MustCompile(`\b(needs|args)\.([A-Za-z_][A-Za-z0-9_-]*)`)

// subtraction says so when a name with a hyphen was read as needs.api minus gateway.
func (s *scope) subtraction(text string) *exprError {
	for _, at := range hyphenForm.FindAllStringSubmatchIndex(text, -1) {
		of := text[at[2]:at[3]]
		for word := text[at[4]:at[5]]; strings.Contains(word, "-"); word = word[:strings.LastIndexByte(word, '-')] {
			_, ok := s.jobs[word]
			if of == "needs" && ok || of == "args" && slices.Contains(s.args, word) {
				return &exprError{1, at[0] + 1, fmt.Sprintf(`%s.%s is read as a subtraction: write %s["%s"]`, of, word, of, word)}
			}
		}
	}
	return nil
}

// explain puts what CEL says about a faulty expression into our words.
func (s *scope) explain(text string, issues *cel.Issues) *exprError {
	if e := s.subtraction(text); e != nil {
		return e
	}
	errs := issues.Errors()
	if len(errs) == 0 {
		return &exprError{1, 1, shorten(issues.Err().Error())}
	}
	first := errs[0]
	return &exprError{max(first.Location.Line(), 1), max(first.Location.Column(), 0) + 1, fmt.Sprintf("${{ %s }}: %s", shorten(text), plainly(first.Message, s.args...))}
}

// How CEL names what it does not know.
var (
	fieldForm    = regexp.MustCompile(`^undefined field '([^']*)'`)
	identForm    = regexp.MustCompile(`^undeclared reference to '([^']*)'(?: \(did you mean '([^']*)'\?\))?`)
	overloadForm = regexp.MustCompile(`^found no matching overload for '([^']*)' applied to '([^']*)'`)
)

// plainly shortens CEL's own words. more are fields beside those that are always there.
func plainly(message string, more ...string) string {
	message = strings.TrimPrefix(message, "Syntax error: ")
	message, _, _ = strings.Cut(message, " (in container '')")
	if m := fieldForm.FindStringSubmatch(message); m != nil {
		fields := slices.Clone(more)
		for _, known := range variableTypes() {
			fields = append(fields, sortedKeys(known)...)
		}
		slices.Sort(fields)
		return fmt.Sprintf("there is no %q here%s", m[1], suggest(m[1], fields))
	}
	if m := identForm.FindStringSubmatch(message); m != nil {
		hint := ""
		if m[2] != "" {
			hint = fmt.Sprintf(" (did you mean %s?)", m[2])
		}
		return fmt.Sprintf("there is no variable or function %q%s", m[1], hint)
	}
	if m := overloadForm.FindStringSubmatch(message); m != nil {
		return fmt.Sprintf("%s can't be used on %s", strings.Trim(m[1], "_"), m[2])
	}
	if strings.Contains(message, "'<EOF>'") {
		return "the expression ends too early"
	}
	if i := strings.Index(message, " expecting {"); i > 0 {
		message = message[:i]
	}
	return jobs.Cut(message, 200)
}

// walk calls each for every part of an expression with the part it stands in.
func walk(e, parent celast.Expr, each func(e, parent celast.Expr)) {
	if e == nil {
		return
	}
	each(e, parent)
	switch e.Kind() {
	case celast.SelectKind:
		walk(e.AsSelect().Operand(), e, each)
	case celast.CallKind:
		if e.AsCall().IsMemberFunction() {
			walk(e.AsCall().Target(), e, each)
		}
		for _, arg := range e.AsCall().Args() {
			walk(arg, e, each)
		}
	case celast.ListKind:
		for _, item := range e.AsList().Elements() {
			walk(item, e, each)
		}
	case celast.MapKind:
		for _, entry := range e.AsMap().Entries() {
			walk(entry.AsMapEntry().Key(), e, each)
			walk(entry.AsMapEntry().Value(), e, each)
		}
	case celast.StructKind:
		for _, f := range e.AsStruct().Fields() {
			walk(f.AsStructField().Value(), e, each)
		}
	case celast.ComprehensionKind:
		c := e.AsComprehension()
		for _, part := range []celast.Expr{c.IterRange(), c.AccuInit(), c.LoopCondition(), c.LoopStep(), c.Result()} {
			walk(part, e, each)
		}
	}
}
