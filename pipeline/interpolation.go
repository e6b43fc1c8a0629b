package pipeline

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// unresolved marks a text that waits for other jobs, or whose value is not known yet. No text of a file and no value
// of an expression can hold this character.
const unresolved = "\x00"

// resolved reports whether a text has its final value.
func resolved(s string) bool { return !strings.Contains(s, unresolved) }

// A textExpr is a text with expressions, parsed and checked.
type textExpr struct {
	segments []segment
	exprs    []*expression // beside segments; nil where a segment is literal
	want     wanted
	needs    bool
}

// compileText takes a text apart and checks its expressions. The offset is where in the text the error is.
func (s *scope) compileText(text string, want wanted) (*textExpr, int, *exprError) {
	segments, err := splitText(text)
	if err != nil {
		return nil, 0, &exprError{1, 1, err.Error()}
	}
	t := &textExpr{segments: segments, exprs: make([]*expression, len(segments)), want: want}
	if _, one := single(segments); !one {
		want = wantText
	}
	for i, seg := range segments {
		if !seg.isExpr {
			continue
		}
		e, problem := s.compile(seg.expr, want)
		if problem != nil {
			return nil, seg.offset, problem
		}
		t.exprs[i] = e
		t.needs = t.needs || e.needs
	}
	return t, 0, nil
}

// evaluateText gives a text its value: what its one expression gives, or text put together.
func (s *scope) evaluateText(t *textExpr, vars map[string]any) (any, error) {
	var b strings.Builder
	for i, seg := range t.segments {
		if !seg.isExpr {
			b.WriteString(seg.literal)
			continue
		}
		v, err := s.evaluate(t.exprs[i], vars)
		if err != nil {
			return nil, err
		}
		if len(t.segments) == 1 && t.want == wantAny {
			return v, nil
		}
		text, err := asText(v)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", shorten(seg.expr), err)
		}
		b.WriteString(text)
		if b.Len() > maxText {
			return nil, fmt.Errorf("the text would have more than %d bytes", maxText)
		}
	}
	return b.String(), nil
}

// evaluateIf decides an if.
func (s *scope) evaluateIf(e *expression, vars map[string]any) (bool, error) {
	v, err := s.evaluate(e, vars)
	if err != nil {
		return false, err
	}
	yes, ok := v.(bool)
	if !ok {
		return false, fmt.Errorf("%s gives neither true nor false", shorten(e.text))
	}
	return yes, nil
}

// scope returns where a job's expressions stand. Jobs that the same commands start share one environment.
func (f *file) scope(j *job) (*scope, error) {
	args, key := f.args(j)
	if f.envs[key] == nil {
		env, err := environment(f.kinds, args)
		if err != nil {
			return nil, err
		}
		f.envs[key] = env
	}
	return &scope{env: f.envs[key], jobs: f.kinds, needs: j.needs, job: j.name, args: sortedKeys(args), hasArgs: args != nil}, nil
}

// afford counts a text's expressions before they are parsed. It returns false once the file has too many; that is reported
// once.
func (f *file) afford(text string) bool {
	f.exprs += max(strings.Count(text, exprOpen), 1)
	f.exprBytes += len(text)
	if f.exprs <= maxExpressions && f.exprBytes <= maxExpressionBytes {
		return true
	}
	f.report.job = ""
	f.report.meaning(nil, "the file has more than %d expressions, or more than %d bytes of them", maxExpressions, maxExpressionBytes)
	return false
}

// checkExpressions parses and types every expression of the file, and checks what is written without any.
func (f *file) checkExpressions() {
	for _, j := range f.jobs {
		if f.exprs > maxExpressions || f.exprBytes > maxExpressionBytes {
			break
		}
		f.report.job = j.name
		f.checkJob(j)
	}
	f.report.job = ""
}

func (f *file) checkJob(j *job) {
	s, err := f.scope(j)
	if err != nil {
		f.report.meaning(j.node, "expressions can't be read: %v", err)
		return
	}
	if j.ifNode != nil && f.afford(j.ifText) {
		one, err := condition(j.ifText)
		switch {
		case err != nil:
			f.report.meaning(j.ifNode, "if: %v", err)
		case one.expr == "":
			f.report.meaning(j.ifNode, "if is empty: leave it out, or give it a value")
		default:
			e, problem := s.compile(one.expr, wantBool)
			if problem != nil {
				f.reportExpr("if", j.ifNode, one.expr, problem)
				break
			}
			j.ifExpr = e
		}
	}
	spec := j.node.get(string(j.kind))
	if spec == nil {
		return
	}
	j.texts = map[*node]*textExpr{}
	f.compileAll(s, j, spec, wantText)
	if f.report.first(j.name) == nil {
		f.checkWritten(j)
	}
}

// compileAll checks every text below a node.
func (f *file) compileAll(s *scope, j *job, n *node, want wanted) {
	switch n.kind {
	case listNode:
		for _, item := range n.items {
			f.compileAll(s, j, item, want)
		}
	case mapNode:
		for _, e := range n.entries {
			below := want
			if keepsTypes(j.kind, e.key.text) {
				below = wantAny
			}
			f.compileAll(s, j, e.val, below)
		}
	default:
		text, ok := n.value.(string)
		if !ok || !strings.Contains(text, exprOpen) || !f.afford(text) {
			return
		}
		t, offset, problem := s.compileText(text, want)
		if problem != nil {
			expr := text[offset:]
			if offset == 0 {
				expr = exprOpen
			}
			f.reportExpr("", n, expr, problem)
			return
		}
		j.texts[n] = t
	}
}

// reportExpr reports a faulty expression at its place in the file. YAML tells where a text begins; within it the
// place is found again in the source, as quotes, folds and escapes move it.
func (f *file) reportExpr(key string, n *node, expr string, problem *exprError) {
	at := &node{line: n.line, col: n.col}
	head, _, _ := strings.Cut(expr, exprClose)
	head, _, _ = strings.Cut(strings.TrimSpace(head), "\n")
	for line := n.line; head != "" && line <= min(n.line+50, len(f.source)); line++ {
		text := f.source[line-1]
		from := 0
		if line == n.line {
			from = min(max(n.col-1, 0), len(text))
		}
		if i := strings.Index(text[from:], head); i >= 0 {
			at.line, at.col = line, utf8.RuneCountInString(text[:from+i])+1
			if problem.line == 1 {
				at.col += problem.col - 1
			}
			break
		}
	}
	if key != "" {
		key += ": "
	}
	f.report.meaning(at, "%s%s", key, problem.message)
}
