package jobs_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/jobs"
	"github.com/slipway-ci/slipway/queue"
)

// comment is a comment on a pull request with one command to a line, written a moment ago.
func (w *town) comment(id int64, number int, by jobs.Actor, lines ...string) jobs.Event {
	e := jobs.Event{Kind: jobs.EventCommand, Sender: by, Comment: &jobs.Comment{ID: id, Author: by, Created: time.Now().Add(time.Second), Number: number}}
	for i, line := range lines {
		words := strings.Fields(strings.TrimPrefix(line, "/"))
		e.Commands = append(e.Commands, jobs.Command{Place: i, Line: i + 1, Name: words[0], Args: words[1:], Text: line})
	}
	return e
}

var (
	alice = jobs.Actor{ID: 9, Login: "alice", Type: "User"} // may write
	eve   = jobs.Actor{ID: 6, Login: "eve", Type: "User"}
)

// answered waits until nothing is left to show for a comment, and returns the last reaction and the answer.
func (w *town) answered(comment int64) (reaction, text string) {
	w.t.Helper()
	w.await(fmt.Sprintf("the reply to comment %d", comment), func() bool {
		r, _, err := queue.Set[jobs.Reply](w.q, queue.Replies).Get(w.t.Context(), fmt.Sprintf("comment-%d", comment))
		return err == nil && r.Final != ""
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	given := w.reactions[comment]
	return given[len(given)-1], strings.Join(w.answers[comment], "|")
}

// ended waits until a run is over, reported and put away.
func (w *town) ended(id string) (r jobs.Run) {
	w.t.Helper()
	w.await("the end of "+id, func() bool {
		var err error
		r, _, err = queue.Set[jobs.Run](w.q, queue.Archive).Get(w.t.Context(), id)
		return err == nil
	})
	return r
}

func TestAnApprovalBindsOneCommit(t *testing.T) {
	w := newTown(t)
	w.replica("one")
	w.perms[eve.ID] = "read"
	pull := w.pull(7, "a", 77)
	pull.Sender = eve
	w.deliver("guid-pull-1", pull)
	if d := w.decision("guid-pull-1"); d.Outcome != jobs.OutcomeHeld {
		t.Fatalf("a fork's pull request was decided as %s: %s", d.Outcome, d.Reason)
	}
	sha := strings.Repeat("a", 40)

	// Not by a reader, not without the commit, not for another.
	for i, c := range []struct {
		by   jobs.Actor
		line string
		want string
	}{
		{eve, "/ok-to-test " + sha, "needs the role write"},
		{alice, "/ok-to-test", "/ok-to-test " + sha},
		{alice, "/ok-to-test " + sha[:12], "whole SHA"},
		{alice, "/ok-to-test " + strings.Repeat("b", 40), "another commit"},
	} {
		w.deliver(fmt.Sprintf("guid-refused-%d", i), w.comment(int64(i+1), 7, c.by, c.line))
		reaction, text := w.answered(int64(i + 1))
		if reaction != jobs.ReactionRefused || !strings.Contains(text, c.want) {
			t.Errorf("%s by %s: %s, %q", c.line, c.by.Login, reaction, text)
		}
	}
	w.deliver("guid-approve-1", w.comment(10, 7, alice, "/ok-to-test "+sha))
	run := w.ended(jobs.RunID("comment-10-0"))
	if run.State != jobs.RunSucceeded || run.Trust.Level != jobs.Approved || !strings.Contains(run.Trust.Reason, "alice approved") {
		t.Errorf("%+v", run)
	}
	if reaction, text := w.answered(10); reaction != jobs.ReactionDone || text != "" {
		t.Errorf("%s %q", reaction, text)
	}
	given, _, err := queue.Set[jobs.Approvals](w.q, queue.Approvals).Get(t.Context(), jobs.ApprovalKey(5, 7, sha))
	if err != nil || len(given.Given) != 1 || given.Given[0].By.ID != alice.ID || given.Given[0].Permission != "write" {
		t.Errorf("%+v, %v", given, err)
	}

	// The same head again needs no second word; the next head does.
	again := w.pull(7, "a", 77)
	again.Sender, again.Action = eve, "reopened"
	w.deliver("guid-pull-2", again)
	if d := w.decision("guid-pull-2"); d.Outcome != jobs.OutcomeNothing || d.Run.Trust.Level != jobs.Approved {
		t.Errorf("%s: %s", d.Outcome, d.Reason)
	}
	next := w.pull(7, "b", 77)
	next.Sender = eve
	w.deliver("guid-pull-3", next)
	if d := w.decision("guid-pull-3"); d.Outcome != jobs.OutcomeHeld {
		t.Errorf("%s: %s", d.Outcome, d.Reason)
	}
	// So does the approved one into another base.
	retargeted := w.pull(7, "a", 77)
	retargeted.Sender, retargeted.Action, retargeted.Time = eve, "edited", time.Now().Add(time.Minute)
	w.set(func() {
		p := w.pulls[7]
		p.BaseRef = "release"
		w.pulls[7] = p
	})
	w.deliver("guid-pull-4", retargeted)
	if d := w.decision("guid-pull-4"); d.Run.Trust.Level != jobs.Untrusted {
		t.Errorf("%s: %s", d.Run.Trust.Level, d.Reason)
	}
	// Pointed back, it is void still.
	back := w.pull(7, "a", 77)
	back.Sender, back.Action, back.Time = eve, "edited", time.Now().Add(time.Minute)
	w.deliver("guid-pull-5", back)
	if d := w.decision("guid-pull-5"); d.Run.Trust.Level != jobs.Untrusted {
		t.Errorf("%s: %s", d.Run.Trust.Level, d.Reason)
	}
}

func TestACommandMeansTheHeadItsWriterSaw(t *testing.T) {
	w := newTown(t)
	w.replica("one")
	pull := w.pull(7, "a", 5)
	w.deliver("guid-pull-1", pull)
	w.finished("guid-pull-1")
	moved := w.pull(7, "b", 5)
	moved.Time = time.Now().Add(time.Minute) // by GitHub's clock the push came after the comment
	w.deliver("guid-pull-2", moved)
	w.finished("guid-pull-2")
	w.deliver("guid-comment-1", w.comment(1, 7, alice, "/build"))
	if reaction, text := w.answered(1); reaction != jobs.ReactionRefused || !strings.Contains(text, strings.Repeat("b", 40)) {
		t.Errorf("%s %q", reaction, text)
	}
	// A push whose delivery is still on its way.
	w.pull(7, "c", 5)
	late := w.comment(2, 7, alice, "/build")
	late.Comment.Created = moved.Time.Add(time.Minute)
	w.deliver("guid-comment-2", late)
	if reaction, text := w.answered(2); reaction != jobs.ReactionRefused || !strings.Contains(text, strings.Repeat("c", 40)) {
		t.Errorf("%s %q", reaction, text)
	}
	// One nobody saw before.
	w.pull(8, "d", 5)
	w.deliver("guid-comment-3", w.comment(3, 8, alice, "/build"))
	if reaction, text := w.answered(3); reaction != jobs.ReactionRefused || !strings.Contains(text, "had not seen #8 before") {
		t.Errorf("%s %q", reaction, text)
	}
	w.deliver("guid-comment-4", w.comment(4, 8, alice, "/build"))
	if run := w.ended(jobs.RunID("comment-4-0")); run.Asked == nil || run.Asked.By.Login != "alice" || run.SHA != strings.Repeat("d", 40) {
		t.Errorf("%+v", run)
	}
}

func TestCommandsThatAreNotCarriedOut(t *testing.T) {
	w := newTown(t)
	w.replica("one")
	w.deliver("guid-pull-1", w.pull(7, "a", 5))
	w.finished("guid-pull-1")
	old := w.comment(1, 7, alice, "/build")
	old.Comment.Created = time.Now().Add(-16 * time.Minute)
	w.deliver("guid-comment-1", old)
	if reaction, text := w.answered(1); reaction != jobs.ReactionRefused || !strings.Contains(text, "within 15m.") {
		t.Errorf("%s %q", reaction, text)
	}
	bot := w.comment(2, 7, jobs.Actor{ID: 3, Login: "robot[bot]", Type: "Bot"}, "/build")
	w.deliver("guid-comment-2", bot)
	edited := w.comment(3, 7, alice, "/build")
	edited.Comment.Author = eve
	w.deliver("guid-comment-3", edited)
	w.deliver("guid-comment-4", w.comment(4, 7, alice, "/lgtm"))
	for _, guid := range []string{"guid-comment-2", "guid-comment-3", "guid-comment-4"} {
		if d := w.decision(guid); d.Outcome != jobs.OutcomeIgnored || d.Reply != nil {
			t.Errorf("%s was decided as %s: %s", guid, d.Outcome, d.Reason)
		}
	}
	if len(w.reactions[2])+len(w.reactions[3])+len(w.reactions[4]) != 0 {
		t.Errorf("reactions %v", w.reactions)
	}
}

func TestACommandIsCarriedOutOnce(t *testing.T) {
	w := newTown(t)
	w.replica("one")
	w.deliver("guid-pull-1", w.pull(7, "a", 5))
	w.finished("guid-pull-1")
	e := w.comment(1, 7, alice, "/build", "/nonsense", "/build")
	w.deliver("guid-comment-1", e)
	w.answered(1)
	// The same comment again: as redelivered under its GUID, and as caught and sent under a fresh one.
	w.deliver("guid-comment-1", e)
	w.deliver("guid-comment-2", e)
	if d := w.decision("guid-comment-2"); len(d.Parts) != 3 {
		t.Errorf("%+v", d)
	}
	runs := 0
	err := queue.Set[jobs.Run](w.q, queue.Archive).All(t.Context(), func(string, jobs.Run, uint64) error { runs++; return nil })
	if err != nil || runs != 3 { // the pull request's own, and one for each /build
		t.Errorf("%d runs, %v", runs, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if given := fmt.Sprint(w.reactions[1]); given != "[eyes rocket]" && given != "[rocket]" { // it may be done before it is seen
		t.Errorf("reactions %v", given)
	}
}

func TestTheSameContentUnderAnotherGUIDIsNoNewCause(t *testing.T) {
	w := newTown(t)
	w.replica("one")
	e := w.push("a")
	e.Repository, e.Installation, e.Sender = jobs.Repository{ID: 5, Owner: "acme", Name: "shop", DefaultBranch: "main"}, 3, alice
	body, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	for _, guid := range []string{"guid-push-1", "guid-push-2"} {
		if _, err := w.q.Accept(t.Context(), jobs.Delivery{GUID: guid, Event: "push", Received: time.Now(), Body: body}); err != nil {
			t.Fatal(err)
		}
		w.decision(guid)
	}
	if d := w.decision("guid-push-2"); d.Outcome != jobs.OutcomeIgnored || !strings.Contains(d.Reason, "guid-push-1") {
		t.Errorf("%s: %s", d.Outcome, d.Reason)
	}
}

// twoJobs is a plan of an image and a release that needs it.
func twoJobs(jobs.PlanInput) jobs.Plan {
	return jobs.Plan{Pipeline: "the test's", Jobs: []jobs.PlannedJob{
		{Name: "image", Kind: jobs.KindBuild, Planned: true, Spec: json.RawMessage(`{}`)},
		{Name: "release", Kind: jobs.KindBuild, Planned: true, Needs: []string{"image"}, Template: json.RawMessage(`{}`)},
	}}
}

func TestRetryDoesAgainWhatFailed(t *testing.T) {
	w := newTown(t)
	w.plan = twoJobs
	fail := true
	w.build = func(_ context.Context, task jobs.Task) (jobs.Result, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if task.Job == "release" && fail {
			return jobs.Result{Conclusion: jobs.Failure, Summary: "no"}, nil
		}
		return jobs.Result{Conclusion: jobs.Success, Summary: fmt.Sprintf("attempt %d", task.Attempt), Outputs: map[string]any{"digest": "sha256:1"}}, nil
	}
	w.replica("one")
	w.deliver("guid-pull-1", w.pull(7, "a", 5))
	first := w.finished("guid-pull-1")
	if first.State != jobs.RunFailed {
		t.Fatalf("%+v", first)
	}
	w.deliver("guid-comment-1", w.comment(1, 7, alice, "/retry image"))
	if reaction, text := w.answered(1); reaction != jobs.ReactionRefused || !strings.Contains(text, "did not fail") {
		t.Errorf("%s %q", reaction, text)
	}
	w.set(func() { fail = false })
	w.deliver("guid-comment-2", w.comment(2, 7, alice, "/retry"))
	second := w.ended(jobs.AttemptID(first.ID, 2))
	if second.State != jobs.RunSucceeded || second.Root != first.ID || second.Attempt != 2 {
		t.Errorf("%+v", second)
	}
	image, release := second.Job("image"), second.Job("release")
	if !image.Reused || image.ReusedFrom != first.ID || image.Attempt != 1 || image.Outputs["digest"] != "sha256:1" || release.Attempt != 2 || release.Summary != "attempt 2" {
		t.Errorf("image %+v\nrelease %+v", image, release)
	}
	if reaction, _ := w.answered(2); reaction != jobs.ReactionDone {
		t.Errorf("%s", reaction)
	}
	w.deliver("guid-comment-3", w.comment(3, 7, alice, "/retry"))
	if reaction, text := w.answered(3); reaction != jobs.ReactionRefused || !strings.Contains(text, "Nothing failed") {
		t.Errorf("%s %q", reaction, text)
	}
	// Re-run of everything is a third attempt, and of one job takes what needs it along.
	w.deliver("guid-click-1", jobs.Event{Kind: jobs.EventRerun, Check: &jobs.CheckClick{Suite: 4, SHA: first.SHA}})
	third := w.ended(jobs.AttemptID(first.ID, 3))
	if third.Job("image").Attempt != 2 || third.Job("release").Attempt != 3 {
		t.Errorf("%+v", third)
	}
	w.deliver("guid-click-2", jobs.Event{Kind: jobs.EventRerun, Check: &jobs.CheckClick{ID: 3, ExternalID: first.ID + "/slipway / image", SHA: first.SHA}})
	if fourth := w.ended(jobs.AttemptID(first.ID, 4)); fourth.Job("release").Attempt != 4 {
		t.Errorf("%+v", fourth)
	}
	// Not by somebody without write permission, and not for another's check.
	w.deliver("guid-click-3", jobs.Event{Kind: jobs.EventButton, Sender: eve, Check: &jobs.CheckClick{ID: 3, ExternalID: first.ID + "/slipway", SHA: first.SHA, Button: jobs.ButtonRetry}})
	if d := w.decision("guid-click-3"); d.Outcome != jobs.OutcomeRefused {
		t.Errorf("%s: %s", d.Outcome, d.Reason)
	}
	w.deliver("guid-click-4", jobs.Event{Kind: jobs.EventButton, Check: &jobs.CheckClick{ID: 3, ExternalID: first.ID + "/slipway", SHA: strings.Repeat("9", 40), Button: jobs.ButtonRetry}})
	if d := w.decision("guid-click-4"); d.Outcome != jobs.OutcomeIgnored {
		t.Errorf("%s: %s", d.Outcome, d.Reason)
	}
}

func TestCancelStopsWhatRuns(t *testing.T) {
	w := newTown(t)
	w.plan = func(jobs.PlanInput) jobs.Plan {
		return jobs.Plan{Jobs: []jobs.PlannedJob{
			{Name: "image", Kind: jobs.KindBuild, Planned: true, Spec: json.RawMessage(`{}`)},
			{Name: "other", Kind: jobs.KindBuild, Planned: true, Spec: json.RawMessage(`{}`)},
		}}
	}
	gate := make(chan struct{})
	w.build = func(ctx context.Context, task jobs.Task) (jobs.Result, error) {
		waitFor(ctx, gate)
		if ctx.Err() != nil {
			return jobs.Result{}, ctx.Err()
		}
		return jobs.Result{Conclusion: jobs.Success}, nil
	}
	w.replica("one")
	w.deliver("guid-pull-1", w.pull(7, "a", 5))
	w.active("guid-pull-1", func(r jobs.Run) bool {
		return r.Jobs[0].State == jobs.JobRunning && r.Jobs[1].State == jobs.JobRunning
	})
	w.deliver("guid-comment-1", w.comment(1, 7, alice, "/cancel image"))
	w.active("guid-pull-1", func(r jobs.Run) bool {
		return r.Jobs[0].State == jobs.JobCancelled && r.Jobs[1].State == jobs.JobRunning
	})
	w.deliver("guid-comment-2", w.comment(2, 7, alice, "/cancel"))
	run := w.finished("guid-pull-1")
	if run.State != jobs.RunCancelled || run.Jobs[0].Summary != "cancelled by alice" {
		t.Errorf("%+v", run)
	}
	for _, id := range []int64{1, 2} {
		if reaction, _ := w.answered(id); reaction != jobs.ReactionDone {
			t.Errorf("comment %d: %s", id, reaction)
		}
	}
	w.deliver("guid-comment-3", w.comment(3, 7, alice, "/cancel"))
	if reaction, text := w.answered(3); reaction != jobs.ReactionRefused || !strings.Contains(text, "Nothing is queued") {
		t.Errorf("%s %q", reaction, text)
	}
}

func TestARolloutThatNeedsApprovalGoesOnInANewAttempt(t *testing.T) {
	w := newTown(t)
	w.plan = twoJobs
	w.granted = jobs.Grant{Environments: []jobs.EnvironmentGrant{{Name: "production", Approvals: jobs.ApprovalRule{Count: 2}}}}
	w.perms[8] = "admin"
	bob := jobs.Actor{ID: 8, Login: "bob", Type: "User"}
	w.resolve = func(run jobs.Run, job jobs.Job) jobs.Resolution {
		if job.Name == "release" && len(run.Approved) == 0 {
			return jobs.Resolution{Hold: "waits for approval of production", Approvals: []string{"production"}}
		}
		return jobs.Resolution{Spec: []byte(`{}`)}
	}
	w.replica("one")
	w.deliver("guid-push-1", w.push("a"))
	first := w.finished("guid-push-1")
	if first.State != jobs.RunWaits || first.Job("release").State != jobs.JobHeld {
		t.Fatalf("%+v", first)
	}
	press := func(by jobs.Actor, guid string) jobs.Decision {
		w.deliver(guid, jobs.Event{Kind: jobs.EventButton, Sender: by, Check: &jobs.CheckClick{ID: 3, ExternalID: first.ID + "/slipway / release", SHA: first.SHA, Button: jobs.ButtonApprove}})
		return w.decision(guid)
	}
	if d := press(alice, "guid-click-1"); d.Outcome != jobs.OutcomeActed || !strings.Contains(d.Reason, "1 of 2") {
		t.Errorf("%s: %s", d.Outcome, d.Reason)
	}
	if d := press(alice, "guid-click-2"); d.Outcome != jobs.OutcomeActed { // the same person counts once
		t.Errorf("%s: %s", d.Outcome, d.Reason)
	}
	if d := press(bob, "guid-click-3"); d.Outcome != jobs.OutcomeRun {
		t.Errorf("%s: %s", d.Outcome, d.Reason)
	}
	second := w.ended(jobs.AttemptID(first.ID, 2))
	if second.State != jobs.RunSucceeded || !second.Job("image").Reused || fmt.Sprint(second.Approved) != "[production]" {
		t.Errorf("%+v", second)
	}
}

func TestQuestionsAreAnsweredFromTheRecord(t *testing.T) {
	w := newTown(t)
	w.declared = []jobs.DeclaredCommand{{Name: "greet", Description: "says hello"}}
	w.replica("one")
	w.deliver("guid-pull-1", w.pull(7, "a", 5))
	w.finished("guid-pull-1")
	w.perms[eve.ID] = "read"
	w.deliver("guid-comment-1", w.comment(1, 7, eve, "/status", "/why", "/help"))
	reaction, text := w.answered(1)
	if reaction != jobs.ReactionDone || len(w.answers[1]) != 1 {
		t.Errorf("%s, %d answers", reaction, len(w.answers[1]))
	}
	for _, want := range []string{"| image | succeeded | built |", "was decided as **run**", "| image | yes |", "`/status`"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	for _, not := range []string{"/deploy", "/greet"} {
		if strings.Contains(text, not) {
			t.Errorf("%s is offered to a reader:\n%s", not, text)
		}
	}
	w.deliver("guid-comment-2", w.comment(2, 7, alice, "/help"))
	if _, text := w.answered(2); !strings.Contains(text, "/greet") || !strings.Contains(text, "/deploy <environment> [release] [ref=…]") {
		t.Errorf("%s", text)
	}
	// Readers are answered a few times an hour.
	for i := range 6 {
		w.deliver(fmt.Sprintf("guid-more-%d", i), w.comment(int64(10+i), 7, eve, "/status"))
		w.decision(fmt.Sprintf("guid-more-%d", i))
	}
	if d := w.decision("guid-more-5"); d.Outcome != jobs.OutcomeIgnored {
		t.Errorf("%s: %s", d.Outcome, d.Reason)
	}
}
