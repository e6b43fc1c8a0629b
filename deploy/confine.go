package deploy

import (
	"net/http"
	"slices"
	"sync"
)

// outsideError is the request of a rollout for something it was not granted.
type outsideError struct{ method, path string }

const outsideNamespace = "lies outside the namespace of the release"

func (e *outsideError) Error() string { return e.method + " " + e.path + " " + outsideNamespace }

// confinement holds a rollout to its namespace, for reads as for writes: a template's
// lookup runs with our credentials and must not show one team another's secrets.
type confinement struct {
	namespace string // empty: not confined

	mu      sync.Mutex
	refused *outsideError // the first one
}

func (c *confinement) check(req *http.Request) error {
	if c.namespace == "" || inNamespace(apiPath(req.URL.Path), c.namespace, req.Method) {
		return nil
	}
	err := &outsideError{method: req.Method, path: clip(req.URL.Path, 200)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refused == nil {
		c.refused = err
	}
	return err
}

func (c *confinement) firstRefused() *outsideError {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.refused
}

// inNamespace tells whether an API path concerns the namespace or only describes the API.
// https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-uris
func inNamespace(path []string, namespace, method string) bool {
	if slices.Contains(path, "..") || slices.Contains(path, ".") || len(path) == 0 {
		return false
	}
	if describesAPI(path) || path[0] == "version" {
		return true
	}
	resource := path[2:] // after /api/v1
	if path[0] == "apis" {
		resource = path[3:]
		// Helm looks among these whether a kind is a custom one. They hold no secrets.
		if path[1] == "apiextensions.k8s.io" && resource[0] == "customresourcedefinitions" {
			return method == http.MethodGet
		}
	}
	if len(resource) < 2 || resource[0] != "namespaces" || resource[1] != namespace {
		return false
	}
	return len(resource) > 2 || method == http.MethodGet // the namespace itself may be read
}
