package web

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"github.com/slipway-ci/slipway/jobs"
)

// described is openapi.yaml, whose objects hold only what they name: a field that is not described fails a test.
var described = sync.OnceValues(func() (*openapi3.T, error) {
	text, err := description()
	if err != nil {
		return nil, err
	}
	doc, err := openapi3.NewLoader().LoadFromData(text)
	if err != nil {
		return nil, err
	}
	for _, s := range doc.Components.Schemas {
		closeObjects(s)
	}
	return doc, nil
})

// findRoute finds what is described for a request.
func findRoute(doc *openapi3.T, method, path string) (*routers.Route, map[string]string) {
	for template, item := range doc.Paths.Map() {
		form := regexp.MustCompile("^" + regexp.MustCompile(`\{(\w+)\}`).ReplaceAllString(template, "(?P<$1>[^/]+)") + "$")
		values, operation := form.FindStringSubmatch(path), item.GetOperation(method)
		if values == nil || operation == nil {
			continue
		}
		parameters := map[string]string{}
		for i, name := range form.SubexpNames()[1:] {
			parameters[name] = values[i+1]
		}
		return &routers.Route{Spec: doc, Path: template, PathItem: item, Method: method, Operation: operation}, parameters
	}
	return nil, nil
}

func closeObjects(ref *openapi3.SchemaRef) {
	if ref == nil || ref.Value == nil {
		return
	}
	s := ref.Value
	if s.AdditionalProperties.Has == nil && s.AdditionalProperties.Schema == nil && len(s.Properties) > 0 {
		s.AdditionalProperties.Has = new(bool)
	}
	if ref.Ref != "" {
		return // it is closed where it is
	}
	for _, property := range s.Properties {
		closeObjects(property)
	}
	closeObjects(s.Items)
}

// conforms compares an exchange with the API's description.
func conforms(tb testing.TB, r *http.Request, sent []byte, w *httptest.ResponseRecorder) {
	tb.Helper()
	doc, err := described()
	if err != nil {
		tb.Fatal(err)
	}
	where := r.Method + " " + r.URL.String()
	like := httptest.NewRequest(r.Method, r.URL.String(), bytes.NewReader(sent))
	like.Header = r.Header
	if like.Method == http.MethodHead {
		like.Method = http.MethodGet
	}
	route, parameters := findRoute(doc, like.Method, like.URL.EscapedPath())
	if route == nil {
		if w.Code < 400 && r.URL.Path != createOperatorRunPath {
			tb.Errorf("%s is answered with %d, but is not described", where, w.Code)
		}
		return
	}
	request := &openapi3filter.RequestValidationInput{
		Request: like, PathParams: parameters, Route: route,
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, SkipSettingDefaults: true},
	}
	if err := openapi3filter.ValidateRequest(tb.Context(), request); err != nil && w.Code < 400 {
		tb.Errorf("%s is answered with %d, but is not as described: %v", where, w.Code, err)
	}
	answer := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: request, Status: w.Code, Header: w.Header(), Body: io.NopCloser(bytes.NewReader(w.Body.Bytes())),
		Options: &openapi3filter.Options{IncludeResponseStatus: true, ExcludeResponseBody: r.Method == http.MethodHead || !strings.Contains(w.Header().Get("Content-Type"), "json")},
	}
	if err := openapi3filter.ValidateResponse(tb.Context(), answer); err != nil {
		tb.Errorf("the answer to %s is not as described: %v", where, err)
	}
}

// TestEveryRouteIsDescribed: and everything that is described is a route.
func TestEveryRouteIsDescribed(t *testing.T) {
	doc, err := described()
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context(), openapi3.IsOpenAPI31OrLater()); err != nil {
		t.Errorf("openapi.yaml: %v", err)
	}
	var described, served []string
	for path, item := range doc.Paths.Map() {
		for method := range item.Operations() {
			described = append(described, method+" "+path)
		}
	}
	s := newWorld().server(t)
	e := s.echo()
	api{Server: s}.mount(e)
	for _, r := range e.Routes() {
		if r.Method != http.MethodHead {
			served = append(served, r.Method+" "+regexp.MustCompile(`:(\w+)`).ReplaceAllString(r.Path, "{$1}"))
		}
	}
	slices.Sort(described)
	slices.Sort(served)
	if !slices.Equal(described, served) {
		t.Errorf("described: %v\nserved:    %v", described, served)
	}
}

// TestEveryFieldIsDescribed holds the names in our types and in openapi.yaml together, also of what no test happens to show.
func TestEveryFieldIsDescribed(t *testing.T) {
	doc, err := described()
	if err != nil {
		t.Fatal(err)
	}
	for name, typ := range map[string]reflect.Type{
		"Problem": reflect.TypeFor[Problem](), "RunRequest": reflect.TypeFor[RunRequest](), "RunAccepted": reflect.TypeFor[RunAccepted](),
		"RunList": reflect.TypeFor[RunList](), "Run": reflect.TypeFor[RunStatus](), "RequestState": reflect.TypeFor[RequestState](), "Job": reflect.TypeFor[Job](),
		"DeliveryList": reflect.TypeFor[DeliveryList](), "Delivery": reflect.TypeFor[Delivery](), "Considered": reflect.TypeFor[Considered](),
		"Annotation": reflect.TypeFor[jobs.Annotation](), "Fault": reflect.TypeFor[jobs.Fault](), "Trust": reflect.TypeFor[jobs.Trust](), "Actor": reflect.TypeFor[jobs.Actor](),
		"GitHubState": reflect.TypeFor[GitHubState](), "RateLimitState": reflect.TypeFor[jobs.RateLimitState](),
		"Observed": reflect.TypeFor[Observed](), "ObservedRepository": reflect.TypeFor[ObservedRepository](),
	} {
		var described []string
		for property := range doc.Components.Schemas[name].Value.Properties {
			described = append(described, property)
		}
		fields := jsonNames(typ)
		slices.Sort(described)
		slices.Sort(fields)
		if !slices.Equal(described, fields) {
			t.Errorf("%s is described with %v\nbut has %v", name, described, fields)
		}
	}
}

// jsonNames are the names that a type's fields have in JSON.
func jsonNames(typ reflect.Type) (names []string) {
	for i := range typ.NumField() {
		f := typ.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			names = append(names, jsonNames(f.Type)...)
		case f.IsExported():
			names = append(names, name)
		}
	}
	return names
}

// TestConformsTellsWhatIsWrong: the comparison that all API tests rely on does fail.
func TestConformsTellsWhatIsWrong(t *testing.T) {
	for name, c := range map[string]struct{ path, body string }{
		"an unknown field":  {"/api/v1/runs/x", `{"id":"x","repository":"a/b","sentence":"","created":"2026-11-23T12:00:00Z","reported":true,"jobs":[],"over":true,"x":1}`},
		"an unknown state":  {"/api/v1/runs/x", `{"id":"x","repository":"a/b","sentence":"","created":"2026-11-23T12:00:00Z","reported":true,"jobs":[],"over":true,"state":"x"}`},
		"a missing field":   {"/api/v1/runs/x", `{"id":"x","repository":"a/b","sentence":"","created":"2026-11-23T12:00:00Z","reported":true,"jobs":[]}`},
		"a field in a job":  {"/api/v1/runs", `{"runs":[{"id":"x","repository":"a/b","sentence":"","created":"2026-11-23T12:00:00Z","reported":true,"jobs":[{"name":"a","kind":"b","state":"held","attempt":1,"x":1}]}]}`},
		"no described path": {"/api/v1/nothing", `{}`},
	} {
		w := httptest.NewRecorder()
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.WriteString(c.body)
		counted := &counting{TB: t}
		conforms(counted, &http.Request{Method: http.MethodGet, URL: &url.URL{Path: c.path}, Header: http.Header{}}, nil, w)
		if counted.errors == 0 {
			t.Errorf("%s went unnoticed", name)
		}
	}
}

// counting counts errors instead of failing.
type counting struct {
	testing.TB
	errors int
}

func (c *counting) Errorf(string, ...any) { c.errors++ }
