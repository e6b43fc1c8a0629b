package deploy

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"sync"

	"helm.sh/helm/v4/pkg/kube"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/openapi"
	"k8s.io/kubectl/pkg/validation"
)

// Bounds of what is kept of one API server's descriptions.
const (
	maxDocuments     = 500
	maxDocumentBytes = 32 << 20
)

// documentCache keeps the API server's descriptions of itself (discovery and OpenAPI)
// across the rollouts of a cluster. Helm builds new clients for every action and every
// wait; each of them would fetch the same documents again.
type documentCache struct {
	mu   sync.Mutex
	kept map[string]document
}

type document struct {
	header http.Header
	body   []byte
}

func (c *documentCache) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		if req.Method != http.MethodGet || !describesAPI(apiPath(req.URL.Path)) {
			return next.RoundTrip(req)
		}
		key := req.URL.RequestURI() + " " + strings.Join(req.Header.Values("Accept"), ",")
		c.mu.Lock()
		doc, ok := c.kept[key]
		c.mu.Unlock()
		if ok {
			return doc.response(req), nil
		}
		resp, err := next.RoundTrip(req)
		if err != nil || resp.StatusCode != http.StatusOK {
			return resp, err
		}
		body, err := io.ReadAll(io.LimitReader(resp.Body, maxDocumentBytes+1))
		if err != nil {
			_ = resp.Body.Close()
			return nil, err
		}
		if len(body) > maxDocumentBytes {
			resp.Body = struct {
				io.Reader
				io.Closer
			}{io.MultiReader(bytes.NewReader(body), resp.Body), resp.Body}
			return resp, nil
		}
		_ = resp.Body.Close()
		doc = document{header: resp.Header, body: body}
		c.mu.Lock()
		if c.kept == nil {
			c.kept = map[string]document{}
		}
		if len(c.kept) < maxDocuments {
			c.kept[key] = doc
		}
		c.mu.Unlock()
		return doc.response(req), nil
	})
}

func (d document) response(req *http.Request) *http.Response {
	return &http.Response{
		Status: "200 OK", StatusCode: http.StatusOK,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: d.header.Clone(), Body: io.NopCloser(bytes.NewReader(d.body)),
		ContentLength: int64(len(d.body)), Request: req,
	}
}

// roundTripper makes a function an http.RoundTripper.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// apiPath is an API request's path in parts, from "api", "apis", "openapi" or "version"
// on: a proxy may put a prefix before them.
func apiPath(p string) []string {
	parts := strings.Split(strings.Trim(p, "/"), "/")
	for i, part := range parts {
		switch part {
		case "api", "apis", "openapi", "version":
			return parts[i:]
		}
	}
	return nil
}

// describesAPI tells discovery and OpenAPI documents from objects. /version is not among
// them: Ping asks it to see whether the API server is there.
func describesAPI(path []string) bool {
	if len(path) == 0 {
		return false
	}
	switch path[0] {
	case "openapi":
		return true
	case "api": // /api, /api/v1
		return len(path) <= 2
	case "apis": // /apis, /apis/apps, /apis/apps/v1
		return len(path) <= 3
	default:
		return false
	}
}

// keptDiscovery ignores Helm's request before each action to ask everything anew;
// Cluster.forget does that when it is due.
type keptDiscovery struct {
	discovery.CachedDiscoveryInterface
	server *discovery.DiscoveryClient

	mu      sync.Mutex
	version *version.Info
}

func (*keptDiscovery) Invalidate() {}

// OpenAPIV3 leaves the documents to documentCache: the memory cache would keep errors too.
func (d *keptDiscovery) OpenAPIV3() openapi.Client { return d.server.OpenAPIV3() }

// ServerVersion asks once.
func (d *keptDiscovery) ServerVersion() (*version.Info, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.version == nil {
		v, err := d.CachedDiscoveryInterface.ServerVersion()
		if err != nil {
			return nil, err
		}
		d.version = v
	}
	return d.version, nil
}

// sharedSchema is kubectl's check of objects before they are sent, shared by all rollouts:
// it reads a large document, as a rule only to find that the API server checks the fields
// of a kind itself, and remembers that.
type sharedSchema struct {
	getter *getter

	mu     sync.Mutex
	schema validation.Schema // nil before the first use
}

// ValidateBytes checks one object.
func (s *sharedSchema) ValidateBytes(object []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.schema == nil {
		schema, err := kube.New(s.getter).Factory.Validator(metav1.FieldValidationStrict)
		if err != nil {
			return err
		}
		s.schema = schema
	}
	err := s.schema.ValidateBytes(object)
	if err != nil {
		s.schema = nil // it remembers errors too, those of the connection among them
	}
	return err
}

// sharingFactory is what Helm gets clients from, with the schema that is shared.
type sharingFactory struct {
	kube.Factory
	strict validation.Schema
}

func (f sharingFactory) Validator(directive string) (validation.Schema, error) {
	if directive == metav1.FieldValidationStrict {
		return f.strict, nil
	}
	return f.Factory.Validator(directive)
}
