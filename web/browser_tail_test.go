//go:build browser

package web

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

// liveTails reads the last lines of running jobs on the run's page, without loading it again.
func (b *browser) liveTails(t *testing.T) {
	s, url := site(t)
	p := b.open(t, desktop)
	p.visit(url + "/runs/" + s.running.ID)
	eval[bool](p, `(window.mine = true)`)
	// shows waits until a list ends with a line, and insists that it shows n lines, each once and in order.
	shows := func(id, last string, number, n int) {
		t.Helper()
		p.until(fmt.Sprintf(`document.querySelector("#%s li:last-child span")?.textContent === %q`, id, last))
		var want []string
		for i := number - n + 1; i <= number; i++ {
			want = append(want, fmt.Sprint(i))
		}
		if got := eval[string](p, fmt.Sprintf(`[...document.querySelectorAll("#%s li a")].map(a => a.textContent).join(" ")`, id)); got != strings.Join(want, " ") {
			t.Errorf("%s shows lines %s, want %s", id, got, strings.Join(want, " "))
		}
	}
	image := jobs.LogKey{Run: s.running.ID, Job: "image", Attempt: 1}
	shows("tail-image-1", "#5 [builder 3/4] COPY . .", 9, 9)
	s.logs.print(image, false, buildLog[9:12]...)
	s.logs.print(image, false, "\x1b[31mred\x1b[0m <b>not bold</b>")
	shows("tail-image-1", "red <b>not bold</b>", 13, 13)
	p.shot("tail")
	for i := range 30 {
		s.logs.print(image, false, fmt.Sprint("line ", i+14))
	}
	shows("tail-image-1", "line 43", 43, tailLines)
	p.until(`document.querySelector(".tail .logbox").scrollTop === 0`) // the end, where it is turned round
	if href := eval[string](p, `document.querySelector("#tail-image-1 li:last-child a").getAttribute("href")`); href != "/runs/"+s.running.ID+"/jobs/image/log#L43" {
		t.Errorf("the last line leads to %s", href)
	}

	// The job's article changes, and another job begins.
	s.logs.print(jobs.LogKey{Run: s.running.ID, Job: "rollout", Attempt: 1}, false, "helm: upgrade tks-contract in tks")
	s.edit(t, s.running.ID, func(r *jobs.Run) {
		r.Job("image").Troubles = 2
		s.start(r, "rollout", time.Now())
	})
	p.until(`document.querySelector("#job-image").textContent.includes("Tried again after 2 errors")`)
	shows("tail-rollout-1", "helm: upgrade tks-contract in tks", 1, 1)
	s.logs.print(image, false, "line 44")
	shows("tail-image-1", "line 44", 44, tailLines)
	s.logs.print(jobs.LogKey{Run: s.running.ID, Job: "rollout", Attempt: 1}, false, "waiting for Deployment tks/tks-contract: 0 of 2 ready")
	shows("tail-rollout-1", "waiting for Deployment tks/tks-contract: 0 of 2 ready", 2, 2)

	// Nobody looks for a while.
	look := func(away bool) {
		t.Helper()
		eval[bool](p, fmt.Sprintf(`Object.defineProperty(document, "hidden", {value: %v, configurable: true}) && document.dispatchEvent(new Event("visibilitychange"))`, away))
	}
	look(true)
	for i := range 40 {
		s.logs.print(image, false, fmt.Sprint("line ", i+45))
	}
	look(false)
	shows("tail-image-1", "line 84", 84, tailLines)
	s.logs.print(image, false, "line 85", "line 86")
	shows("tail-image-1", "line 86", 86, tailLines)

	run, revision, err := s.runs.Get(t.Context(), s.running.ID)
	if err != nil {
		t.Fatal(err)
	}
	key := jobs.ResultKey(run.ID, "image", 1, 1)
	must(t, s.results, key, builtResult(run.SHA))
	if err := run.Finish("image", "fence-image", builtResult(run.SHA), key, time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err = s.runs.Update(t.Context(), run.ID, run, revision); err != nil {
		t.Fatal(err)
	}
	p.until(`document.querySelector("#job-image .icon").title === "Succeeded"`)
	p.until(`document.querySelectorAll("[data-tail]").length === 1 && document.getElementById("tail-rollout-1")`)
	if !eval[bool](p, `window.mine === true`) {
		t.Error("the page was loaded again")
	}
	p.clean()
}
