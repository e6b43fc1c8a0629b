package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/slipway-ci/slipway/web"
)

// What a machine does with the API in a script.

// token NAME REPOSITORIES KINDS [COMMANDS]: makes a token; $TOKEN, $TOKENID and $CALLBACK are it, its ID and what signs callbacks.
func cmdToken(ts *testscript.TestScript, _ bool, args []string) {
	arguments(ts, args, 3, 4, "token NAME REPOSITORIES KINDS [COMMANDS]")
	w := worldOf(ts)
	p, err := w.any()
	must(ts, err)
	ctx, cancel := patient()
	defer cancel()
	out, err := w.call(ctx, p, "token", "create", args[0], "--repositories", args[1], "--kinds", args[2], "--commands", append(args, "")[3], "--expires", "1h", "-o", "json")
	must(ts, err)
	var made web.NewToken
	must(ts, json.Unmarshal([]byte(out), &made))
	ts.Setenv("TOKEN", made.Token)
	ts.Setenv("TOKENID", made.ID)
	ts.Setenv("CALLBACK", made.Callback)
}

// api STATUS METHOD PATH [BODY]: asks the pages' listener, with $TOKEN and with $KEY as Idempotency-Key where they are not empty.
// The answer lies in the file answer, its header in the file header; $ASKED is the ID in it. The status "lost" is that of no answer.
func cmdAPI(ts *testscript.TestScript, _ bool, args []string) {
	arguments(ts, args, 3, 4, "api STATUS METHOD PATH [BODY]")
	p, err := worldOf(ts).any()
	must(ts, err)
	ctx, cancel := patient()
	defer cancel()
	body := ""
	if len(args) == 4 {
		body = strings.ReplaceAll(ts.ReadFile(args[3]), "$RECEIVER", ts.Getenv("RECEIVER"))
	}
	r, err := http.NewRequestWithContext(ctx, args[1], "http://"+p.pages+args[2], strings.NewReader(body))
	must(ts, err)
	r.Header.Set("Content-Type", "application/json")
	if token := ts.Getenv("TOKEN"); token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	if key := ts.Getenv("KEY"); key != "" {
		r.Header.Set("Idempotency-Key", key)
	}
	answer, err := http.DefaultClient.Do(r)
	if args[0] == "lost" {
		if err == nil {
			answer.Body.Close()
			ts.Fatalf("there is an answer: %s", answer.Status)
		}
		return
	}
	must(ts, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	must(ts, err)
	var header bytes.Buffer
	must(ts, answer.Header.Write(&header))
	must(ts, os.WriteFile(ts.MkAbs("answer"), text, 0o600))
	must(ts, os.WriteFile(ts.MkAbs("header"), header.Bytes(), 0o600))
	if strconv.Itoa(answer.StatusCode) != args[0] {
		ts.Fatalf("the answer is %s, want %s: %s", answer.Status, args[0], text)
	}
	var said struct {
		ID string `json:"id"`
	}
	if json.Unmarshal(text, &said) == nil && said.ID != "" {
		ts.Setenv("ASKED", said.ID)
	}
}

// A receiver takes callbacks: it answers the first with 503 and the others with 204.
type receiver struct {
	mu    sync.Mutex
	calls []callback
}

type callback struct {
	header http.Header
	body   []byte
}

// receiver: something listens on loopback at $RECEIVER.
func cmdReceiver(ts *testscript.TestScript, _ bool, args []string) {
	arguments(ts, args, 0, 0, "receiver")
	w, got := worldOf(ts), &receiver{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		got.mu.Lock()
		defer got.mu.Unlock()
		got.calls = append(got.calls, callback{r.Header, body})
		if err != nil || len(got.calls) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	ts.Defer(s.Close)
	w.receiver = got
	ts.Setenv("RECEIVER", s.URL)
}

// called N: the receiver was called so often, at last; the last one's body lies in the file callback. Each is about $ASKED and is
// signed with $CALLBACK.
func cmdCalled(ts *testscript.TestScript, _ bool, args []string) {
	arguments(ts, args, 1, 1, "called N")
	n, err := strconv.Atoi(args[0])
	must(ts, err)
	ctx, cancel := patient()
	defer cancel()
	calls, err := worldOf(ts).receiver.wait(ctx, n)
	must(ts, err)
	for i, c := range calls {
		want := web.Sign(ts.Getenv("CALLBACK"), c.header.Get("X-Slipway-Timestamp"), c.body)
		if !hmac.Equal([]byte(want), []byte(c.header.Get("X-Slipway-Signature-256"))) {
			ts.Fatalf("call %d is signed with %q, want %q", i+1, c.header.Get("X-Slipway-Signature-256"), want)
		}
		if id := c.header.Get("X-Slipway-Delivery"); id != ts.Getenv("ASKED") {
			ts.Fatalf("call %d is about %q", i+1, id)
		}
	}
	must(ts, os.WriteFile(ts.MkAbs("callback"), calls[n-1].body, 0o600))
}

func (r *receiver) wait(ctx context.Context, n int) (calls []callback, err error) {
	err = wait(ctx, fmt.Sprintf("%d callbacks", n), func() (bool, error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		calls = append([]callback{}, r.calls...)
		return len(calls) >= n, nil
	})
	if err == nil && len(calls) > n {
		err = fmt.Errorf("%d callbacks came, want %d", len(calls), n)
	}
	return calls, err
}
