package jobs_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/jobs"
	"github.com/slipway-ci/slipway/queue"
)

// onCommit writes a comment on a commit, and returns the decision about its first command.
func (w *town) onCommit(id int64, sha string, by jobs.Actor, lines ...string) jobs.Decision {
	w.t.Helper()
	e := w.comment(id, 0, by, lines...)
	e.Comment.SHA = sha
	w.deliver(fmt.Sprintf("guid-on-commit-%d", id), e)
	return w.decision(fmt.Sprintf("commit-comment-%d-0", id))
}

// pushTo moves a branch or tag to a commit that is not on main, and returns the event.
func (w *town) pushTo(ref, sha string) jobs.Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	e := jobs.Event{Kind: jobs.EventPush, Ref: ref, Before: w.heads[ref], After: strings.Repeat(sha, 40)}
	w.heads[ref] = e.After
	return e
}

// needsApproval makes the second of two jobs wait for production.
func (w *town) needsApproval() {
	w.plan = twoJobs
	w.granted = jobs.Grant{Environments: []jobs.EnvironmentGrant{{Name: "production", Approvals: jobs.ApprovalRule{Count: 1}}}}
	w.resolve = func(run jobs.Run, job jobs.Job) jobs.Resolution {
		if job.Name == "release" && len(run.Approved) == 0 {
			return jobs.Resolution{Hold: "waits for approval of production", Approvals: []string{"production"}}
		}
		return jobs.Resolution{Spec: []byte(`{}`)}
	}
}

func TestACommentMeansTheBranchItsCommitWasPushedTo(t *testing.T) {
	w := newTown(t)
	w.needsApproval()
	w.perms[eve.ID] = "read"
	w.replica("one")
	w.deliver("guid-push-1", w.push("a"))
	w.finished("guid-push-1")
	w.deliver("guid-push-2", w.pushTo("refs/heads/next", "b"))
	first := w.finished("guid-push-2")
	if first.State != jobs.RunWaits {
		t.Fatalf("%+v", first)
	}
	if d := w.onCommit(1, first.SHA, eve, "/approve production"); d.Outcome != jobs.OutcomeRefused || !strings.Contains(d.Reason, "needs the role write") {
		t.Errorf("a reader's approval: %s: %s", d.Outcome, d.Reason)
	}
	if d := w.onCommit(2, first.SHA, eve, "/status"); d.Outcome != jobs.OutcomeActed || !strings.Contains(d.Answer, first.ID) {
		t.Errorf("%s: %s", d.Outcome, d.Answer)
	}
	if d := w.onCommit(3, first.SHA, alice, "/approve production"); d.Outcome != jobs.OutcomeRun || d.Run.Ref != "refs/heads/next" || d.Run.Trust.Level != jobs.Trusted {
		t.Errorf("%s: %s, %+v", d.Outcome, d.Reason, d.Run)
	}
	if second := w.ended(jobs.AttemptID(first.ID, 2)); second.State != jobs.RunSucceeded {
		t.Errorf("%+v", second)
	}
	if d := w.onCommit(4, first.SHA, alice, "/retry"); !strings.Contains(d.Reason, "Nothing failed") {
		t.Errorf("%s: %s", d.Outcome, d.Reason)
	}
	if d := w.onCommit(5, first.SHA, alice, "/cancel"); !strings.Contains(d.Reason, "Nothing is queued or running") {
		t.Errorf("%s: %s", d.Outcome, d.Reason)
	}
	if d := w.onCommit(6, first.SHA, alice, "/build"); d.Outcome != jobs.OutcomeRun || d.Run.Branch != "next" || d.Stale != "" {
		t.Errorf("%s: %s, stale %q", d.Outcome, d.Reason, d.Stale)
	}

	// It is that commit, also when the branch moved on: what goes forward only is planned as behind.
	w.pushTo("refs/heads/next", "c")
	if d := w.onCommit(7, first.SHA, alice, "/deploy production"); !strings.Contains(d.Stale, "next is at cccccccccccc by now") || d.Run.SHA != first.SHA {
		t.Errorf("%s: %s, stale %q", d.Outcome, d.Reason, d.Stale)
	}
	w.set(func() { delete(w.heads, "refs/heads/next") })
	if d := w.onCommit(8, first.SHA, alice, "/build"); d.Stale != "next is deleted by now" {
		t.Errorf("%s: %s, stale %q", d.Outcome, d.Reason, d.Stale)
	}
	// Another place is still named by a branch, or by a commit of the default branch.
	deploy := w.comment(9, 0, alice, "/deploy production")
	deploy.Comment.SHA, deploy.Commands[0].Named = strings.Repeat("a", 40), map[string]string{"ref": first.SHA}
	w.deliver("guid-elsewhere", deploy)
	if d := w.decision("commit-comment-9-0"); d.Outcome != jobs.OutcomeRefused || !strings.Contains(d.Reason, "name a branch, or a whole SHA of main") {
		t.Errorf("%s: %s", d.Outcome, d.Reason)
	}
}

func TestACommentMeansABranchThatIsStillThere(t *testing.T) {
	w := newTown(t)
	w.replica("one")
	w.deliver("guid-push-1", w.push("a"))
	w.finished("guid-push-1")
	w.deliver("guid-push-2", w.pushTo("refs/heads/next", "b"))
	first := w.finished("guid-push-2")
	w.deliver("guid-push-3", w.pushTo("refs/heads/try", "b"))
	w.finished("guid-push-3")
	w.set(func() { delete(w.heads, "refs/heads/try") })
	if d := w.onCommit(1, first.SHA, alice, "/build"); d.Run.Branch != "next" || d.Stale != "" {
		t.Errorf("%s: %s, for %q, stale %q", d.Outcome, d.Reason, d.Run.Branch, d.Stale)
	}
}

func TestACommentOnACommitOfOthersStartsNothing(t *testing.T) {
	w := newTown(t)
	w.replica("one")
	w.deliver("guid-push-1", w.push("a"))
	w.finished("guid-push-1")
	w.deliver("guid-pull-1", w.pull(7, "f", 77)) // a fork's
	if d := w.decision("guid-pull-1"); d.Outcome != jobs.OutcomeHeld {
		t.Fatalf("%s: %s", d.Outcome, d.Reason)
	}
	w.deliver("guid-pull-2", w.pull(8, "e", 5)) // one's own, but only the pull request started something
	w.finished("guid-pull-2")
	// A fork's commit stays a fork's with an approval and with commands there.
	w.deliver("guid-approve-1", w.comment(90, 7, alice, "/ok-to-test "+strings.Repeat("f", 40)))
	w.ended(jobs.RunID("comment-90-0"))
	id := int64(0)
	for _, sha := range []string{"f", "e", "9"} {
		for _, line := range []string{"/approve production", "/cancel", "/retry", "/build", "/deploy production", "/dispatch hello.yaml"} {
			id++
			d := w.onCommit(id, strings.Repeat(sha, 40), alice, line)
			if d.Outcome != jobs.OutcomeRefused || d.Run.ID != "" || !strings.Contains(d.Reason, "is not a commit of main") {
				t.Errorf("%s on %s: %s: %s", line, sha, d.Outcome, d.Reason)
			}
		}
	}
	// Once the same commit was pushed to the repository, it is spoken of as what was pushed.
	w.deliver("guid-push-2", w.pushTo("refs/heads/taken", "f"))
	w.finished("guid-push-2")
	if d := w.onCommit(100, strings.Repeat("f", 40), alice, "/build"); d.Outcome != jobs.OutcomeRun || d.Run.Ref != "refs/heads/taken" {
		t.Errorf("%s: %s on %s", d.Outcome, d.Reason, d.Run.Ref)
	}
}

// What a tag's run waits for is let go on where its check says so: on the commit, whatever else stands there.
func TestACommentReachesTheTagsOfItsCommit(t *testing.T) {
	w := newTown(t)
	w.needsApproval()
	all := w.plan
	w.plan = func(in jobs.PlanInput) jobs.Plan {
		if in.Run.Tag == "" {
			return jobs.Plan{Jobs: []jobs.PlannedJob{{Name: "image", Kind: jobs.KindBuild, Planned: true, Spec: json.RawMessage(`{}`)}}}
		}
		return all(in)
	}
	w.replica("one")
	w.deliver("guid-push-1", w.push("a"))
	w.finished("guid-push-1")
	w.deliver("guid-push-2", w.pushTo("refs/tags/v1", "a"))
	if run := w.finished("guid-push-2"); run.State != jobs.RunWaits {
		t.Fatalf("%+v", run)
	}
	if d := w.onCommit(1, strings.Repeat("a", 40), alice, "/approve production"); d.Outcome != jobs.OutcomeRun || d.Run.Tag != "v1" {
		t.Errorf("%s: %s on %s", d.Outcome, d.Reason, d.Run.Ref)
	}
	// A tag apart from every branch is a place of its own.
	w.deliver("guid-push-3", w.pushTo("refs/tags/v2", "b"))
	w.finished("guid-push-3")
	if d := w.onCommit(2, strings.Repeat("b", 40), alice, "/build"); d.Outcome != jobs.OutcomeRun || d.Run.Tag != "v2" || d.Stale != "" {
		t.Errorf("%s: %s on %s, stale %q", d.Outcome, d.Reason, d.Run.Ref, d.Stale)
	}
	w.pushTo("refs/tags/v2", "c")
	if d := w.onCommit(3, strings.Repeat("b", 40), alice, "/build"); d.Stale != "v2 is at cccccccccccc by now" {
		t.Errorf("%s: %s, stale %q", d.Outcome, d.Reason, d.Stale)
	}
}

func TestHelpIsTrueForItsPlace(t *testing.T) {
	w := newTown(t)
	w.declared = []jobs.DeclaredCommand{{Name: "greet", Description: "says hello"}}
	w.perms[eve.ID] = "read"
	w.replica("one")
	sha := strings.Repeat("f", 40)
	id := int64(0)
	help := func(number int, by jobs.Actor, want []string, not ...string) {
		t.Helper()
		id++
		e := w.comment(id, number, by, "/help")
		if number == 0 {
			e.Comment.SHA = w.heads["refs/heads/main"]
		}
		w.deliver(fmt.Sprintf("guid-help-%d", id), e)
		w.decision(fmt.Sprintf("guid-help-%d", id))
		d, _, err := queue.Set[jobs.Decision](w.q, queue.Decisions).Get(t.Context(), jobs.CommandKey(*e.Comment, 0))
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range want {
			if !strings.Contains(d.Answer, text) {
				t.Errorf("#%d: no %q in\n%s", number, text, d.Answer)
			}
		}
		for _, text := range not {
			if strings.Contains(d.Answer, text) {
				t.Errorf("#%d: %q in\n%s", number, text, d.Answer)
			}
		}
	}
	there := []string{"| `/approve <environment>` |", "| `/cancel [job…]` |", "| `/retry [job…]` |", "| `/rollback", "| `/status` |", "| `/why` |", "| `/help` |"}
	everything := append([]string{"| `/build [job…]` |", "| `/deploy <environment> [release] [ref=…]` |", "| `/dispatch", "| `/greet` | says hello |"}, there...)
	never := "Never here: `/deploy`, `/dispatch`. A pull request from outside"

	pull := w.pull(7, "f", 77)
	pull.Sender = eve
	w.deliver("guid-pull-1", pull)
	w.decision("guid-pull-1")
	help(7, alice, append([]string{"| `/ok-to-test <sha>` |", "| `/deploy <environment> [release] ref=…` |", never,
		"is held: the pull request comes from a fork. Once somebody looked at it and wrote `/ok-to-test " + sha + "`, these can build it: `/build`, `/greet`."}, there...),
		"| `/build", "| `/greet", "| `/dispatch", "[ref=…]")
	help(7, eve, []string{"| `/status` |"}, "/ok-to-test", "/deploy", "/build", "/greet")

	w.deliver("guid-approve-1", w.comment(90, 7, alice, "/ok-to-test "+sha))
	w.ended(jobs.RunID("comment-90-0"))
	help(7, alice, append([]string{"| `/build [job…]` |", "| `/greet` | says hello |", never}, there...), "/ok-to-test", "| `/dispatch", "held")

	w.deliver("guid-pull-2", w.pull(8, "b", 5))
	w.finished("guid-pull-2")
	help(8, alice, everything, "/ok-to-test", "Never here", "held")
	w.set(func() { w.listed = "eve" }) // may give every command, but a pull request trusts who may write
	help(8, eve, append([]string{"Not here: `/build`, `/greet`. eve has no write permission on acme/shop.", "Never here: `/deploy`, `/dispatch`."}, there...),
		"/ok-to-test", "| `/build", "| `/greet", "held")
	w.set(func() { w.listed = "" })
	w.set(func() {
		p := w.pulls[8]
		p.State = "closed"
		w.pulls[8] = p
	})
	help(8, alice, []string{"| `/status` |", "#8 is closed"}, "/build", "/greet", "/cancel")

	w.deliver("guid-push-1", w.push("a"))
	w.finished("guid-push-1")
	help(0, alice, everything, "/ok-to-test", "Never here")
	w.push("c")
	w.set(func() { w.heads["refs/heads/main"] = strings.Repeat("c", 40) })
	behind := w.onCommit(50, strings.Repeat("a", 40), alice, "/help")
	if !strings.Contains(behind.Answer, "Not on a commit that is behind: `/deploy`, `/dispatch`. main is at cccccccccccc by now.") || !strings.Contains(behind.Answer, "| `/build") {
		t.Errorf("%s", behind.Answer)
	}
	unknown := w.onCommit(51, strings.Repeat("9", 40), alice, "/help")
	if strings.Contains(unknown.Answer, "/build") || strings.Contains(unknown.Answer, "/greet") || !strings.Contains(unknown.Answer, "is not a commit of main") {
		t.Errorf("%s", unknown.Answer)
	}
}

func TestStatusSaysWhatHoldsGitHubBack(t *testing.T) {
	w := newTown(t)
	w.replica("one")
	w.deliver("guid-push-1", w.push("a"))
	w.finished("guid-push-1")
	sha := strings.Repeat("a", 40)
	if d := w.onCommit(1, sha, alice, "/status"); strings.Contains(d.Answer, "may show this late") {
		t.Errorf("%s", d.Answer)
	}
	until := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC).Format(time.RFC3339)
	w.set(func() { w.limited = "GitHub's limit holds 3 calls back until " + until })
	want := "GitHub's limit holds 3 calls back until " + until + ", so GitHub may show this late.\n"
	if d := w.onCommit(2, sha, alice, "/status"); !strings.HasSuffix(d.Answer, want) || !strings.Contains(d.Answer, "| image | succeeded |") {
		t.Errorf("%s", d.Answer)
	}
	// It is about the runs here: where there are none, nothing is late.
	if d := w.onCommit(3, strings.Repeat("9", 40), alice, "/status"); strings.Contains(d.Answer, "may show this late") {
		t.Errorf("%s", d.Answer)
	}
}
