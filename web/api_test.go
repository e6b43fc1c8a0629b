package web

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

// decode asks for JSON and reads it strictly.
func decode[T any](tb testing.TB, h http.Handler, path string) T {
	tb.Helper()
	w := ask(tb, h, path)
	if w.Code != http.StatusOK || !strings.HasPrefix(w.Header().Get("Content-Type"), "application/json") {
		tb.Fatalf("GET %s: %d %s: %s", path, w.Code, w.Header().Get("Content-Type"), w.Body)
	}
	var v T
	d := json.NewDecoder(w.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		tb.Fatalf("GET %s: %v", path, err)
	}
	return v
}

func TestAPIRuns(t *testing.T) {
	s := fillSample(t, newWorld(), time.Now())
	h := s.server(t).Pages()
	list := decode[RunList](t, h, "/api/v1/runs")
	if len(list.Runs) != 11 || list.Runs[0].ID != s.queued.ID || list.Next != 0 {
		t.Errorf("%d runs, first %s, next %d", len(list.Runs), list.Runs[0].ID, list.Next)
	}
	for _, r := range list.Runs {
		for _, j := range r.Jobs {
			if j.Spec != nil || j.Tail != nil || j.Outputs != nil {
				t.Errorf("the list tells all of %s/%s", r.ID, j.Name)
			}
		}
	}
	if list = decode[RunList](t, h, "/api/v1/runs?state=active&repository=acme/shop"); len(list.Runs) != 1 || list.Runs[0].ID != s.matrix.ID {
		t.Errorf("active runs of acme/shop: %+v", list.Runs)
	}
	for _, bad := range []string{"?state=x", "?before=x"} {
		if w := ask(t, h, "/api/v1/runs"+bad); w.Code != 400 || w.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %d %s", bad, w.Code, w.Body)
		}
	}
}

func TestAPIRun(t *testing.T) {
	s := fillSample(t, newWorld(), time.Now())
	server := s.server(t)
	r := decode[RunStatus](t, server.Pages(), "/api/v1/runs/"+s.crash.ID)
	if r.State != jobs.RunFailed || r.Repository != "acme/tks-contract" || r.What != "push to main" || r.SHA != s.crash.SHA || r.Actor != "hubert-lee" ||
		r.Title != "Start the server before the schema is there" || r.Seconds != 145 || r.Trust.Level != jobs.Trusted || len(r.Jobs) != 2 {
		t.Errorf("%+v", r)
	}
	j := r.Jobs[1]
	if j.Name != "rollout" || j.Conclusion != jobs.Failure || len(j.Tail) != 8 || j.Outputs["revision"] != 7.0 || j.Attempt != 1 || j.Log != "/api/v1/runs/"+r.ID+"/jobs/rollout/log" || len(j.Spec) == 0 {
		t.Errorf("%+v", j)
	}
	if j.Cause != "" {
		t.Errorf("the pages' API tells a cause: %s", j.Cause)
	}
	if cause := decode[RunStatus](t, server.API(), "/api/v1/runs/"+s.crash.ID).Jobs[1].Cause; !strings.Contains(cause, "context deadline exceeded") {
		t.Errorf("the operator's API tells no cause: %q", cause)
	}
	for name, h := range map[string]http.Handler{"pages": server.Pages(), "socket": server.API()} {
		if text := ask(t, h, "/api/v1/runs/"+s.running.ID).Body.String(); strings.Contains(text, "fence-") {
			t.Errorf("%s: the fencing token is told", name)
		}
	}
	if r := decode[RunStatus](t, s.server(t, func(o *Options) { o.Public = true }).API(), "/api/v1/runs/"+s.running.ID); r.Jobs[0].Worker != "slipway-0" {
		t.Errorf("the operator is not told the worker")
	}
}

func TestAPIDeliveries(t *testing.T) {
	s := fillSample(t, newWorld(), time.Now())
	h := s.server(t).Pages()
	list := decode[DeliveryList](t, h, "/api/v1/deliveries")
	if len(list.Deliveries) != 15 || list.Deliveries[0].GUID != guid(15) || list.Deliveries[0].Outcome != "" || list.Deliveries[0].Reason != "Not decided yet." {
		t.Errorf("%d deliveries, first %+v", len(list.Deliveries), list.Deliveries[0])
	}
	d := decode[Delivery](t, h, "/api/v1/deliveries/"+s.nothing)
	if d.Outcome != jobs.OutcomeNothing || d.Event != "push" || d.Run != "" || len(d.Jobs) != 2 || d.Jobs[0].Planned || !strings.HasPrefix(d.Jobs[0].Reason, "no changed file") {
		t.Errorf("%+v", d)
	}
	if d = decode[Delivery](t, h, "/api/v1/deliveries/"+s.green.Delivery); d.Run != s.green.ID || d.Outcome != jobs.OutcomeRun {
		t.Errorf("%+v", d)
	}
	if index := decode[map[string]string](t, h, "/api/v1/"); index["runs"] == "" {
		t.Errorf("%v", index)
	}
	if w := ask(t, h, "/api/v1/deliveries/x"); w.Code != 404 {
		t.Errorf("%d", w.Code)
	}
}

func TestAPILog(t *testing.T) {
	s := fillSample(t, newWorld(), time.Now())
	h := s.server(t).Pages()
	log := "/api/v1/runs/" + s.green.ID + "/jobs/image/log"
	w := ask(t, h, log)
	if w.Code != 200 || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain") {
		t.Fatalf("%d %s", w.Code, w.Header().Get("Content-Type"))
	}
	text := w.Body.String()
	contains(t, text, "#3 CACHED\n", "#7 pushing layers 11.4MB / 11.4MB\n")
	lacks(t, text, "\x1b", "\r")
	if n := strings.Count(text, "\n"); n != len(buildLog) {
		t.Errorf("%d lines, want %d", n, len(buildLog))
	}
	contains(t, ask(t, h, log+"?raw=true").Body.String(), "#3 \x1b[32mCACHED\x1b[0m\n")
	contains(t, ask(t, h, log+"?follow=true").Body.String(), "#7 DONE 2.2s\n")
	if got := ask(t, h, "/runs/"+s.green.ID+"/jobs/image/log.txt"); got.Header().Get("Content-Disposition") != `attachment; filename="`+s.green.ID+`-image-1.log"` || got.Body.String() != strings.Join(buildLog, "\n")+"\n" {
		t.Errorf("%s %q", got.Header().Get("Content-Disposition"), got.Body)
	}
	if got := ask(t, h, log+"?tail=2").Body.String(); got != "#7 pushing manifest for registry.example.com/acme/tks-contract:latest@"+digest+"\n#7 DONE 2.2s\n" {
		t.Errorf("the last two lines: %q", got)
	}
	if got := ask(t, h, log+"?tail=1&follow=true").Body.String(); got != "#7 DONE 2.2s\n" {
		t.Errorf("followed from the last line: %q", got)
	}
	for path, want := range map[string]int{
		log + "?tail=x": 400, log + "?tail=99999999999": 200,
		log + "?attempt=1": 200, log + "?attempt=2": 404, log + "?attempt=x": 400, log + "?attempt=99999999999999999999": 400,
		"/api/v1/runs/" + s.green.ID + "/jobs/none/log":     404,
		"/api/v1/runs/none/jobs/image/log":                  404,
		"/api/v1/runs/" + s.queued.ID + "/jobs/image/log":   200, // nothing was printed yet
		"/runs/" + s.queued.ID + "/jobs/image/log.txt":      200,
		"/runs/" + s.green.ID + "/jobs/ima%2fge/log":        404,
		"/runs/" + s.green.ID + "/jobs/image/log?attempt=0": 200,
	} {
		if got := ask(t, h, path).Code; got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
}
