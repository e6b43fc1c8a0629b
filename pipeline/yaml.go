package pipeline

import (
	"bytes"
	"errors"
	"io"
	"strings"

	"go.yaml.in/yaml/v4"
)

// A node is a value of a pipeline file with its place. Aliases are expanded, within bounds.
type node struct {
	kind      nodeKind
	line, col int     // from 1
	value     any     // of a scalar: nil, bool, int64, float64 or string
	text      string  // of a scalar: as written, without quotes
	items     []*node // of a list
	entries   []entry // of a mapping, in the file's order, keys unique
}

type entry struct {
	key *node // a scalar
	val *node
}

type nodeKind uint8

const (
	scalarNode nodeKind = iota
	listNode
	mapNode
)

// get returns the value under a key, or nil.
func (n *node) get(key string) *node {
	if n == nil {
		return nil
	}
	for _, e := range n.entries {
		if e.key.text == key {
			return e.val
		}
	}
	return nil
}

// plain gives the node as JSON has it: nil, bool, int64, float64, string, []any, map[string]any.
func (n *node) plain() any {
	switch n.kind {
	case listNode:
		list := make([]any, len(n.items))
		for i, item := range n.items {
			list[i] = item.plain()
		}
		return list
	case mapNode:
		m := make(map[string]any, len(n.entries))
		for _, e := range n.entries {
			m[e.key.text] = e.val.plain()
		}
		return m
	}
	return n.value
}

// what names the node's type for people.
func (n *node) what() string {
	switch n.kind {
	case listNode:
		return "a list"
	case mapNode:
		return "a mapping"
	}
	switch n.value.(type) {
	case nil:
		return "empty"
	case bool:
		return "true or false"
	case string:
		return "text"
	}
	return "a number"
}

// load reads the one YAML document of a file. It returns nil when the file can't be read to its end.
func load(file []byte, r *report) *node {
	switch {
	case len(file) > MaxFile:
		r.meaning(nil, "the file has %d bytes, more than %d", len(file), MaxFile)
		return nil
	case len(bytes.TrimSpace(file)) == 0:
		r.meaning(nil, "the file is empty: it needs jobs")
		return nil
	}
	loader, err := yaml.NewLoader(bytes.NewReader(file))
	if err != nil {
		r.meaning(nil, "the file can't be read as YAML: %v", err)
		return nil
	}
	var doc, second yaml.Node
	if err := loader.Load(&doc); err != nil {
		r.syntax(err)
		return nil
	}
	if len(doc.Content) != 1 {
		r.meaning(nil, "the file is empty: it needs jobs")
		return nil
	}
	l := loading{report: r, left: maxNodes}
	root := l.node(doc.Content[0], 0)
	if l.over {
		return nil // what is left of the file would give faults that it does not have
	}
	switch err := loader.Load(&second); {
	case errors.Is(err, io.EOF):
	case err != nil:
		r.syntax(err)
		return nil
	default:
		r.meaning(&node{line: second.Line, col: second.Column}, "the file holds a second YAML document: one is read")
	}
	return root
}

// syntax reports what the YAML library could not read.
func (r *report) syntax(err error) {
	if errors.Is(err, io.EOF) {
		r.meaning(nil, "the file is empty: it needs jobs")
		return
	}
	var at *node
	message := err.Error()
	var load *yaml.LoadError
	if errors.As(err, &load) {
		message = load.Message
		if load.Mark.Line > 0 {
			at = &node{line: load.Mark.Line, col: load.Mark.Column}
		}
	}
	if strings.Contains(message, "anchor") || strings.Contains(message, "alias") {
		message = shorten(message) + " (a pattern that begins with * stands in quotes)"
	}
	r.meaning(at, "this is not YAML: %s", message)
}

// loading expands aliases and reads scalars by the rules of YAML 1.2's core schema.
type loading struct {
	report *report
	left   int  // nodes
	over   bool // a bound was crossed, and it was said
	inJobs bool // below the top level's jobs
}

func (l *loading) node(y *yaml.Node, depth int) *node {
	n := &node{line: y.Line, col: y.Column, value: ""}
	if l.over {
		return n
	}
	if l.left--; l.left < 0 {
		l.over, l.report.job = true, ""
		l.report.meaning(n, "the file has more than %d values once its aliases are expanded", maxNodes)
		return n
	}
	if depth > maxDepth {
		l.over, l.report.job = true, ""
		l.report.meaning(n, "values are nested more than %d levels deep", maxDepth)
		return n
	}
	switch y.Kind {
	case yaml.AliasNode:
		if y.Alias == nil {
			return n
		}
		// The alias's content has the anchor's place: that is where it has to be mended.
		return l.node(y.Alias, depth+1)
	case yaml.SequenceNode:
		n.kind = listNode
		for _, item := range y.Content {
			n.items = append(n.items, l.node(item, depth+1))
		}
	case yaml.MappingNode:
		n.kind = mapNode
		l.entries(n, y, depth)
	default:
		l.scalar(n, y)
	}
	if tag := y.ShortTag(); y.Style&yaml.TaggedStyle != 0 && !strings.Contains(" !!str !!int !!float !!bool !!null !!map !!seq ", " "+tag+" ") {
		l.report.meaning(n, "the YAML tag %s is not used here", tag)
	}
	return n
}

func (l *loading) entries(n *node, y *yaml.Node, depth int) {
	seen := make(map[string]int, len(y.Content)/2)
	for i := 0; i+1 < len(y.Content); i += 2 {
		key := l.node(y.Content[i], depth+1)
		switch {
		case depth == 0:
			l.inJobs = key.text == "jobs"
		case depth == 1 && l.inJobs:
			l.report.job = key.text // what is wrong from here on spoils this job only
		}
		val := l.node(y.Content[i+1], depth+1)
		if key.kind != scalarNode || key.value == nil {
			l.report.meaning(key, "a key must be text, not %s", key.what())
			continue
		}
		if line, twice := seen[key.text]; twice {
			l.report.meaning(key, "%q is here twice; it is already in line %d", key.text, line)
			continue
		}
		seen[key.text] = key.line
		switch {
		case y.Content[i].ShortTag() == "!!merge":
			l.report.meaning(key, "<< is not part of YAML 1.2: give the whole mapping an anchor, or repeat its keys")
			continue
		case strings.Contains(key.text, exprOpen):
			l.report.meaning(key, "a key is never evaluated: ${{ }} stands in values only")
			continue
		}
		n.entries = append(n.entries, entry{key, val})
	}
	if depth == 1 {
		l.report.job = ""
	}
}

func (l *loading) scalar(n *node, y *yaml.Node) {
	n.text, n.value = y.Value, y.Value
	if strings.ContainsRune(y.Value, 0) {
		l.report.meaning(n, "text can't hold a NUL character")
		n.text, n.value = "", ""
	}
	quoted := y.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0
	if quoted || y.Style&yaml.TaggedStyle != 0 && y.ShortTag() == "!!str" {
		return
	}
	value, err := coreScalar(y.Value)
	if err != nil {
		l.report.meaning(n, "%v", err)
		return
	}
	n.value = value
}
