package web

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

// answerOf asks in the background.
func (o *office) answerOf(token, path string) <-chan *httptest.ResponseRecorder {
	answer := make(chan *httptest.ResponseRecorder, 1)
	go func() { answer <- o.get(token, path) }()
	return answer
}

// watched waits until somebody waits for runs.
func (o *office) watched() {
	o.t.Helper()
	until(o.t, "somebody to wait", func() bool { return o.server.streams.Load() > 0 })
}

func until(t testing.TB, what string, done func() bool) {
	t.Helper()
	end, tick := time.After(soon), time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-end:
			t.Fatalf("waited in vain for %s", what)
		case <-tick.C:
		}
	}
}

func TestWaitingForTheEnd(t *testing.T) {
	o := newOffice(t)
	token := o.token(MayDispatch).Token
	id := read[RunAccepted](t, o.post(token, hello), 202).ID
	if s := read[RunStatus](t, o.get(token, "/api/v1/runs/"+id), 200); s.State != StateAccepted || s.Over || s.Conclusion != "" || s.Request.By != "token nightly" || s.Repository != "acme/shop" {
		t.Errorf("%+v", s)
	}
	// Time is up.
	if s := read[RunStatus](t, o.get(token, "/api/v1/runs/"+id+"?wait=10ms"), 200); s.State != StateAccepted || s.Over {
		t.Errorf("%+v", s)
	}
	// The run ends.
	answer := o.answerOf(token, "/api/v1/runs/"+id+"?wait=60s")
	o.watched()
	run := o.decided(id, jobs.OutcomeRun, "1 job")
	if s := read[RunStatus](t, o.get(token, "/api/v1/runs/"+id), 200); s.State != jobs.RunActive || s.Over || len(s.Jobs) != 1 || s.Request == nil {
		t.Errorf("%+v", s)
	}
	select {
	case w := <-answer:
		t.Errorf("answered before the end: %s", w.Body)
	case <-time.After(60 * time.Millisecond): // three sweeps
	}
	o.finish(run)
	if s := read[RunStatus](t, <-answer, 200); s.State != jobs.RunSucceeded || !s.Over || s.Conclusion != "success" {
		t.Errorf("%+v", s)
	}
	// There will be none.
	id = read[RunAccepted](t, o.post(token, hello), 202).ID
	answer = o.answerOf(token, "/api/v1/runs/"+id+"?wait=60s")
	o.watched()
	o.decided(id, jobs.OutcomeRefused, "There is no workflow hello.yaml.")
	if s := read[RunStatus](t, <-answer, 200); s.State != StateRefused || !s.Over || s.Conclusion != "refused" || s.Sentence != "There is no workflow hello.yaml." {
		t.Errorf("%+v", s)
	}
	// Its page tells the decision; that of a run is the run.
	if w := o.get("", "/runs/"+id); w.Code != 303 || w.Header().Get("Location") != "/deliveries/"+read[RunStatus](t, o.get("", "/api/v1/runs/"+id), 200).Delivery {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	if o.get("", "/runs/"+run.ID).Code != 200 || o.get("", "/runs/r-nothing").Code != 404 {
		t.Error("a run's page is not there, or one that is nobody's is")
	}
	for _, bad := range []string{"61s", "-1s", "x", "60"} {
		if w := o.get(token, "/api/v1/runs/"+id+"?wait="+bad); w.Code != 400 {
			t.Errorf("wait=%s: %d", bad, w.Code)
		}
	}
	if w := o.get("", "/api/v1/runs/r-nothing?wait=60s"); w.Code != 404 {
		t.Errorf("%d", w.Code)
	}
	if w := o.get("", "/api/v1/runs/"+id+"?wait=60s", func(r *http.Request) { r.Method = http.MethodHead }); w.Code != 200 {
		t.Errorf("%d", w.Code)
	}
}

// TestWaitingLeavesRoom: for other tokens, and for the pages.
func TestWaitingLeavesRoom(t *testing.T) {
	o := newOffice(t, func(o *Options) { o.MaxStreams = 2 * (maxTokenWaits + 1) })
	first, second := o.token(MayDispatch).Token, o.token(MayDispatch).Token
	id := read[RunAccepted](t, o.post(first, hello), 202).ID
	other := read[RunAccepted](t, o.post(second, hello), 202).ID
	run := o.decided(other, jobs.OutcomeRun, "1 job")
	o.decided(id, jobs.OutcomeRun, "1 job")
	wait := func(token, path string, n int) (answers []<-chan *httptest.ResponseRecorder) {
		before := o.server.streams.Load()
		for range n {
			answers = append(answers, o.answerOf(token, path))
		}
		until(t, "all to wait", func() bool { return o.server.streams.Load() == before+int64(n) })
		return answers
	}
	answers := wait(first, "/api/v1/runs/"+id+"?wait=60s", maxTokenWaits)
	for _, path := range []string{"/api/v1/runs/" + id + "?wait=60s", "/api/v1/runs/" + id + "/jobs/image/log?follow=true"} {
		if w := o.get(first, path); w.Code != 429 || w.Header().Get("Retry-After") == "" {
			t.Errorf("one token waits for more than its share: %s: %d", path, w.Code)
		}
	}
	if w := o.get(first, "/api/v1/runs/"+id); w.Code != 200 {
		t.Errorf("without waiting: %d", w.Code)
	}
	answers = append(answers, wait(second, "/api/v1/runs/"+other+"?wait=60s", 1)...)
	for name, token := range map[string]string{"a token": second, "none": ""} {
		if w := o.get(token, "/api/v1/runs/"+other+"?wait=60s"); w.Code != 503 || w.Header().Get("Retry-After") == "" {
			t.Errorf("%s waits, and more than half of all connections wait: %d", name, w.Code)
		}
	}
	o.finish(run)
	if w := <-answers[maxTokenWaits]; w.Code != 200 {
		t.Errorf("%d", w.Code)
	}
	o.server.Close()
	for _, a := range answers[:maxTokenWaits] {
		read[RunStatus](t, <-a, 200)
	}
	if o.server.waits.all != 0 || len(o.server.waits.by) != 0 {
		t.Errorf("somebody still waits: %+v", o.server.waits.by)
	}
}

// TestWaitingIsBounded: by number, and by the server's own end.
func TestWaitingIsBounded(t *testing.T) {
	o := newOffice(t, func(o *Options) { o.MaxStreams = 1 })
	token := o.token(MayDispatch).Token
	id := read[RunAccepted](t, o.post(token, hello), 202).ID
	answer := o.answerOf(token, "/api/v1/runs/"+id+"?wait=60s")
	o.watched()
	if w := o.get("", "/api/v1/runs/"+id+"?wait=60s"); w.Code != 503 || w.Header().Get("Retry-After") == "" {
		t.Errorf("%d", w.Code)
	}
	if w := o.get(token, "/api/v1/runs/"+id); w.Code != 200 {
		t.Errorf("without waiting: %d", w.Code)
	}
	o.server.Close()
	if s := read[RunStatus](t, <-answer, 200); s.State != StateAccepted {
		t.Errorf("%+v", s)
	}
}

// TestWaitingLongerThanAnAnswerTakes: the time in which the client must take the answer begins when there is one, also when it is an
// error.
func TestWaitingLongerThanAnAnswerTakes(t *testing.T) {
	o := newOffice(t)
	o.server.pace.answer = 50 * time.Millisecond
	token := o.token(MayDispatch).Token
	id := read[RunAccepted](t, o.post(token, hello), 202).ID
	ts := httptest.NewServer(o.pages)
	t.Cleanup(ts.Close)
	once := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // which otherwise asks again when a connection ends
	wait := func(what string, want int) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, ts.URL+"/api/v1/runs/"+id+"?wait=200ms", nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := once.Do(r)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		defer answer.Body.Close()
		if text, err := io.ReadAll(answer.Body); err != nil || answer.StatusCode != want {
			t.Errorf("%s: %d, %q, %v", what, answer.StatusCode, text, err)
		}
	}
	wait("no end", 200)
	time.AfterFunc(2*o.server.pace.answer, func() {
		o.runs.mu.Lock()
		defer o.runs.mu.Unlock()
		o.runs.err = errors.New("the store is away")
	})
	wait("trouble", 503)
}
