package main

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/slipway-ci/slipway/githubapp/githubtest"
	"github.com/slipway-ci/slipway/jobs"
	"github.com/slipway-ci/slipway/webhook"
)

// What scripts about deliveries that never came can do and look at. Each command's first line says how it is written.

// duration reads how long something is to take from the environment; "" is the usual.
func duration(name string) time.Duration {
	text := os.Getenv(name)
	if text == "" {
		return 0
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		panic(name + "=" + text + ": " + err.Error())
	}
	return d
}

// storm OWNER/NAME PUSHES EVENTS: so many pushes, each of a new branch but the last, which is of main, and others' commit
// statuses, until GitHub has that many events to tell of. $SHA is the last push's commit.
func cmdStorm(ts *testscript.TestScript, _ bool, args []string) {
	arguments(ts, args, 3, 3, "storm OWNER/NAME PUSHES EVENTS")
	w := worldOf(ts)
	repo, alice := w.github.Repository(args[0]), w.github.User("alice")
	pushes, err := strconv.Atoi(args[1])
	must(ts, err)
	events, err := strconv.Atoi(args[2])
	must(ts, err)
	ctx, cancel := patient()
	defer cancel()
	must(ts, w.github.WaitIdle(ctx))
	before := len(w.github.Deliveries())
	status := func(sha string, n int) {
		repo.SetStatus(sha, fmt.Sprint("ci/", n), "success", "", alice)
	}
	for n := 1; n <= pushes; n++ {
		branch := fmt.Sprint("branch-", n)
		if n == pushes {
			branch = "main"
		}
		sha, err := repo.Commit(branch, fmt.Sprint("Change ", n), map[string]string{"n": fmt.Sprint(n)}, alice)
		must(ts, err)
		ts.Setenv("SHA", sha)
		status(sha, n)
	}
	must(ts, w.github.WaitIdle(ctx))
	for n := len(w.github.Deliveries()) - before; n < events; n++ {
		status(ts.Getenv("SHA"), 1000+n)
	}
	must(ts, w.github.WaitIdle(ctx))
	if got := len(w.github.Deliveries()) - before; got != events {
		ts.Fatalf("GitHub told of %d events, want %s", got, args[2])
	}
}

// tags OWNER/NAME TAG…: pushes all of these tags at once, on $SHA.
func cmdTags(ts *testscript.TestScript, _ bool, args []string) {
	arguments(ts, args, 2, 100, "tags OWNER/NAME TAG…")
	w, refs := worldOf(ts), map[string]string{}
	for _, name := range args[1:] {
		refs["refs/tags/"+name] = ts.Getenv("SHA")
	}
	must(ts, w.github.Repository(args[0]).SetRefs(refs, w.github.User("alice")))
}

// unreachable: from now on GitHub sends webhooks to where nobody is.
func cmdUnreachable(ts *testscript.TestScript, _ bool, _ []string) {
	worldOf(ts).app.SetWebhook("http://127.0.0.1:1/webhook", webhookSecret)
}

// now: $NOW is the second that just begins; what GitHub sent before is older.
func cmdNow(ts *testscript.TestScript, _ bool, _ []string) {
	ctx, cancel := patient()
	defer cancel()
	must(ts, worldOf(ts).github.WaitIdle(ctx))
	next := time.Now().Truncate(time.Second).Add(time.Second)
	must(ts, wait(ctx, "the next second", func() (bool, error) { return !time.Now().Before(next), nil }))
	ts.Setenv("NOW", next.UTC().Format(time.RFC3339))
}

// delivery EVENT: $GUID is that of GitHub's last attempt to deliver the event.
func cmdDelivery(ts *testscript.TestScript, _ bool, args []string) {
	arguments(ts, args, 1, 1, "delivery EVENT")
	ts.Setenv("GUID", newestDelivery(ts, args[0]).GUID)
}

// recovered N log|heads: waits until a server has recovered so many deliveries since its start, and no more.
func cmdRecovered(ts *testscript.TestScript, _ bool, args []string) {
	arguments(ts, args, 2, 2, "recovered N log|heads")
	want, err := strconv.Atoi(args[0])
	must(ts, err)
	w := worldOf(ts)
	ctx, cancel := patient()
	defer cancel()
	got := 0
	err = wait(ctx, args[0]+" deliveries to be recovered", func() (bool, error) {
		p, err := w.any()
		if err != nil {
			return false, err
		}
		got, err = metric(p, fmt.Sprintf(`slipway_deliveries_recovered_total{from=%q}`, args[1]))
		return got >= want, err
	})
	if err != nil || got > want {
		ts.Fatalf("%d deliveries were recovered from %s, want %d: %v", got, args[1], want, err)
	}
}

// metric reads one number of a server's metrics; one that is not there is 0.
func metric(p *process, name string) (int, error) {
	answer, err := http.Get("http://" + p.metric + "/metrics")
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	lines := bufio.NewScanner(answer.Body)
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			number, err := strconv.ParseFloat(value, 64)
			return int(number), err
		}
	}
	return 0, lines.Err()
}

// TestRecoveredEvents: whatever decoding makes an event of is fetched when it was missed, but for news: who waits for those asks
// GitHub when they stay away. A new event belongs into jobs.RecoveredEvents.
func TestRecoveredEvents(t *testing.T) {
	t.Parallel()
	examples, err := githubtest.Examples()
	if err != nil {
		t.Fatal(err)
	}
	fetched := jobs.RecoveredEvents()
	for _, e := range examples {
		d := jobs.Delivery{GUID: "00000000-0000-4000-8000-000000000000", Event: e.Event, Body: e.Body}
		if !understood(d) {
			continue
		}
		actions, ok := fetched[e.Event]
		if !ok || len(actions) > 0 && !regexp.MustCompile(`^(`+strings.Join(actions, "|")+`)$`).MatchString(e.Action) {
			t.Errorf("%s %s is acted on, but not fetched when it was missed", e.Event, e.Action)
		}
	}
}

// understood tells whether a delivery is more than a line in the record.
func understood(d jobs.Delivery) bool {
	e, err := webhook.Decoder{}.Decode(d)
	return err == nil && !e.Kind.News()
}
