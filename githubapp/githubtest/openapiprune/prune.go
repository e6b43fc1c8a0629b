package main

import (
	"fmt"
	"slices"
	"strings"
)

type object = map[string]any

// pruneOperations keeps the operations named in keepOperations and every component they reach.
func pruneOperations(spec object) (object, error) {
	wanted := map[string]bool{}
	for _, id := range keepOperations {
		wanted[id] = true
	}
	paths := object{}
	for path, item := range spec["paths"].(object) {
		kept := object{}
		for method, operation := range item.(object) {
			if fields, ok := operation.(object); ok {
				if id, _ := fields["operationId"].(string); wanted[id] {
					delete(wanted, id)
					kept[method] = strip(fields, false)
				}
			}
		}
		if len(kept) > 0 {
			paths[path] = kept
		}
	}
	if len(wanted) > 0 {
		return nil, fmt.Errorf("not in the description: %v", wanted)
	}
	// The error shapes are reached by hand too: many operations document no error at all, and the stand-in still
	// checks the errors it answers against them.
	extra := []any{object{"$ref": "#/components/schemas/basic-error"}, object{"$ref": "#/components/schemas/validation-error"}}
	components, err := reach(spec, []any{paths, extra})
	if err != nil {
		return nil, err
	}
	return object{"openapi": spec["openapi"], "info": strippedInfo(spec), "paths": paths, "components": components}, nil
}

// pruneWebhooks keeps the webhooks whose name starts with one of keepWebhooks and every component they reach.
func pruneWebhooks(spec object) (object, error) {
	webhooks := object{}
	for name, item := range spec["webhooks"].(object) {
		if slices.ContainsFunc(keepWebhooks, func(prefix string) bool { return name == prefix || strings.HasPrefix(name, prefix+"-") }) {
			webhooks[name] = strip(item, true)
		}
	}
	components, err := reach(spec, webhooks)
	if err != nil {
		return nil, err
	}
	return object{"openapi": spec["openapi"], "info": strippedInfo(spec), "paths": object{}, "webhooks": webhooks, "components": components}, nil
}

func strippedInfo(spec object) object {
	info := spec["info"].(object)
	return object{"title": info["title"], "version": info["version"]}
}

// reach collects the stripped components that from refers to, and those they refer to.
func reach(spec object, from any) (object, error) {
	components := object{}
	queue := references(from, nil)
	for len(queue) > 0 {
		ref := queue[0]
		queue = queue[1:]
		parts := strings.Split(strings.TrimPrefix(ref, "#/components/"), "/")
		if len(parts) != 2 {
			return nil, fmt.Errorf("cannot follow the reference %q", ref)
		}
		section, _ := components[parts[0]].(object)
		if section == nil {
			section = object{}
			components[parts[0]] = section
		}
		if _, seen := section[parts[1]]; seen {
			continue
		}
		all, _ := spec["components"].(object)[parts[0]].(object)
		target, found := all[parts[1]]
		if !found {
			return nil, fmt.Errorf("the reference %q leads nowhere", ref)
		}
		section[parts[1]] = strip(target, false)
		if parts[0] == "responses" {
			section[parts[1]].(object)["description"] = ""
		}
		queue = references(section[parts[1]], queue)
	}
	return components, nil
}

func references(node any, into []string) []string {
	switch node := node.(type) {
	case object:
		if ref, ok := node["$ref"].(string); ok {
			into = append(into, ref)
		}
		for _, child := range node {
			into = references(child, into)
		}
	case []any:
		for _, child := range node {
			into = references(child, into)
		}
	}
	return into
}

// prose are the keywords that say nothing a validator acts on.
var prose = []string{"description", "summary", "example", "examples", "externalDocs", "tags", "title", "default", "deprecated", "readOnly", "discriminator"}

// names are the keywords whose children are keyed by names someone chose, not by keywords.
var names = []string{"properties", "patternProperties", "responses", "headers", "content"}

// strip copies a node without prose. inNames says that the node's own keys are names, which are kept whatever they say.
// Responses keep an empty description, which the specification demands.
func strip(node any, inNames bool) any {
	switch node := node.(type) {
	case object:
		kept := object{}
		for key, child := range node {
			if !inNames && (slices.Contains(prose, key) || strings.HasPrefix(key, "x-") && key != "x-multi-segment") {
				continue
			}
			kept[key] = strip(child, !inNames && slices.Contains(names, key))
			if response, ok := kept[key].(object); ok && inNames && isResponse(key) && response["$ref"] == nil {
				response["description"] = ""
			}
		}
		return kept
	case []any:
		kept := make([]any, len(node))
		for i, child := range node {
			kept[i] = strip(child, false)
		}
		return kept
	}
	return node
}

// isResponse reports whether a name is an HTTP status, under which a response is described.
func isResponse(name string) bool {
	return name == "default" || len(name) == 3 && strings.Trim(name, "0123456789") == ""
}

// listExamples flattens the package's list of events into one entry per example.
func listExamples(content object) ([]any, error) {
	var list []any
	for _, event := range content["list"].([]any) {
		fields := event.(object)
		for _, example := range fields["examples"].([]any) {
			body, ok := example.(object)
			if !ok {
				return nil, fmt.Errorf("an example of %v is not an object", fields["name"])
			}
			action, _ := body["action"].(string)
			list = append(list, object{"event": fields["name"], "action": action, "body": body})
		}
	}
	return list, nil
}
