package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/githubapp/githubtest"
	"github.com/slipway-ci/slipway/web"
)

// serving starts a world with one server, as scripts do. env is added to the names of config.yaml.
func serving(t *testing.T, env map[string]string) (*world, *process) {
	t.Helper()
	dir := t.TempDir()
	w, err := newWorld(t, dir, os.Environ())
	if err != nil {
		t.Fatal(err)
	}
	var p *process
	t.Cleanup(func() {
		if err := w.end(); err != nil {
			t.Error(err)
		}
		if t.Failed() && p != nil {
			t.Log(p.log)
		}
	})
	p, err = w.server("one", func(name string) string {
		if value, ok := env[name]; ok {
			return value
		}
		return usual(dir)[name]
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := w.start(ctx, p, "PRETEND=1", "BUILT="+dir+"/built"); err != nil {
		t.Fatal(err)
	}
	if err := w.begin(ctx, p); err != nil {
		t.Fatal(err)
	}
	return w, p
}

// delivery is a signed request as GitHub sends it.
func delivery(t *testing.T, w *world, p *process, guid, event string, body []byte) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+p.webhook+"/webhook", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"Content-Type": "application/json", "X-GitHub-Event": event, "X-GitHub-Delivery": guid, "X-GitHub-Hook-ID": "1",
		"X-GitHub-Hook-Installation-Target-Type": "integration", "X-GitHub-Hook-Installation-Target-ID": fmt.Sprint(w.app.ID),
		"X-Hub-Signature-256": githubtest.Sign(webhookSecret, body),
	} {
		r.Header.Set(name, value)
	}
	return r
}

func send(t *testing.T, r *http.Request) int {
	t.Helper()
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, answer.Body)
	return answer.StatusCode
}

// everyDelivery is all that the server has stored, by GUID.
func everyDelivery(t *testing.T, w *world) map[string]web.Delivery {
	t.Helper()
	all := map[string]web.Delivery{}
	for path := "/api/v1/deliveries"; ; {
		var list web.DeliveryList
		if err := w.ask(t.Context(), path, &list); err != nil {
			t.Fatal(err)
		}
		for _, d := range list.Deliveries {
			all[d.GUID] = d
		}
		if list.Next == "" {
			return all
		}
		path = "/api/v1/deliveries?before=" + list.Next
	}
}

// TestExamples posts every example payload GitHub publishes, signed: each is accepted and decided about, and none crashes
// anything, although the server may act for all of their repositories.
func TestExamples(t *testing.T) {
	t.Parallel()
	examples, err := githubtest.Examples()
	if err != nil {
		t.Fatal(err)
	}
	if len(examples) < 300 {
		t.Fatalf("there are only %d examples", len(examples))
	}
	w, p := serving(t, map[string]string{"ALLOW": "**"})
	guid := func(i int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", i) }
	for i, e := range examples {
		if status := send(t, delivery(t, w, p, guid(i), e.Event, e.Body)); status != http.StatusAccepted {
			t.Errorf("%s %s: answered %d", e.Event, e.Action, status)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	undecided := ""
	err = wait(ctx, "all examples to be decided", func() (bool, error) {
		stored := everyDelivery(t, w)
		for i, e := range examples {
			if stored[guid(i)].Outcome == "" {
				undecided = e.Event + " " + e.Action
				return false, nil
			}
		}
		return true, nil
	})
	if err != nil {
		t.Fatalf("%v; undecided: %s", err, undecided)
	}
	stored := everyDelivery(t, w)
	for i, e := range examples {
		d := stored[guid(i)]
		if d.Reason == "" {
			t.Errorf("%s %s was decided %s without a reason", e.Event, e.Action, d.Outcome)
		}
		// The examples' repositories have not installed this App, so that nothing may start.
		if d.Run != "" {
			t.Errorf("%s %s started %s", e.Event, e.Action, d.Run)
		}
	}
	if !p.running() || strings.Contains(p.log.String(), "crashed") || strings.Contains(p.log.String(), "panic") {
		t.Error("something crashed")
	}
}

// TestStrangers sends a real server what is not GitHub's: it is refused with the right status, nothing is stored, and memory
// does not grow.
func TestStrangers(t *testing.T) {
	t.Parallel()
	w, p := serving(t, nil)
	const guid = "00000000-0000-4000-8000-000000000000"
	body := []byte(`{"zen":"Speak like a human."}`)
	large := bytes.Repeat([]byte(" "), 25<<20+1)
	oversize := func(times int) {
		for range times {
			r := delivery(t, w, p, guid, "ping", large)
			r.ContentLength = -1 // not announced, so that it is read as far as it may go
			if answer, err := http.DefaultClient.Do(r); err == nil {
				answer.Body.Close()
			}
		}
	}
	oversize(5) // once the memory for a few is there, many must not need more
	before := memory(t, p)
	for _, tc := range []struct {
		name   string
		status int
		body   []byte
		change func(*http.Request)
	}{
		{"no signature", 401, body, func(r *http.Request) { r.Header.Del("X-Hub-Signature-256") }},
		{"another secret", 401, body, func(r *http.Request) { r.Header.Set("X-Hub-Signature-256", githubtest.Sign("guessed", body)) }},
		{"the empty secret", 401, body, func(r *http.Request) { r.Header.Set("X-Hub-Signature-256", githubtest.Sign("", body)) }},
		{"another body's signature", 401, body, func(r *http.Request) { r.Header.Set("X-Hub-Signature-256", githubtest.Sign(webhookSecret, nil)) }},
		{"another App", 403, body, func(r *http.Request) { r.Header.Set("X-GitHub-Hook-Installation-Target-ID", "1") }},
		{"a repository's webhook", 403, body, func(r *http.Request) { r.Header.Set("X-GitHub-Hook-Installation-Target-Type", "repository") }},
		{"no GUID", 400, body, func(r *http.Request) { r.Header.Set("X-GitHub-Delivery", "../../etc/passwd") }},
		{"a form", 415, body, func(r *http.Request) { r.Header.Set("Content-Type", "application/x-www-form-urlencoded") }},
		{"too large", 413, large, func(*http.Request) {}},
		{"too large without saying so", 413, large, func(r *http.Request) { r.ContentLength = -1 }},
		{"not a POST", 405, body, func(r *http.Request) { r.Method = http.MethodPut }},
	} {
		r := delivery(t, w, p, guid, "ping", tc.body)
		tc.change(r)
		// A refused body may not be read to its end, which the sender sees as a broken connection or as the answer.
		answer, err := http.DefaultClient.Do(r)
		switch {
		case err != nil && len(tc.body) < len(large):
			t.Errorf("%s: %v", tc.name, err)
		case err == nil:
			answer.Body.Close()
			slow := r.ContentLength < 0 && answer.StatusCode == http.StatusRequestTimeout // it was not all sent before its time was up
			if answer.StatusCode != tc.status && !slow {
				t.Errorf("%s: answered %d, want %d", tc.name, answer.StatusCode, tc.status)
			}
		}
	}
	truncated(t, delivery(t, w, p, guid, "ping", body), p.webhook, body[:10])
	oversize(40)
	if stored := everyDelivery(t, w); len(stored) > 0 {
		t.Errorf("stored: %+v", stored)
	}
	if after := memory(t, p); after > before+384<<20 { // a gigabyte was sent; what is in flight and not yet collected may stay
		t.Errorf("memory grew from %d to %d MiB", before>>20, after>>20)
	}

	// Signed garbage is GitHub's to send: it is stored, and decided.
	if status := send(t, delivery(t, w, p, guid, "push", []byte("\xff{"))); status != http.StatusAccepted {
		t.Errorf("signed garbage: answered %d", status)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := w.settled(ctx); err != nil {
		t.Fatal(err)
	}
	if d := everyDelivery(t, w)[guid]; d.Outcome != "ignored" || !strings.Contains(d.Reason, "can't be read") {
		t.Errorf("signed garbage was decided %q: %s", d.Outcome, d.Reason)
	}
}

// truncated sends a request whose body breaks off.
func truncated(t *testing.T, r *http.Request, address string, part []byte) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var head bytes.Buffer
	fmt.Fprintf(&head, "POST /webhook HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n", address, r.ContentLength)
	if err := r.Header.Write(&head); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(append(append(head.Bytes(), "\r\n"...), part...)); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	answer, err := io.ReadAll(conn)
	if err != nil || !bytes.HasPrefix(answer, []byte("HTTP/1.1 400 ")) {
		t.Errorf("a truncated body: answered %.40q, %v", answer, err)
	}
}

// memory is how much memory the server uses, in bytes.
func memory(t *testing.T, p *process) (bytes int) {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if _, err := fmt.Sscanf(line, "RssAnon: %d kB", &bytes); err == nil {
			return bytes << 10
		}
	}
	t.Fatalf("the kernel does not say how much memory is used:\n%s", data)
	return 0
}
