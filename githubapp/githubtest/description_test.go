package githubtest

import (
	"context"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

// The pruned descriptions are valid by themselves: nothing was cut that something else refers to.
func TestDescriptionsAreValid(t *testing.T) {
	for _, name := range []string{"api", "webhooks"} {
		doc, err := loadDescription(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := doc.Validate(context.Background(), openapi3.DisableExamplesValidation()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What is modelled is described, and what is described but not modelled is known: this list only shrinks.
func TestOperations(t *testing.T) {
	c, err := loadContract()
	if err != nil {
		t.Fatal(err)
	}
	var missing []string
	for id := range c.operation {
		if _, modelled := operations[id]; !modelled {
			missing = append(missing, id)
		}
	}
	slices.Sort(missing)
	want := []string{
		"meta/root", "orgs/get-membership-for-user", "repos/get-all-environments", "repos/get-environment", "repos/list-branches-for-head-commit",
	}
	if !slices.Equal(missing, want) {
		t.Errorf("described but not modelled:\n got %q\nwant %q", missing, want)
	}
	for _, id := range slices.Sorted(maps.Keys(operations)) {
		if c.operation[id] == nil {
			t.Errorf("%s is modelled but not described", id)
		}
	}
}

// Refs and paths may span several segments, and the more literal route wins.
func TestRoutes(t *testing.T) {
	c, err := loadContract()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		path, operation string
		params          map[string]string
	}{
		{"/repos/a/b/commits/feat/x/check-runs", "checks/list-for-ref", map[string]string{"owner": "a", "repo": "b", "ref": "feat/x"}},
		{"/repos/a/b/commits/feat%2Fx", "repos/get-commit", map[string]string{"owner": "a", "repo": "b", "ref": "feat/x"}},
		{"/repos/a/b/compare/main...bob:feat/x", "repos/compare-commits-with-basehead", map[string]string{"owner": "a", "repo": "b", "basehead": "main...bob:feat/x"}},
		{"/repos/a/b/contents", "repos/get-content", map[string]string{"owner": "a", "repo": "b", "path": ""}},
		{"/repos/a/b/contents/x%20y/z", "repos/get-content", map[string]string{"owner": "a", "repo": "b", "path": "x y/z"}},
		{"/repos/a/b/git/ref/heads/feat/x", "git/get-ref", map[string]string{"owner": "a", "repo": "b", "ref": "heads/feat/x"}},
		{"/repos/a/b", "repos/get", map[string]string{"owner": "a", "repo": "b"}},
	} {
		r, params := c.match(http.MethodGet, test.path)
		if r == nil || r.id != test.operation || !maps.Equal(params, test.params) {
			t.Errorf("%s leads to %v with %v", test.path, r, params)
		}
	}
	if r, _ := c.match(http.MethodGet, "/repos/a/b/nothing"); r != nil {
		t.Errorf("an unknown path leads to %s", r.id)
	}
}

// The notice names what the embedded files were made from, and none of them is big.
func TestNotice(t *testing.T) {
	notice, err := os.ReadFile("openapi/NOTICE.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("openapi/*.json.gz")
	if err != nil || len(files) != 3 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() > 200_000 || !strings.Contains(string(notice), filepath.Base(file)) {
			t.Errorf("%s has %d bytes, or is missing in the notice", file, info.Size())
		}
	}
}

// The checks find what they are there for, in every direction.
func TestFaultsAreFound(t *testing.T) {
	c, err := loadContract()
	if err != nil {
		t.Fatal(err)
	}
	request := httptest.NewRequest(http.MethodGet, "/repos/a/b/git/ref/heads/main", nil)
	r, params := c.match(http.MethodGet, request.URL.EscapedPath())
	header := http.Header{"Content-Type": {"application/json; charset=utf-8"}}
	for _, test := range []struct {
		name string
		got  []Violation
		want string // in the first violation; empty for none
	}{
		{"answer", c.checkResponse(request, r, params, 200, header, []byte(`{"ref": "r", "node_id": "n", "url": "http://x/y", "object": {"sha": "`+zeroSHA+`", "type": "commit", "url": "http://x/y"}}`)), ""},
		{"answer that lacks a field", c.checkResponse(request, r, params, 200, header, []byte(`{"ref": "r", "node_id": "n", "url": "http://x/y"}`)), `/object: property "object" is missing`},
		{"answer of another type", c.checkResponse(request, r, params, 200, header, []byte(`[]`)), "git/get-ref response /"},
		{"answer that is no JSON", c.checkResponse(request, r, params, 200, header, []byte(`<html>`)), "git/get-ref response"},
		{"undocumented success", c.checkResponse(request, r, params, 203, header, []byte(`{}`)), "status 203 is not in the description"},
		{"undocumented error", c.checkResponse(request, r, params, 500, header, []byte(`{"message": "oops"}`)), ""},
		{"error of another shape", c.checkResponse(request, r, params, 500, header, []byte(`{"message": 1}`)), "/message"},
		{"webhook that lacks a field", c.checkWebhook("create", "", []byte(`{"ref": "x"}`)), "property"},
		{"webhook nobody knows", c.checkWebhook("create", "twice", []byte(`{}`)), "no such webhook"},
	} {
		switch {
		case test.want == "" && len(test.got) > 0:
			t.Errorf("%s: found %v", test.name, test.got)
		case test.want != "" && (len(test.got) == 0 || !strings.Contains(test.got[0].String(), test.want)):
			t.Errorf("%s: found %v, want %q", test.name, test.got, test.want)
		}
	}
}
