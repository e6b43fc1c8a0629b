package pipeline

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/invopop/jsonschema"
	validator "github.com/santhosh-tekuri/jsonschema/v6"
	"golang.org/x/tools/txtar"

	"github.com/slipway-ci/slipway/jobs"
)

var update = flag.Bool("update", false, "renew the golden files and the JSON Schema")

const schemaFile = "slipway.schema.json"

// generateSchema follows the Go types that the decoder follows, and adds the decoder's uniform rules.
func generateSchema(t *testing.T) []byte {
	t.Helper()
	r := &jsonschema.Reflector{Anonymous: true, Mapper: ownForms}
	for _, dir := range []string{"pipeline", "jobs"} {
		if err := r.AddGoComments("github.com/slipway-ci/slipway/"+dir, "../"+dir); err != nil {
			t.Fatal(err)
		}
	}
	s := r.Reflect(&Document{})
	s.Title = "Slipway pipeline"
	for name, def := range s.Definitions {
		bound(def)
		switch name {
		case "On":
			for _, event := range emptyEvents() { // push: with nothing is push: {}
				value, _ := def.Properties.Get(event)
				forms := []*jsonschema.Schema{{Ref: value.Ref}, {Type: "null"}}
				if event == "merge_group" {
					forms = append(forms, &jsonschema.Schema{Const: false})
				}
				def.Properties.Set(event, &jsonschema.Schema{Description: value.Description, OneOf: forms})
			}
		case "Job":
			for _, key := range kindKeys() {
				def.OneOf = append(def.OneOf, &jsonschema.Schema{Required: []string{key}})
			}
		case "BuildSpec":
			tags, _ := def.Properties.Get("tags")
			most := uint64(jobs.MaxExtraTags)
			tags.MaxItems = &most
		case "AwaitSpec":
			checks, _ := def.Properties.Get("checks")
			most := uint64(maxAwaited)
			checks.MaxItems = &most
		case "DispatchSpec":
			inputs, _ := def.Properties.Get("inputs")
			inputs.AdditionalProperties = &jsonschema.Schema{
				OneOf: []*jsonschema.Schema{{Type: "string"}, {Type: "number"}, {Type: "boolean"}},
			}
		case "Document":
			all, _ := def.Properties.Get("jobs")
			all.PropertyNames = &jsonschema.Schema{Pattern: jobNameForm}
		}
	}
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(data, '\n')
}

// ownForms are the types that are written in more ways than one, as decoder.check has them.
func ownForms(t reflect.Type) *jsonschema.Schema {
	text, least, most := &jsonschema.Schema{Type: "string"}, uint64(1), uint64(maxItems)
	switch t {
	case namesType:
		return &jsonschema.Schema{OneOf: []*jsonschema.Schema{text, {Type: "array", Items: text, MinItems: &least, MaxItems: &most}}}
	case conditionType:
		return &jsonschema.Schema{OneOf: []*jsonschema.Schema{text, {Type: "boolean"}}}
	case actionType:
		return words(actions())
	case releaseType:
		return words(releaseActions())
	}
	return nil
}

func words(known []string) *jsonschema.Schema {
	s := &jsonschema.Schema{Type: "string"}
	for _, word := range known {
		s.Enum = append(s.Enum, word)
	}
	return s
}

// bound says what the decoder says of every list and mapping: neither empty nor endless.
func bound(s *jsonschema.Schema) {
	least, most := uint64(1), uint64(maxItems)
	if s.Type == "array" {
		s.MinItems, s.MaxItems = &least, &most
	}
	if s.Type == "object" && s.Properties.Len() == 0 {
		s.MinProperties, s.MaxProperties = &least, &most
	}
	if s.Properties == nil {
		return
	}
	for p := s.Properties.Oldest(); p != nil; p = p.Next() {
		bound(p.Value)
	}
}

func TestSchemaIsUpToDate(t *testing.T) {
	want := generateSchema(t)
	if *update {
		if err := os.WriteFile(schemaFile, want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(Schema(), want) {
		t.Errorf("%s does not fit the Go types: run go test ./pipeline -update", schemaFile)
	}
}

// The schema and the decoder must agree on every case's pipeline file: what has the wrong form for one has it for the
// other.
func TestSchemaAgreesWithDecoder(t *testing.T) {
	doc, err := validator.UnmarshalJSON(bytes.NewReader(generateSchema(t)))
	if err != nil {
		t.Fatal(err)
	}
	c := validator.NewCompiler()
	if err := c.AddResource(schemaFile, doc); err != nil {
		t.Fatal(err)
	}
	compiled, err := c.Compile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	accepted, refused := 0, 0
	for _, name := range caseFiles(t) {
		for _, content := range pipelinesOf(t, name) {
			r := &report{}
			root := load(content, r)
			if root == nil || len(r.faults) > 0 {
				continue // not one YAML document: no schema gets to see it
			}
			f := parse(content, ".slipway.yaml")
			data, err := json.Marshal(root.plain())
			if err != nil {
				t.Fatal(err)
			}
			value, err := validator.UnmarshalJSON(bytes.NewReader(data))
			if err != nil {
				t.Fatal(err)
			}
			wrong := slices.ContainsFunc(f.report.faults, func(f fault) bool { return f.structural })
			verdict := compiled.Validate(value)
			if wrong != (verdict != nil) {
				t.Errorf("%s: the decoder says %v, the schema says %v", name, f.report.list(), verdict)
			}
			if wrong {
				refused++
			} else {
				accepted++
			}
		}
	}
	if accepted < 10 || refused < 10 {
		t.Errorf("compared %d accepted and %d refused files: too few to mean anything", accepted, refused)
	}
}

// caseFiles lists the cases below testdata.
func caseFiles(t testing.TB) []string {
	t.Helper()
	names, err := filepath.Glob("testdata/*/*.txtar")
	if err != nil || len(names) == 0 {
		t.Fatalf("no cases below testdata: %v", err)
	}
	return names
}

// pipelinesOf returns the pipeline files of a case.
func pipelinesOf(t testing.TB, name string) [][]byte {
	t.Helper()
	archive, err := txtar.ParseFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var files [][]byte
	for _, f := range archive.Files {
		if filepath.Ext(f.Name) == ".yaml" && f.Name != "policy.yaml" && !strings.Contains(f.Name, workflowFolder) {
			files = append(files, f.Data)
		}
	}
	return files
}
