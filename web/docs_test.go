package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// TestDocumentedRequests keeps the requests in the documents true: each is one that the API takes.
func TestDocumentedRequests(t *testing.T) {
	doc, err := os.ReadFile("../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	var requests []string
	for _, block := range regexp.MustCompile("(?s)```json\n(.*?)```").FindAllStringSubmatch(string(doc), -1) {
		requests = append(requests, block[1])
	}
	requests = append(requests, regexp.MustCompile(`-d '(.*)'`).FindStringSubmatch(string(doc))[1], argoRequest(t))
	if len(requests) < 6 {
		t.Errorf("only %d requests are shown", len(requests))
	}
	description, err := described()
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range requests {
		var any any
		var request RunRequest
		d := json.NewDecoder(strings.NewReader(text))
		d.DisallowUnknownFields()
		if err := errors.Join(d.Decode(&request), json.Unmarshal([]byte(text), &any)); err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		q, _ := request.request("a test")
		if err := errors.Join(q.Check(), description.Components.Schemas["RunRequest"].Value.VisitJSON(any)); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// argoRequest is the request in the example for Argo Workflows. What the example's conditions look for must be what is answered.
func argoRequest(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../examples/argo-workflows/slipway.yaml")
	if err != nil {
		t.Fatal(err)
	}
	type step struct {
		Arguments struct {
			Parameters []struct{ Name, Value string }
		}
	}
	type template struct {
		Name string
		HTTP struct {
			Condition string `yaml:"successCondition"`
		}
		Steps [][]step
	}
	conditions, request := map[string]string{}, ""
	for d := yaml.NewDecoder(bytes.NewReader(text)); ; {
		var w struct {
			Spec struct{ Templates []template }
		}
		if err := d.Decode(&w); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		for _, part := range w.Spec.Templates {
			conditions[part.Name] = part.HTTP.Condition
			for _, s := range slices.Concat(part.Steps...) {
				for _, p := range s.Arguments.Parameters {
					if p.Name == "request" && strings.HasPrefix(p.Value, "{\"") {
						request = p.Value
					}
				}
			}
		}
	}
	answer, err := json.Marshal(RunStatus{Over: true, Conclusion: "success"})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"wait", "judge"} {
		found := regexp.MustCompile(`contains ("(?:[^"\\]|\\.)*")`).FindStringSubmatch(conditions[name])
		var part string
		if found == nil || json.Unmarshal([]byte(found[1]), &part) != nil || !strings.Contains(string(answer), part) {
			t.Errorf("%s waits for %s, which is not in %s", name, conditions[name], answer)
		}
	}
	return request
}
