package web

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

// soon is how long a test waits for what happens within moments on a quiet machine.
const soon = 2 * time.Minute

// event is one server-sent event.
type event struct{ name, id, data string }

// listener reads a stream of events.
type listener struct {
	testing.TB
	body *bufio.Scanner
	skip string // name of events not looked at
}

// listen opens a stream. The test fails when it takes too long.
func listen(tb testing.TB, url string, edit ...func(*http.Request)) *listener {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), soon)
	tb.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		tb.Fatal(err)
	}
	r.Header.Set("Accept", "text/event-stream")
	for _, e := range edit {
		e(r)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = res.Body.Close() })
	if res.StatusCode != http.StatusOK || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream") {
		tb.Fatalf("%s: %d %s", url, res.StatusCode, res.Header.Get("Content-Type"))
	}
	return &listener{TB: tb, body: bufio.NewScanner(res.Body)}
}

// next is the next event; ok is false at the end of the stream.
func (l *listener) next() (e event, ok bool) {
	l.Helper()
	for l.body.Scan() {
		line := l.body.Text()
		name, value, _ := strings.Cut(line, ": ")
		switch {
		case line == "" && e.name != "" && e.name == l.skip:
			e = event{}
		case line == "" && e != event{}:
			return e, true
		case name == "event":
			e.name = value
		case name == "id":
			e.id = value
		case name == "data":
			e.data = value
		}
	}
	if err := l.body.Err(); errors.Is(err, context.DeadlineExceeded) {
		l.Fatal("the stream neither spoke nor ended")
	}
	return e, false
}

// wants insists on the next event.
func (l *listener) wants(name string) event {
	l.Helper()
	e, ok := l.next()
	if !ok || e.name != name {
		l.Fatalf("got %+v (%v), want an event %q", e, ok, name)
	}
	return e
}

// quick is a server with a fast rhythm, reached over HTTP.
func quick(tb testing.TB, w *world, change ...func(*Options)) (*Server, string) {
	tb.Helper()
	s := w.server(tb, change...)
	s.pace = pace{sweep: 20 * time.Millisecond, beat: 10 * time.Millisecond, settle: time.Millisecond, write: 5 * time.Second, answer: 5 * time.Second}
	s.hub.retry = 5 * time.Millisecond
	ts := httptest.NewServer(s.Pages())
	tb.Cleanup(func() {
		s.Close()
		ts.Close()
	})
	return s, ts.URL
}

// eventually waits for a condition that another goroutine brings about.
func eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	deadline := time.Now().Add(soon)
	for !ok() {
		if time.Now().After(deadline) {
			tb.Fatalf("never: %s", what)
		}
		_ = pause(tb.Context(), time.Millisecond)
	}
}

func (w *world) edit(tb testing.TB, id string, edit func(*jobs.Run)) {
	tb.Helper()
	if _, err := jobs.Change(tb.Context(), w.runs, id, func(r *jobs.Run) error { edit(r); return nil }); err != nil {
		tb.Fatal(err)
	}
}

func TestLiveRun(t *testing.T) {
	for _, watched := range []bool{true, false} {
		t.Run(fmt.Sprintf("watched %v", watched), func(t *testing.T) {
			s := fillSample(t, newWorld(), time.Now())
			server, url := quick(t, s.world)
			if !watched {
				server.hub.watch = func(context.Context) (<-chan string, error) { return nil, errors.New("no watch today") }
			} else {
				server.pace.sweep = time.Hour
			}
			l := listen(t, url+"/runs/"+s.running.ID+"/live")
			l.skip = "tail"
			var was, now change
			if err := json.Unmarshal([]byte(l.wants("change").data), &was); err != nil || was.State != jobs.RunActive {
				t.Fatal(was, err)
			}
			s.edit(t, s.running.ID, func(r *jobs.Run) { r.Notes = append(r.Notes, "new") })
			if err := json.Unmarshal([]byte(l.wants("change").data), &now); err != nil || now.Revision <= was.Revision {
				t.Fatal(was, now, err)
			}
			run, revision, _ := s.runs.Get(t.Context(), s.running.ID)
			run.State = jobs.RunCancelled
			must(t, s.archive, run.ID, run)
			if err := s.runs.Delete(t.Context(), run.ID, revision); err != nil {
				t.Fatal(err)
			}
			l.wants("change")
			if e := l.wants("end"); !strings.Contains(e.data, "cancelled") {
				t.Errorf("%+v", e)
			}
			if e, ok := l.next(); ok {
				t.Errorf("after the end: %+v", e)
			}
			eventually(t, "the store is no longer watched", func() bool { return s.runs.watched() == 0 && server.streams.Load() == 0 })
		})
	}
}

func TestLiveRunOfNone(t *testing.T) {
	_, url := quick(t, newWorld())
	res, err := http.Get(url + "/runs/r-none/live")
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusNotFound {
		t.Errorf("%d", res.StatusCode)
	}
}

func TestLiveList(t *testing.T) {
	s := fillSample(t, newWorld(), time.Now())
	_, url := quick(t, s.world)
	l := listen(t, url+"/live")
	l.wants("change")
	// A run that is over from the start never is among the active ones.
	s.add(t, "push", jobs.Decision{Delivery: guid(70), Time: time.Now(), Outcome: jobs.OutcomeHeld, Shown: true, Run: push(repository, 70, "main", "x", mona)}, nil)
	l.wants("change")
	s.edit(t, s.running.ID, func(r *jobs.Run) { r.Notes = append(r.Notes, "new") })
	l.wants("change")
}

func TestStreamsAreCounted(t *testing.T) {
	s := fillSample(t, newWorld(), time.Now())
	server, url := quick(t, s.world, func(o *Options) { o.MaxStreams = 2 })
	path := url + "/runs/" + s.running.ID + "/live"
	listen(t, path).wants("change")
	listen(t, path).wants("change")
	contains(t, body(t, server.Metrics(), "/metrics", http.StatusOK), "\nslipway_sse_clients 2\n")
	log := "/runs/" + s.running.ID + "/jobs/image/log"
	for _, third := range []string{path, url + log + ".txt", url + "/api/v1" + log} {
		res, err := http.Get(third)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" || !strings.Contains(string(text), "long-lived connections are open (2)") {
			t.Errorf("the third gets %d from %s: %s", res.StatusCode, third, text)
		}
	}
	server.Close()
	eventually(t, "Close ends all streams", func() bool { return server.streams.Load() == 0 })
	contains(t, body(t, server.Metrics(), "/metrics", http.StatusOK), "\nslipway_sse_clients 0\n")
}

// A stream outlives the write timeout that pages have.
func TestStreamOutlivesWriteTimeout(t *testing.T) {
	s := fillSample(t, newWorld(), time.Now())
	server := s.server(t)
	server.pace = pace{sweep: time.Hour, beat: 5 * time.Millisecond, settle: time.Millisecond, write: 5 * time.Second, answer: 5 * time.Second}
	const timeout = 100 * time.Millisecond
	ts := httptest.NewUnstartedServer(server.Pages())
	ts.Config.WriteTimeout = timeout
	ts.Start()
	defer ts.Close()
	defer server.Close()
	l := listen(t, ts.URL+"/runs/"+s.running.ID+"/live")
	for began := time.Now(); time.Since(began) < 4*timeout; {
		if !l.body.Scan() {
			t.Fatalf("the stream ended after %v: %v", time.Since(began), l.body.Err())
		}
	}
}

// A client that stops reading is let go.
func TestStuckClient(t *testing.T) {
	s := fillSample(t, newWorld(), time.Now())
	server, url := quick(t, s.world)
	server.pace.write = 50 * time.Millisecond
	key := jobs.LogKey{Run: s.running.ID, Job: "image", Attempt: 1}
	eventually(t, "the stream is open", func() bool { // where all stands still for a moment it may be let go before it spoke
		conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		fmt.Fprintf(conn, "GET /runs/%s/jobs/image/log/live HTTP/1.1\r\nHost: localhost\r\n\r\n", s.running.ID)
		status := make([]byte, len("HTTP/1.1 200"))
		_, err = io.ReadFull(conn, status)
		return err == nil && string(status) == "HTTP/1.1 200"
	})
	line := strings.Repeat("x", 4000)
	for range 400 {
		s.logs.print(key, false, line, line, line, line, line, line, line, line)
	}
	eventually(t, "the stuck client is let go", func() bool { return server.streams.Load() == 0 })
}

func TestLiveLog(t *testing.T) {
	s := fillSample(t, newWorld(), time.Now())
	_, url := quick(t, s.world)
	key := jobs.LogKey{Run: s.running.ID, Job: "image", Attempt: 1}
	api := url + "/api/v1/runs/" + s.running.ID + "/jobs/image/log"
	read := func(l *listener) LogEvent {
		t.Helper()
		var e LogEvent
		if err := json.Unmarshal([]byte(l.wants("lines").data), &e); err != nil {
			t.Fatal(err)
		}
		return e
	}
	whole := listen(t, api)
	if e := read(whole); e.First != 1 || len(e.Lines) != 9 || e.Lines[5] != "#3 CACHED" {
		t.Errorf("%+v", e)
	}
	s.logs.print(key, false, "ten", "eleven")
	if e := read(whole); e.First != 10 || len(e.Lines) != 2 {
		t.Errorf("%+v", e)
	}
	// Going on after line 10, by both ways of asking.
	if e := read(listen(t, api, func(r *http.Request) { r.Header.Set("Last-Event-ID", "10") })); e.First != 11 || len(e.Lines) != 1 || e.Lines[0] != "eleven" {
		t.Errorf("%+v", e)
	}
	page := listen(t, url+"/runs/"+s.running.ID+"/jobs/image/log/live?from=11")
	if e := read(page); e.First != 11 || e.HTML != "<li id=\"L11\"><a href=\"#L11\" tabindex=\"-1\">11</a><span>eleven</span></li>\n" || e.Lines != nil {
		t.Errorf("%+v", e)
	}
	// Beginning near the end.
	if e := read(listen(t, api+"?tail=2")); e.First != 10 || len(e.Lines) != 2 {
		t.Errorf("%+v", e)
	}
	if e := read(listen(t, api+"?tail=9&from=11")); e.First != 11 || len(e.Lines) != 1 {
		t.Errorf("%+v", e)
	}
	// A chunk that was lost leaves a gap in the numbers.
	_ = s.logs.Append(t.Context(), key, jobs.LogChunk{Seq: 9, First: 20, Lines: []string{"twenty"}})
	if e := whole.wants("lines"); e.id != "20" || !strings.Contains(e.data, `"first":20`) {
		t.Errorf("%+v", e)
	}
	_ = s.logs.Append(t.Context(), key, jobs.LogChunk{Seq: 10, First: 21, Last: true})
	whole.wants("end")
	if e, ok := whole.next(); ok {
		t.Errorf("after the end: %+v", e)
	}
}

// A log that does not exist yet is waited for; one whose writer died ends with its job.
func TestLiveLogOfTheUnborn(t *testing.T) {
	s := fillSample(t, newWorld(), time.Now())
	_, url := quick(t, s.world)
	l := listen(t, url+"/runs/"+s.queued.ID+"/jobs/image/log/live")
	s.logs.print(jobs.LogKey{Run: s.queued.ID, Job: "image", Attempt: 1}, false, "hello")
	l.wants("lines")
	s.edit(t, s.queued.ID, func(r *jobs.Run) { r.Job("image").State = jobs.JobFailed })
	l.wants("end")

	// The same as text.
	res, err := http.Get(url + "/api/v1/runs/" + s.queued.ID + "/jobs/image/log?follow=true")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text := bufio.NewScanner(res.Body)
	if !text.Scan() || text.Text() != "hello" || text.Scan() {
		t.Errorf("%q", text.Text())
	}
}

// A log that can't be read to its end must not look as if it were whole.
func TestBrokenLogIsNoticed(t *testing.T) {
	s := fillSample(t, newWorld(), time.Now())
	_, url := quick(t, s.world, func(o *Options) { o.Logs = breaking{s.logs} })
	res, err := http.Get(url + "/runs/" + s.green.ID + "/jobs/image/log.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if text, err := io.ReadAll(res.Body); err == nil || len(text) == 0 {
		t.Errorf("%d bytes and error %v, want some and an error", len(text), err)
	}
}

// breaking logs fail after what there is.
type breaking struct{ *logs }

func (b breaking) Read(ctx context.Context, key jobs.LogKey, what jobs.LogRange, each func(jobs.LogChunk) error) error {
	return errors.Join(b.logs.Read(ctx, key, what, each), errors.New("the store is away"))
}
