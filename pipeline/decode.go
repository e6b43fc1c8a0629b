package pipeline

import (
	"cmp"
	"encoding/json"
	"math"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/slipway-ci/slipway/jobs"
)

// A decoder holds a tree of nodes against the Go types of document.go and reports every difference.
type decoder struct {
	*report
	// exprs allows ${{ }} in strings: it is true below what a job does.
	exprs bool
}

var (
	namesType     = reflect.TypeFor[Names]()
	conditionType = reflect.TypeFor[Condition]()
	actionType    = reflect.TypeFor[Action]()
	releaseType   = reflect.TypeFor[ReleaseAction]()
	queueType     = reflect.TypeFor[OnMergeGroup]()
	jobType       = reflect.TypeFor[Job]()
)

// check compares a node with a type. path is where it stands, such as jobs.*.build, with * for a name that the file
// chose; it is shown with place, where those names are put in.
func (d *decoder) check(n *node, t reflect.Type, path, place string) {
	switch t {
	case namesType:
		if n.kind == scalarNode {
			t = reflect.TypeFor[string]()
		}
	case conditionType:
		if _, ok := n.value.(bool); ok && n.kind == scalarNode {
			return
		}
		d.text(n, place, true)
		return
	case actionType:
		d.oneOf(n, actions(), place)
		return
	case releaseType:
		d.oneOf(n, releaseActions(), place)
		return
	case queueType:
		if n.kind == scalarNode && n.value == false {
			return
		}
	}
	switch t.Kind() {
	case reflect.Pointer:
		d.check(n, t.Elem(), path, place)
	case reflect.Struct:
		d.mapping(n, t, path, place)
	case reflect.Map:
		d.named(n, t.Elem(), path, place)
	case reflect.Slice:
		d.list(n, t.Elem(), path, place)
	case reflect.String:
		d.text(n, place, d.exprs)
	case reflect.Bool:
		if _, ok := n.value.(bool); !ok || n.kind != scalarNode {
			d.structure(n, "%s must be true or false, not %s", place, n.what())
		}
	case reflect.Int:
		d.whole(n, place)
	default: // any
		if path == inputsPath+".*" {
			d.plainValue(n, place)
			return
		}
		d.free(n, place)
	}
}

// oneOf checks a word.
func (d *decoder) oneOf(n *node, known []string, place string) {
	if d.text(n, place, false) && !slices.Contains(known, n.text) {
		d.structure(n, "%s does not know %q%s; it knows %s", place, shorten(n.text), suggest(n.text, known), strings.Join(known, ", "))
	}
}

// emptyEvents are the keys of on that may be left empty, as in GitHub Actions: push: with nothing is push: {}.
func emptyEvents() []string { return []string{"push", "pull_request", "merge_group", "release"} }

// mapping checks a mapping whose keys the language defines.
func (d *decoder) mapping(n *node, t reflect.Type, path, place string) {
	event, ok := strings.CutPrefix(path, "on.")
	if n.kind == scalarNode && n.value == nil && ok && slices.Contains(emptyEvents(), event) {
		return
	}
	if n.kind != mapNode {
		d.structure(n, "%s must be a mapping%s, not %s", place, example(path), n.what())
		return
	}
	fields := fieldsOf(t)
	known := make([]string, len(fields))
	for i, f := range fields {
		known[i] = f.name
	}
	for _, e := range n.entries {
		i := slices.Index(known, e.key.text)
		if i < 0 {
			d.unknown(e.key, known, path, place)
			continue
		}
		exprs := d.exprs
		d.exprs = exprs || t == jobType && slices.Contains(kindKeys(), e.key.text)
		d.check(e.val, fields[i].typ, join(path, e.key.text), joinPlace(place, e.key.text))
		d.exprs = exprs
	}
	for _, f := range fields {
		if f.required && n.get(f.name) == nil {
			d.structure(n, "%s lacks %s", place, f.name)
		}
	}
}

// unknown reports a key that the language does not have.
func (d *decoder) unknown(key *node, known []string, path, place string) {
	name := key.text
	switch {
	case slices.Contains(later()[path], name):
		d.structure(key, "%s: %s is not in this version", place, name)
	case strings.HasSuffix(name, "-ignore") && slices.Contains(known, strings.TrimSuffix(name, "-ignore")):
		d.structure(key, "%s: there is no %s; use %s with patterns that begin with !", place, name, strings.TrimSuffix(name, "-ignore"))
	default:
		d.structure(key, "%s: there is no %q%s; it knows %s", place, shorten(name), suggest(name, known), strings.Join(known, ", "))
	}
}

// named checks a mapping whose keys the file chooses.
func (d *decoder) named(n *node, elem reflect.Type, path, place string) {
	if n.kind != mapNode {
		d.structure(n, "%s must be a mapping%s, not %s", place, example(path), n.what())
		return
	}
	d.count(n, len(n.entries), place)
	for _, e := range n.entries {
		name := e.key.text
		if elem == jobType {
			if !jobName.MatchString(name) {
				// A name that fits no record and no check spoils the file: nothing may be kept under it.
				d.structure(e.key, "%q can't be a job's name: write 1 to 63 letters, digits, _ and -, beginning with a letter or _", shorten(name))
			}
			d.job = name
		} else if name == "" || len(name) > 253 {
			d.meaning(e.key, "%s: a name must have 1 to 253 bytes", place)
		}
		d.check(e.val, elem, path+".*", joinPlace(place, name))
		if elem == jobType {
			d.oneKind(e.val, name)
			d.job = ""
		}
	}
}

// oneKind checks that a job says one thing to do.
func (d *decoder) oneKind(n *node, name string) {
	if n.kind != mapNode {
		return
	}
	switch said := saidKinds(n); {
	case len(said) > 1:
		d.structure(said[1].val, "job %s has both %s and %s: make two jobs of it, the second with needs: [...]", name, said[0].key.text, said[1].key.text)
	case len(said) == 0 && !slices.ContainsFunc(n.entries, misspelt):
		d.structure(n, "job %s does nothing: it needs build, deploy, dispatch or await", name)
	}
}

// saidKinds are the entries of a job that say what it does.
func saidKinds(n *node) []entry {
	var said []entry
	for _, e := range n.entries {
		if slices.Contains(kindKeys(), e.key.text) {
			said = append(said, e)
		}
	}
	return said
}

// misspelt reports whether a key of a job was meant to say what to do: that was told already.
func misspelt(e entry) bool {
	name := e.key.text
	return slices.Contains(later()["jobs.*"], name) || suggest(name, kindKeys()) != ""
}

func (d *decoder) list(n *node, elem reflect.Type, path, place string) {
	if n.kind != listNode {
		d.structure(n, "%s must be a list such as [a, b], not %s", place, n.what())
		return
	}
	d.count(n, len(n.items), place)
	for _, item := range n.items {
		d.check(item, elem, path, place)
	}
}

func (d *decoder) count(n *node, length int, place string) {
	most := cmp.Or(map[string]int{"build.tags": jobs.MaxExtraTags, "await.checks": maxAwaited}[place], maxItems)
	switch {
	case length == 0 && place == "jobs":
		d.structure(n, "jobs is empty: the file needs at least one job")
	case length == 0:
		d.structure(n, "%s is empty: leave it out, or put something in", place)
	case length > most:
		d.structure(n, "%s has %d entries, more than %d", place, length, most)
	}
}

// text checks a string, and reports whether it is one.
func (d *decoder) text(n *node, place string, exprs bool) bool {
	if n.kind != scalarNode {
		d.structure(n, "%s must be text, not %s", place, n.what())
		return false
	}
	s, ok := n.value.(string)
	switch {
	case !ok && n.value == nil:
		d.structure(n, "%s is empty: leave it out, or give it a value", place)
		return false
	case !ok:
		d.structure(n, "%s must be text: write it in quotes, \"%s\"", place, shorten(n.text))
		return false
	case len(s) > maxText:
		d.meaning(n, "%s has %d bytes, more than %d", place, len(s), maxText)
		return false
	case !utf8.ValidString(s):
		d.meaning(n, "%s is not UTF-8", place)
		return false
	case !exprs && strings.Contains(s, exprOpen):
		d.meaning(n, "%s is not evaluated: ${{ }} stands below build, deploy, dispatch and await, and in if", place)
		return false
	}
	return true
}

// free checks a value of any type.
func (d *decoder) free(n *node, place string) {
	switch n.kind {
	case listNode:
		for _, item := range n.items {
			d.free(item, place)
		}
	case mapNode:
		for _, e := range n.entries {
			d.free(e.val, place)
		}
	default:
		if _, ok := n.value.(string); ok {
			d.text(n, place, d.exprs)
		}
	}
}

// whole checks a whole number.
func (d *decoder) whole(n *node, place string) {
	switch v := n.value.(type) {
	case int64:
		return
	case float64:
		if v == math.Trunc(v) {
			return
		}
		d.structure(n, "%s must be a whole number, not %s", place, shorten(n.text))
		return
	}
	d.structure(n, "%s must be a whole number, not %s", place, n.what())
}

// inputsPath is where the inputs of a dispatch stand.
const inputsPath = "jobs.*.dispatch.inputs"

// plainValue checks an input of a dispatch.
func (d *decoder) plainValue(n *node, place string) {
	switch n.value.(type) {
	case bool, int64, float64:
		if n.kind == scalarNode {
			return
		}
	case string:
		if n.kind == scalarNode {
			d.text(n, place, d.exprs)
			return
		}
	}
	d.structure(n, "%s must be text, a number, true or false, not %s", place, n.what())
}

// A field is a key of a mapping that the language defines.
type field struct {
	name     string
	typ      reflect.Type
	required bool
}

// fieldsOf lists a struct's keys by its json tags; those that the schema leaves out are not for files.
func fieldsOf(t reflect.Type) []field {
	fields := make([]field, 0, t.NumField())
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" || name == "-" || f.Tag.Get("jsonschema") == "-" {
			continue
		}
		fields = append(fields, field{name, f.Type, !strings.Contains(options, "omitempty")})
	}
	return fields
}

// into fills a Go value from a checked node.
func (n *node) into(v any) error {
	data, err := json.Marshal(n.plain())
	if err != nil {
		return err
	}
	return json.Unmarshal(data, v)
}

// join makes the path that later is asked with: on is the same at the top and in a job.
func join(path, key string) string {
	if path == "" || key == "on" {
		return key
	}
	return path + "." + key
}

// joinPlace makes the place that is shown: within a job, what stands before a key is told by the line.
func joinPlace(place, key string) string {
	if place == "the file" || strings.HasPrefix(place, "jobs.") {
		return key
	}
	return place + "." + key
}

// example shows how a mapping looks where people often write something else.
func example(path string) string {
	switch path {
	case "on":
		return " such as {push: {branches: [$default]}, pull_request: {}}"
	case "on.push", "on.pull_request":
		return " such as {branches: [$default]}"
	case "on.merge_group":
		return " such as {branches: [$default]}, or false"
	case "on.command":
		return " such as {name: greet}"
	case "jobs":
		return " of names to jobs"
	case "jobs.*.dispatch":
		return " such as {workflow: hello.yaml}"
	case "jobs.*.await":
		return " such as {checks: [CI / test]}"
	}
	return ""
}
