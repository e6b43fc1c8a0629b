package githubtest

import (
	"bytes"
	"compress/gzip"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
)

//go:generate go run ./openapiprune -out openapi

//go:embed openapi/*.json.gz
var pruned embed.FS

// contract is GitHub's own description of its API and webhooks, as far as openapiprune kept it.
type contract struct {
	api       *openapi3.T
	routes    []*route
	webhooks  openapi3.Schemas
	operation map[string]*route
}

// loadContract parses the embedded descriptions, once in a process: they are read-only afterwards.
var loadContract = sync.OnceValues(func() (*contract, error) {
	api, err := loadDescription("api")
	if err != nil {
		return nil, err
	}
	hooks, err := loadDescription("webhooks")
	if err != nil {
		return nil, err
	}
	c := &contract{api: api, webhooks: hooks.Components.Schemas, operation: map[string]*route{}}
	closed := map[*openapi3.Schema]bool{}
	for path, item := range api.Paths.Map() {
		for method, operation := range item.Operations() {
			if body := operation.RequestBody; body != nil {
				for _, content := range body.Value.Content {
					closeObjects(content.Schema, closed)
				}
			}
			r, err := newRoute(api, method, path, item, operation)
			if err != nil {
				return nil, err
			}
			c.routes = append(c.routes, r)
			c.operation[operation.OperationID] = r
		}
	}
	slices.SortFunc(c.routes, compareRoutes)
	return c, nil
})

func loadDescription(name string) (*openapi3.T, error) {
	raw, err := readPruned(name)
	if err != nil {
		return nil, err
	}
	loader := openapi3.NewLoader()
	doc, err := loader.LoadFromData(raw)
	if err != nil {
		return nil, fmt.Errorf("load the OpenAPI description %q: %w", name, err)
	}
	return doc, nil
}

func readPruned(name string) ([]byte, error) {
	packed, err := pruned.Open("openapi/" + name + ".json.gz")
	if err != nil {
		return nil, err
	}
	defer packed.Close()
	unpacked, err := gzip.NewReader(packed)
	if err != nil {
		return nil, fmt.Errorf("unpack %s: %w", name, err)
	}
	return io.ReadAll(unpacked)
}

// closeObjects makes a request schema refuse properties it doesn't name. GitHub ignores them silently, which is how a
// misspelt field goes unnoticed for months.
func closeObjects(ref *openapi3.SchemaRef, closed map[*openapi3.Schema]bool) {
	if ref == nil || ref.Value == nil || closed[ref.Value] {
		return
	}
	schema := ref.Value
	closed[schema] = true
	if len(schema.Properties) > 0 && schema.AdditionalProperties.Has == nil && schema.AdditionalProperties.Schema == nil {
		no := false
		schema.AdditionalProperties.Has = &no
	}
	for _, property := range schema.Properties {
		closeObjects(property, closed)
	}
	closeObjects(schema.Items, closed)
	for _, choice := range slices.Concat(schema.OneOf, schema.AnyOf) {
		closeObjects(choice, closed)
	}
}

// Violation is one place where an exchange broke GitHub's description.
type Violation struct {
	Where     string // request, response or webhook
	Operation string // operationId, or event.action of a webhook
	Pointer   string // JSON pointer into the body, or the parameter's name
	Detail    string
}

func (v Violation) String() string {
	return fmt.Sprintf("%s %s %s: %s", v.Operation, v.Where, v.Pointer, v.Detail)
}

// checkRequest compares a request with the description of its operation.
func (c *contract) checkRequest(r *http.Request, matched *route, params map[string]string, body []byte) []Violation {
	copied := r.Clone(context.Background())
	copied.Body = io.NopCloser(bytes.NewReader(body))
	copied.ContentLength = int64(len(body))
	if len(body) == 0 {
		copied.Body, copied.ContentLength = http.NoBody, 0
	} else if copied.Header.Get("Content-Type") == "" {
		copied.Header.Set("Content-Type", "application/json")
	}
	if path, given := params["path"]; given && path == "" {
		params = map[string]string{"owner": params["owner"], "repo": params["repo"], "path": "/"} // the root folder, which the validator takes for a missing value
	}
	err := openapi3filter.ValidateRequest(context.Background(), &openapi3filter.RequestValidationInput{
		Request: copied, PathParams: params, Route: matched.described, Options: validation,
		QueryParams: documentedOrNot(r.URL.Query()),
	})
	violations := explain("request", matched.id, err)
	for name := range r.URL.Query() {
		if !matched.query[name] {
			violations = append(violations, Violation{"request", matched.id, name, "this query parameter is not in the description"})
		}
	}
	return violations
}

var validation = &openapi3filter.Options{MultiError: true, RejectWhenRequestBodyNotSpecified: true, SkipSettingDefaults: true, IncludeResponseStatus: true}

// documentedOrNot drops empty query values, which go-github sends for unset options and GitHub reads as absent.
func documentedOrNot(query url.Values) url.Values {
	kept := url.Values{}
	for name, values := range query {
		if !slices.Equal(values, []string{""}) {
			kept[name] = values
		}
	}
	return kept
}

// checkResponse compares an answer with the description of its operation. Statuses an operation doesn't document (most
// errors) are compared with GitHub's general error shapes instead.
func (c *contract) checkResponse(r *http.Request, matched *route, params map[string]string, status int, header http.Header, body []byte) []Violation {
	if status == http.StatusNotModified || isRawMedia(header.Get("Content-Type")) {
		return nil
	}
	if matched.described.Operation.Responses.Status(status) == nil {
		if status < 400 && !isRedirect(status) {
			return []Violation{{"response", matched.id, "", fmt.Sprintf("status %d is not in the description", status)}}
		}
		name := "basic-error"
		if status == http.StatusUnprocessableEntity {
			name = "validation-error"
		}
		return explain("response", matched.id, visit(c.api.Components.Schemas[name].Value, body))
	}
	err := openapi3filter.ValidateResponse(context.Background(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: r, PathParams: params, Route: matched.described},
		Status:                 status, Header: header, Body: io.NopCloser(bytes.NewReader(body)), Options: validation,
	})
	return explain("response", matched.id, err)
}

// isRawMedia tells the media types that carry a file or a diff instead of JSON; the description holds no schema for them.
func isRawMedia(contentType string) bool {
	for _, kind := range []string{"application/vnd.github.raw", "application/vnd.github.diff", "application/vnd.github.patch", "application/vnd.github.sha"} {
		if strings.HasPrefix(contentType, kind) {
			return true
		}
	}
	return false
}

// checkWebhook compares a payload with the schema of its event and action.
func (c *contract) checkWebhook(event, action string, body []byte) []Violation {
	name := "webhook-" + strings.ReplaceAll(event, "_", "-")
	operation := event
	if action != "" {
		name += "-" + strings.ReplaceAll(action, "_", "-")
		operation += "." + action
	}
	schema := c.webhooks[name]
	if schema == nil {
		return []Violation{{"webhook", operation, "", "there is no such webhook in the description"}}
	}
	return explain("webhook", operation, visit(schema.Value, body))
}

func visit(schema *openapi3.Schema, body []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(body))
	var value any
	if err := decoder.Decode(&value); err != nil {
		return fmt.Errorf("not JSON: %w", err)
	}
	return schema.VisitJSON(value, openapi3.MultiErrors())
}

// explain turns the validator's tree of errors into one violation per fault.
func explain(where, operation string, err error) []Violation {
	return explainIn(where, operation, "", err)
}

// explainIn is explain below the parameter that the outer error named, if it named one.
func explainIn(where, operation, parameter string, err error) []Violation {
	if err == nil {
		return nil
	}
	var request *openapi3filter.RequestError
	if errors.As(err, &request) && request.Parameter != nil && !isMany(err) {
		parameter = request.Parameter.Name
	}
	var many openapi3.MultiError
	if errors.As(err, &many) {
		var all []Violation
		for _, one := range many {
			all = append(all, explainIn(where, operation, parameter, one)...)
		}
		return all
	}
	pointer, detail := parameter, err.Error()
	var schema *openapi3.SchemaError
	if errors.As(err, &schema) {
		if parameter == "" {
			pointer = "/" + strings.Join(schema.JSONPointer(), "/")
		}
		detail = schema.Reason
		if schema.Origin != nil {
			detail += ": " + strings.ReplaceAll(schema.Origin.Error(), "\n", " ")
		}
	}
	return []Violation{{where, operation, pointer, cut(detail, 600)}}
}

// isMany reports whether an error is a list itself, rather than one that wraps a list.
func isMany(err error) bool {
	_, many := err.(openapi3.MultiError) //nolint:errorlint // the error itself is meant
	return many
}

// undocumentedOnly reports whether GitHub would have ignored the fault: it takes properties and parameters it doesn't know.
func (v Violation) undocumentedOnly() bool {
	return strings.Contains(v.Detail, "is unsupported") || strings.Contains(v.Detail, "is not in the description")
}

func cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return text[:limit] + "… (cut)"
}
