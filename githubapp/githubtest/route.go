package githubtest

import (
	"cmp"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/routers"
)

// route is one operation of the description with the pattern its requests match.
//
// The routers that come with the validator can't take parameters that span several path segments (a file path, a ref with
// slashes), which GitHub marks with x-multi-segment.
type route struct {
	id        string
	method    string
	path      string
	pattern   *regexp.Regexp
	names     []string
	literals  int
	multi     int
	query     map[string]bool
	described *routers.Route
}

var placeholder = regexp.MustCompile(`^\{([a-z_]+)\}$`)

func newRoute(doc *openapi3.T, method, path string, item *openapi3.PathItem, operation *openapi3.Operation) (*route, error) {
	r := &route{id: operation.OperationID, method: method, path: path, query: map[string]bool{},
		described: &routers.Route{Spec: doc, Path: path, PathItem: item, Method: method, Operation: operation}}
	spans := map[string]bool{}
	for _, parameter := range append(operation.Parameters, item.Parameters...) {
		switch parameter.Value.In {
		case "query":
			r.query[parameter.Value.Name] = true
		case "path":
			if many, _ := parameter.Value.Extensions["x-multi-segment"].(bool); many {
				spans[parameter.Value.Name] = true
			}
		}
	}
	var pattern strings.Builder
	pattern.WriteString("^")
	for segment := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		name := placeholder.FindStringSubmatch(segment)
		switch {
		case name == nil:
			pattern.WriteString("/" + regexp.QuoteMeta(segment))
			r.literals++
		case spans[name[1]] && r.id == "repos/get-content":
			pattern.WriteString("(?:/(.*))?") // the root folder has an empty path
			r.names = append(r.names, name[1])
			r.multi++
		case spans[name[1]]:
			pattern.WriteString("/(.+)")
			r.names = append(r.names, name[1])
			r.multi++
		default:
			pattern.WriteString("/([^/]+)")
			r.names = append(r.names, name[1])
		}
	}
	compiled, err := regexp.Compile(pattern.String() + "$")
	if err != nil {
		return nil, fmt.Errorf("route %s: %w", path, err)
	}
	r.pattern = compiled
	return r, nil
}

// compareRoutes puts the most literal route first, so that commits/{ref}/check-runs is tried before commits/{ref}.
func compareRoutes(a, b *route) int {
	return cmp.Or(cmp.Compare(b.literals, a.literals), cmp.Compare(a.multi, b.multi), strings.Compare(a.path, b.path), strings.Compare(a.method, b.method))
}

// match finds the operation of a request by method and escaped path, and its path parameters, unescaped.
func (c *contract) match(method, escapedPath string) (*route, map[string]string) {
	for _, r := range c.routes {
		if r.method != method {
			continue
		}
		values := r.pattern.FindStringSubmatch(escapedPath)
		if values == nil {
			continue
		}
		params := map[string]string{}
		for i, name := range r.names {
			value, err := url.PathUnescape(values[i+1])
			if err != nil {
				return nil, nil
			}
			params[name] = value
		}
		return r, params
	}
	return nil, nil
}

// isAPI tells a request that was meant for the API from one for a page of the web site, which isn't modelled.
func (c *contract) isAPI(path string) bool {
	first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return slices.ContainsFunc(c.routes, func(r *route) bool {
		root, _, _ := strings.Cut(strings.TrimPrefix(r.path, "/"), "/")
		return root == first
	})
}
