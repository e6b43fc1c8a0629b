package jobs

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// A RequestBody is the body of a RequestDelivery.
type RequestBody struct {
	Request
	ID   string    `json:"id"`   // the delivery's GUID: the same request under another is another request
	Time time.Time `json:"time"` // when it was asked for, by our clock
}

// RequestGUID is the GUID of what somebody asked for under a key of their choice: the same key is the same request.
func RequestGUID(by, key string) string { return formGUID(fmt.Sprintf("request %q %q", by, key)) }

// Delivery is the request as the delivery that planning reads.
func (r Request) Delivery(guid string, now time.Time) (Delivery, error) {
	body, err := json.Marshal(RequestBody{Request: r, ID: guid, Time: now.UTC()})
	if err != nil {
		return Delivery{}, fmt.Errorf("write a request's delivery: %w", err)
	}
	return Delivery{GUID: guid, Event: RequestDelivery, Received: now, Body: body}, nil
}

// Bounds of a Request.
const (
	maxRequestJobs   = 100
	maxRequestValues = 25 // GitHub takes no more inputs of a workflow
	maxRequestName   = 200
	maxRequestValue  = 60 << 10 // bytes of all values together
)

var repositoryForm = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}/[A-Za-z0-9_.-]{1,100}$`)

// Check tells what is wrong with a request by itself, as a *Refusal that names the field, or returns nil.
func (r Request) Check() error {
	fault := func(format string, args ...any) error { return &Refusal{Sentence: fmt.Sprintf(format, args...)} }
	if !repositoryForm.MatchString(r.Repository) || strings.Trim(r.Repository[strings.Index(r.Repository, "/")+1:], ".") == "" {
		return fault("repository must be a name such as owner/name.")
	}
	forms := 0
	for _, set := range []bool{r.Build != nil, r.Deploy != nil, r.Dispatch != nil, r.Command != nil} {
		if set {
			forms++
		}
	}
	if forms != 1 {
		return fault("Exactly one of build, deploy, dispatch and command must be there.")
	}
	type text struct {
		field, value string
		needed       bool
	}
	texts := []text{{"ref", r.Ref, false}, {"by", r.By, false}}
	values := map[string]string{}
	switch {
	case r.Build != nil:
		if len(r.Build.Jobs) > maxRequestJobs {
			return fault("build.jobs names more than %d jobs.", maxRequestJobs)
		}
		for _, job := range r.Build.Jobs {
			texts = append(texts, text{"build.jobs", job, true})
		}
	case r.Deploy != nil:
		texts = append(texts, text{"deploy.environment", r.Deploy.Environment, true}, text{"deploy.release", r.Deploy.Release, false})
	case r.Dispatch != nil:
		texts = append(texts, text{"dispatch.workflow", r.Dispatch.Workflow, true}, text{"dispatch.ref", r.Dispatch.Ref, false},
			text{"dispatch.repository", r.Dispatch.Repository, false})
		values = r.Dispatch.Inputs
	default:
		texts = append(texts, text{"command.name", r.Command.Name, true})
		values = r.Command.Args
	}
	size := 0
	for name, value := range values {
		texts = append(texts, text{"a name of an input or argument", name, true})
		size += len(value)
	}
	for _, t := range texts {
		switch {
		case t.needed && t.value == "":
			return fault("%s is missing.", t.field)
		case len(t.value) > maxRequestName:
			return fault("%s has more than %d bytes.", t.field, maxRequestName)
		case strings.ContainsFunc(t.value, func(c rune) bool { return c < ' ' || c == 0x7f || c == '\uFFFD' }):
			return fault("%s holds characters that no name has.", t.field)
		}
	}
	if len(values) > maxRequestValues || size > maxRequestValue {
		return fault("There may be at most %d inputs or arguments, with %d bytes together.", maxRequestValues, maxRequestValue)
	}
	return nil
}
