package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

// The article of a job that runs shows the end of its log, each line linked to the log's page.
func TestRunPageTails(t *testing.T) {
	s := fillSample(t, newWorld(), time.Now())
	h := s.server(t).Pages()
	path := "/runs/" + s.running.ID
	page := body(t, h, path, http.StatusOK)
	contains(t, page, `<ol id="tail-image-1" data-tail="15"><li value="1"><a href="`+path+`/jobs/image/log#L1" tabindex="-1">1</a>`, `<span class="a2">CACHED</span>`)
	if n := strings.Count(page, "data-tail"); n != 1 {
		t.Errorf("%d tails on the page, want that of the running job", n)
	}
	s.logs.print(jobs.LogKey{Run: s.running.ID, Job: "image", Attempt: 1}, false, strings.Split(strings.Repeat("<i>more</i>\n", 20), "\n")[:20]...)
	page = body(t, h, path, http.StatusOK)
	contains(t, page, `data-tail="15"><li value="15">`, `<li value="29">`, "&lt;i&gt;more&lt;/i&gt;")
	lacks(t, page, `value="14"`, "transferring dockerfile")

	// One that has not printed anything yet has its place there; what is over shows what it ended with.
	contains(t, body(t, h, "/runs/"+s.matrix.ID, http.StatusOK), `<ol id="tail-staging-1" data-tail="15"></ol>`)
	for _, run := range []jobs.Run{s.green, s.crash, s.queued, s.superseded} {
		lacks(t, body(t, h, "/runs/"+run.ID, http.StatusOK), "data-tail")
	}
}

func TestRunPageTailsAreBounded(t *testing.T) {
	w := newWorld()
	plan := jobs.Plan{}
	for i := range maxTails + 5 {
		plan.Jobs = append(plan.Jobs, jobs.PlannedJob{Name: fmt.Sprint("j", i), Kind: jobs.KindBuild, Planned: true, Spec: buildSpec})
	}
	run := w.add(t, "push", jobs.Decision{Delivery: guid(1), Time: time.Now(), Outcome: jobs.OutcomeRun, Run: push(repository, 1, "main", "m", mona), Plan: plan}, func(r *jobs.Run) {
		for i := range plan.Jobs {
			w.start(r, fmt.Sprint("j", i), time.Now())
		}
	})
	if n := strings.Count(body(t, w.server(t).Pages(), "/runs/"+run.ID, http.StatusOK), "data-tail"); n != maxTails {
		t.Errorf("%d tails on the page, want %d", n, maxTails)
	}
}

// The run's own stream tells the last lines of the jobs that run, while they run.
func TestLiveTails(t *testing.T) {
	s := fillSample(t, newWorld(), time.Now())
	server, url := quick(t, s.world)
	l := listen(t, url+"/runs/"+s.running.ID+"/live")
	l.skip = "change"
	// lines waits until a list ends with a line and returns the numbers of the lines it shows.
	lines := func(id, last string) string {
		t.Helper()
		for {
			var e tailEvent
			if err := json.Unmarshal([]byte(l.wants("tail").data), &e); err != nil {
				t.Fatal(err)
			}
			checkTags(t, id, e.HTML)
			if e.ID != id || !strings.HasSuffix(e.HTML, "<span>"+last+"</span></li>\n") {
				continue
			}
			var numbers []string
			for _, row := range strings.Split(e.HTML, `<li value="`)[1:] {
				n, _, _ := strings.Cut(row, `"`)
				contains(t, row, `href="/runs/`+s.running.ID+`/jobs/`, `/log#L`+n+`"`)
				numbers = append(numbers, n)
			}
			return strings.Join(numbers, " ")
		}
	}
	image := jobs.LogKey{Run: s.running.ID, Job: "image", Attempt: 1}
	if got := lines("tail-image-1", "#5 [builder 3/4] COPY . ."); got != "1 2 3 4 5 6 7 8 9" {
		t.Errorf("to begin with: %s", got)
	}
	s.logs.print(image, false, "&<b>", "ten and one")
	if got := lines("tail-image-1", "ten and one"); got != "1 2 3 4 5 6 7 8 9 10 11" {
		t.Errorf("then: %s", got)
	}
	s.logs.print(image, false, strings.Split(strings.Repeat("many ", 999)+"last", " ")...)
	if got := lines("tail-image-1", "last"); got != "997 998 999 1000 1001 1002 1003 1004 1005 1006 1007 1008 1009 1010 1011" {
		t.Errorf("after many: %s", got)
	}

	// A second job begins, then the first is tried again.
	rollout := jobs.LogKey{Run: s.running.ID, Job: "rollout", Attempt: 1}
	s.logs.print(rollout, false, "hello")
	s.edit(t, s.running.ID, func(r *jobs.Run) { s.start(r, "rollout", time.Now()) })
	if got := lines("tail-rollout-1", "hello"); got != "1" {
		t.Errorf("a second job: %s", got)
	}
	s.edit(t, s.running.ID, func(r *jobs.Run) { r.Job("image").Attempt = 2 })
	image.Attempt = 2
	s.logs.print(image, false, "again")
	if got := lines("tail-image-2", "again"); got != "1" {
		t.Errorf("a second attempt: %s", got)
	}

	// What is over is told no more: of the two lines only the second comes.
	s.edit(t, s.running.ID, func(r *jobs.Run) { r.Job("image").State = jobs.JobSucceeded })
	_, revision, _ := s.runs.Get(t.Context(), s.running.ID)
	l.skip = "tail"
	for !strings.Contains(l.wants("change").data, fmt.Sprintf(`"revision":%d,`, revision)) {
		continue
	}
	l.skip = "change"
	s.logs.print(image, false, "too late")
	s.logs.print(rollout, false, "in time")
	if e := l.wants("tail"); !strings.Contains(e.data, "in time") {
		t.Errorf("%+v", e)
	}
	s.edit(t, s.running.ID, func(r *jobs.Run) { r.State = jobs.RunCancelled })
	l.wants("end")
	eventually(t, "nobody follows any more", func() bool { return server.streams.Load() == 0 })
}

// A log that nobody has written to yet holds no connection when the server closes.
func TestCloseEndsTails(t *testing.T) {
	s := fillSample(t, newWorld(), time.Now())
	server, url := quick(t, s.world)
	listen(t, url+"/runs/"+s.matrix.ID+"/live").wants("change")
	listen(t, url+"/runs/"+s.matrix.ID+"/jobs/staging/log/live")
	server.Close()
	eventually(t, "Close ends all streams", func() bool { return server.streams.Load() == 0 })
}

// When the store fails, the stream ends and the browser connects again.
func TestLiveTailsTrouble(t *testing.T) {
	s := fillSample(t, newWorld(), time.Now())
	_, url := quick(t, s.world, func(o *Options) { o.Logs = away{} })
	l := listen(t, url+"/runs/"+s.running.ID+"/live")
	l.skip = "change"
	if e, ok := l.next(); ok {
		t.Errorf("%+v", e)
	}
	// The page still says where the run stands.
	res, err := http.Get(url + "/runs/" + s.running.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if text, _ := io.ReadAll(res.Body); res.StatusCode != http.StatusOK || !strings.Contains(string(text), "Running image; 1 job to follow.") {
		t.Errorf("%d: %s", res.StatusCode, text)
	}
}

// away are logs that can't be read.
type away struct{}

func (away) Read(context.Context, jobs.LogKey, jobs.LogRange, func(jobs.LogChunk) error) error {
	return errors.New("the store is away")
}
