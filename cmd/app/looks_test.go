package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/slipway-ci/slipway/githubapp/githubtest"
	"github.com/slipway-ci/slipway/jobs"
	"github.com/slipway-ci/slipway/web"
)

// What a script can look at. Each command's first line says how it is written.

// settled: waits until every delivery is decided, and every run over and reported.
func cmdSettled(ts *testscript.TestScript, _ bool, _ []string) {
	ctx, cancel := patient()
	defer cancel()
	must(ts, worldOf(ts).settled(ctx))
}

// check OWNER/NAME CHECK CONCLUSION [REGEXP]: the newest check of that name on $SHA has that conclusion and says so; each
// attempt has one.
func cmdCheck(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, args, 2, 4, "check OWNER/NAME CHECK CONCLUSION [REGEXP]")
	found := checks(ts, args[0], args[1])
	if neg {
		if len(found) > 0 {
			ts.Fatalf("there is a check %q", args[1])
		}
		return
	}
	byID := map[string]bool{}
	for _, c := range found { // another attempt has a check of its own; the same one must not have two
		if byID[c.ExternalID] {
			ts.Fatalf("there are two checks %q on %s for %s", args[1], ts.Getenv("SHA"), c.ExternalID)
		}
		byID[c.ExternalID] = true
	}
	newest := newestCheck(ts, args[0], args[1])
	text := newest.Title + "\n" + newest.Summary + "\n" + newest.Text
	if got := newest.Conclusion; got != args[2] {
		ts.Fatalf("check %q is %s %s, want %s:\n%s", args[1], newest.Status, got, args[2], text)
	}
	if len(args) == 4 && !regexp.MustCompile("(?s)"+args[3]).MatchString(text) {
		ts.Fatalf("check %q does not say %q:\n%s", args[1], args[3], text)
	}
}

func checks(ts *testscript.TestScript, repo, name string) (found []githubtest.CheckRun) {
	for _, c := range worldOf(ts).github.Repository(repo).CheckRuns(ts.Getenv("SHA")) {
		if c.Name == name {
			found = append(found, c)
		}
	}
	return found
}

// annotated OWNER/NAME CHECK PATH:LINE REGEXP: an annotation of the check lies there and says so.
func cmdAnnotated(ts *testscript.TestScript, _ bool, args []string) {
	arguments(ts, args, 4, 4, "annotated OWNER/NAME CHECK PATH:LINE REGEXP")
	var said []string
	for _, c := range checks(ts, args[0], args[1]) {
		for _, a := range c.Annotations {
			line := fmt.Sprintf("%s:%d %s", a.Path, a.StartLine, a.Message)
			if strings.HasPrefix(line, args[2]+" ") && regexp.MustCompile(args[3]).MatchString(a.Message) {
				return
			}
			said = append(said, line)
		}
	}
	ts.Fatalf("no annotation of %q is at %s and says %q; there are:\n%s", args[1], args[2], args[3], strings.Join(said, "\n"))
}

// decided EVENT OUTCOME [REGEXP]: waits until the newest delivery of the event is decided; it has this outcome, for this reason.
func cmdDecided(ts *testscript.TestScript, _ bool, args []string) {
	arguments(ts, args, 2, 3, "decided EVENT OUTCOME [REGEXP]")
	ctx, cancel := patient()
	defer cancel()
	var newest web.Delivery
	must(ts, wait(ctx, fmt.Sprintf("the newest %s to be decided", args[0]), func() (bool, error) {
		list, err := worldOf(ts).deliveries(ctx)
		if err != nil {
			return false, err
		}
		i := slices.IndexFunc(list.Deliveries, func(d web.Delivery) bool { return d.Event == args[0] })
		if i < 0 {
			return false, fmt.Errorf("there is no %s delivery", args[0])
		}
		newest = list.Deliveries[i]
		return newest.Outcome != "", nil
	}))
	if newest.Outcome != jobs.Outcome(args[1]) || len(args) == 3 && !regexp.MustCompile(args[2]).MatchString(newest.Reason) {
		ts.Fatalf("the newest %s was decided %s: %s", newest.Event, newest.Outcome, newest.Reason)
	}
}

// runs N [STATE]: so many runs are listed, in this state. $RUN is the newest of them then.
func cmdRuns(ts *testscript.TestScript, _ bool, args []string) {
	arguments(ts, args, 1, 2, "runs N [STATE]")
	ctx, cancel := patient()
	defer cancel()
	list, err := worldOf(ts).runs(ctx)
	must(ts, err)
	var said, found []string
	for _, r := range list.Runs {
		said = append(said, fmt.Sprintf("%s %s %s: %s", r.ID, r.State, r.What, r.Sentence))
		if len(args) == 1 || r.State == jobs.RunState(args[1]) {
			found = append(found, r.ID)
		}
	}
	if strconv.Itoa(len(found)) != args[0] {
		ts.Fatalf("there are %d such runs, want %s:\n%s", len(found), args[0], strings.Join(said, "\n"))
	}
	if len(found) > 0 {
		ts.Setenv("RUN", found[0])
	}
}

// checks OWNER/NAME N: so many checks are on $SHA.
func cmdChecks(ts *testscript.TestScript, _ bool, args []string) {
	arguments(ts, args, 2, 2, "checks OWNER/NAME N")
	var said []string
	for _, c := range worldOf(ts).github.Repository(args[0]).CheckRuns(ts.Getenv("SHA")) {
		said = append(said, fmt.Sprintf("%s: %s %s: %s", c.Name, c.Status, c.Conclusion, c.Title))
	}
	if strconv.Itoa(len(said)) != args[1] {
		ts.Fatalf("there are %d checks on %s, want %s:\n%s", len(said), ts.Getenv("SHA"), args[1], strings.Join(said, "\n"))
	}
}

// asked OPERATION N [but OPERATION…]: GitHub was asked so often ("*" for all; since the script's last "asked reset").
// Requests to git and to the storage of logs and artifacts are no calls. An update of a check that does not end it is also called
// checks/progress.
func cmdAsked(ts *testscript.TestScript, _ bool, args []string) {
	w := worldOf(ts)
	if len(args) == 1 && args[0] == "reset" {
		w.github.ResetRequests()
		return
	}
	but := []string{"", "git", "storage"}
	if len(args) > 3 && args[2] == "but" {
		but, args = append(but, args[3:]...), args[:2]
	}
	arguments(ts, args, 2, 2, "asked OPERATION N [but OPERATION…], or: asked reset")
	var asked []string
	for _, r := range w.github.Requests() {
		if slices.Contains(but, r.Operation) || slices.Contains(but, "checks/progress") && progress(ts, r) {
			continue
		}
		if args[0] == "*" || r.Operation == args[0] {
			asked = append(asked, r.Operation)
		}
	}
	if strconv.Itoa(len(asked)) != args[1] {
		ts.Fatalf("GitHub was asked %d times, want %s: %v", len(asked), args[1], asked)
	}
}

// progress reports whether a request changes what a check shows, and does not end it.
func progress(ts *testscript.TestScript, r githubtest.Request) bool {
	if r.Operation != "checks/update" {
		return false
	}
	var body struct{ Status string }
	must(ts, json.Unmarshal([]byte(r.Body), &body))
	return body.Status != "completed"
}

// logged [NAME] REGEXP: a server has said so.
func cmdLogged(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, args, 1, 2, "logged [NAME] REGEXP")
	p := named(ts, args[:len(args)-1])
	ctx, cancel := patient()
	defer cancel()
	re := regexp.MustCompile(args[len(args)-1])
	if neg {
		if re.MatchString(p.log.String()) {
			ts.Fatalf("server %s said %q", p.name, re)
		}
		return
	}
	must(ts, wait(ctx, fmt.Sprintf("server %s to say %q", p.name, re), func() (bool, error) {
		return re.MatchString(p.log.String()), nil
	}))
}

// built N [JOB]: waits until the pretending kinds have taken up so many jobs, or this job so often; no more than that. N may be
// a range such as 1-2.
func cmdBuilt(ts *testscript.TestScript, _ bool, args []string) {
	arguments(ts, args, 1, 2, "built N [JOB]")
	least, most, ranged := strings.Cut(args[0], "-")
	if !ranged {
		most = least
	}
	low, err := strconv.Atoi(least)
	must(ts, err)
	high, err := strconv.Atoi(most)
	must(ts, err)
	got, text := 0, ""
	ctx, cancel := patient()
	defer cancel()
	must(ts, wait(ctx, args[0]+" jobs to be carried out", func() (bool, error) {
		data, err := os.ReadFile(ts.Getenv("BUILT"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
		got, text = 0, string(data)
		for line := range strings.Lines(text) {
			if len(args) == 1 || strings.HasPrefix(line, args[1]+" of ") {
				got++
			}
		}
		return got >= low, nil
	}))
	if got > high {
		ts.Fatalf("%d jobs were carried out, want %s:\n%s", got, args[0], text)
	}
}

// undelivered EVENT: GitHub's log says that its last attempt to deliver the event failed.
func cmdUndelivered(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, args, 1, 1, "undelivered EVENT")
	if d := newestDelivery(ts, args[0]); (d.StatusCode/100 == 2) != neg {
		ts.Fatalf("GitHub's log says %d %s about the last %s", d.StatusCode, d.Status, d.Event)
	}
}

// said JOB REGEXP: waits until the log of the job, in the newest run, says so.
func cmdSaid(ts *testscript.TestScript, _ bool, args []string) {
	arguments(ts, args, 2, 2, "said JOB REGEXP")
	ctx, cancel := patient()
	defer cancel()
	w := worldOf(ts)
	var text string
	err := wait(ctx, fmt.Sprintf("the log of %s to say %q", args[0], args[1]), func() (bool, error) {
		p, err := w.any()
		if err != nil {
			return false, err
		}
		list, err := w.runs(ctx)
		if err != nil || len(list.Runs) == 0 {
			return false, nil // not yet
		}
		text, _ = w.call(ctx, p, "logs", list.Runs[0].ID, args[0]) // none yet is an error, too
		return regexp.MustCompile(args[1]).MatchString(text), nil
	})
	if err != nil {
		ts.Fatalf("%v:\n%s", err, text)
	}
}

// job JOB STATE [REGEXP]: the job of the run on $SHA is in this state, in its first attempt and with no trouble of ours but servers' deaths,
// and says so.
func cmdJob(ts *testscript.TestScript, _ bool, args []string) {
	arguments(ts, args, 2, 3, "job JOB STATE [REGEXP]")
	ctx, cancel := patient()
	defer cancel()
	w := worldOf(ts)
	list, err := w.runs(ctx)
	must(ts, err)
	for _, entry := range list.Runs {
		if entry.SHA != ts.Getenv("SHA") {
			continue
		}
		var run web.Run
		must(ts, w.ask(ctx, "/api/v1/runs/"+entry.ID, &run))
		for _, j := range run.Jobs {
			if j.Name != args[0] {
				continue
			}
			if string(j.State) != args[1] || j.Attempt != 1 || j.Troubles > w.deaths {
				ts.Fatalf("job %s is %s in attempt %d with %d troubles: %s", j.Name, j.State, j.Attempt, j.Troubles, j.Summary)
			}
			if len(args) == 3 && !regexp.MustCompile(args[2]).MatchString(j.Summary) {
				ts.Fatalf("job %s says %q", j.Name, j.Summary)
			}
			return
		}
	}
	ts.Fatalf("no run on %s has a job %s", ts.Getenv("SHA"), args[0])
}
