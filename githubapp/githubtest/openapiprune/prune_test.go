package main

import (
	"encoding/json"
	"reflect"
	"testing"
)

func parse(t *testing.T, text string) object {
	t.Helper()
	var o object
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		t.Fatal(err)
	}
	return o
}

// Prose goes, but a property that happens to be called like prose stays.
func TestStrip(t *testing.T) {
	got := strip(parse(t, `{"description": "d", "title": "t", "type": "object", "example": 1, "x-github": {}, "x-multi-segment": true,
		"properties": {"description": {"type": "string", "description": "d"}, "example": {"type": "string"}, "title": {"items": {"default": 1, "type": "integer"}}},
		"required": ["description"]}`), false)
	want := parse(t, `{"type": "object", "x-multi-segment": true, "required": ["description"],
		"properties": {"description": {"type": "string"}, "example": {"type": "string"}, "title": {"items": {"type": "integer"}}}}`)
	if !reflect.DeepEqual(got, any(want)) {
		t.Errorf("got %v\nwant %v", got, want)
	}
	got = strip(parse(t, `{"responses": {"200": {"description": "fine", "content": {"application/json": {"schema": {"description": "d"}}}}}}`), false)
	want = parse(t, `{"responses": {"200": {"description": "", "content": {"application/json": {"schema": {}}}}}}`)
	if !reflect.DeepEqual(got, any(want)) {
		t.Errorf("got %v\nwant %v", got, want)
	}
}

func TestReach(t *testing.T) {
	spec := parse(t, `{"components": {"schemas": {"a": {"items": {"$ref": "#/components/schemas/b"}}, "b": {"anyOf": [{"$ref": "#/components/schemas/a"}]}, "c": {}},
		"responses": {"gone": {"description": "Gone"}}}}`)
	got, err := reach(spec, []any{object{"$ref": "#/components/schemas/a"}, object{"$ref": "#/components/responses/gone"}})
	if err != nil {
		t.Fatal(err)
	}
	want := parse(t, `{"schemas": {"a": {"items": {"$ref": "#/components/schemas/b"}}, "b": {"anyOf": [{"$ref": "#/components/schemas/a"}]}}, "responses": {"gone": {"description": ""}}}`)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
	for _, ref := range []string{"#/components/schemas/nothing", "other.json#/a/b"} {
		if _, err := reach(spec, object{"$ref": ref}); err == nil {
			t.Errorf("followed %s", ref)
		}
	}
}

// An operation that GitHub has dropped or renamed must not vanish in silence.
func TestUnknownOperation(t *testing.T) {
	if _, err := pruneOperations(parse(t, `{"openapi": "3.0.3", "info": {}, "paths": {}, "components": {}}`)); err == nil {
		t.Error("pruned a description that lacks the operations")
	}
}
