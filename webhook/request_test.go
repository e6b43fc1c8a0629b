package webhook_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/jobs"
	"github.com/slipway-ci/slipway/webhook"
)

func TestDecodeRequest(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	asked := jobs.Request{
		Repository: "acme/shop", Ref: "main", By: "token nightly", What: "dispatch hello.yaml name=Slipway",
		Dispatch: &jobs.AskDispatch{Workflow: "hello.yaml", Inputs: map[string]string{"name": "Slipway"}},
	}
	d, err := asked.Delivery(jobs.RequestGUID("token x", "key"), now)
	if err != nil {
		t.Fatal(err)
	}
	e, err := new(webhook.Decoder).Decode(d)
	if err != nil {
		t.Fatal(err)
	}
	want := jobs.Event{
		Kind: jobs.EventRequest, Delivery: d.GUID, Time: now, Sender: jobs.Actor{Login: "token nightly", Type: "Bot"}, Request: &asked,
	}
	if !reflect.DeepEqual(e, want) || !jobs.ValidGUID(d.GUID) {
		t.Errorf("got  %+v\nwant %+v", e, want)
	}
	// The same request twice is two deliveries with two contents: neither is taken for the other caught and sent again.
	again, err := asked.Delivery(jobs.RequestGUID("token x", "another"), now)
	if err != nil || again.GUID == d.GUID || string(again.Body) == string(d.Body) {
		t.Errorf("%s %s: %v", again.GUID, again.Body, err)
	}
}

func TestRequestsThatCanNotBe(t *testing.T) {
	for name, spoil := range map[string]func(*jobs.Request){
		"no repository":   func(r *jobs.Request) { r.Repository = "" },
		"no owner":        func(r *jobs.Request) { r.Repository = "shop" },
		"a path":          func(r *jobs.Request) { r.Repository = "acme/shop/x" },
		"dots":            func(r *jobs.Request) { r.Repository = "acme/.." },
		"nothing asked":   func(r *jobs.Request) { r.Dispatch = nil },
		"two requests":    func(r *jobs.Request) { r.Build = &jobs.RequestBuild{} },
		"no workflow":     func(r *jobs.Request) { r.Dispatch.Workflow = "" },
		"a long ref":      func(r *jobs.Request) { r.Ref = strings.Repeat("x", 201) },
		"a control":       func(r *jobs.Request) { r.Ref = "a\x00b" },
		"too much":        func(r *jobs.Request) { r.Dispatch.Inputs = map[string]string{"a": strings.Repeat("x", 61<<10)} },
		"a nameless one":  func(r *jobs.Request) { r.Dispatch.Inputs = map[string]string{"": "x"} },
		"too many builds": func(r *jobs.Request) { r.Dispatch, r.Build = nil, &jobs.RequestBuild{Jobs: make([]string, 101)} },
		"no command":      func(r *jobs.Request) { r.Dispatch, r.Command = nil, &jobs.RequestCommand{} },
		"no environment":  func(r *jobs.Request) { r.Dispatch, r.Deploy = nil, &jobs.RequestDeploy{} },
	} {
		r := jobs.Request{Repository: "acme/shop", Dispatch: &jobs.AskDispatch{Workflow: "hello.yaml"}}
		spoil(&r)
		d, err := r.Delivery(guid, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		refusal := (*jobs.Refusal)(nil)
		if _, err := new(webhook.Decoder).Decode(d); !errors.As(err, &refusal) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := new(webhook.Decoder).Decode(jobs.Delivery{GUID: guid, Event: jobs.RequestDelivery, Body: []byte("x")}); err == nil {
		t.Error("what is no JSON was read")
	}
}
