package githubapp

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/slipway-ci/slipway/githubapp/githubtest"
	"github.com/slipway-ci/slipway/jobs"
)

// A forum is a desk with a pull request whose head every run is on.
type forum struct {
	*desk
	pull *githubtest.Pull
	head string
	runs int
}

func newForum(t *testing.T) *forum {
	t.Helper()
	f := &forum{desk: newDesk(t)}
	f.pull = f.desk.pull("feat")
	f.head = f.commit("feat", map[string]string{"more.txt": "more"})
	return f
}

// of makes a run one of the pull request, newer than those before.
func (f *forum) of(run jobs.Run) jobs.Run {
	f.runs++
	f.clock.advance(time.Minute)
	run = f.desk.of(run)
	run.ID, run.SHA, run.Event, run.PullRequest, run.Ref, run.Branch = fmt.Sprintf("r-%d", f.runs), f.head, jobs.EventPullRequest, f.pull.Number, jobs.PullRef(f.pull.Number), "feat"
	if run.Trust.Level == "" {
		run.Trust.Level = jobs.Trusted
	}
	return run
}

func (f *forum) held() jobs.Run {
	run := f.of(projections()["held-fork"].run)
	run.Trust.Level = jobs.Untrusted
	return run
}

// said are the texts of our comments, without their last line.
func (f *forum) said() []string {
	f.t.Helper()
	var texts []string
	for _, c := range f.pull.Comments() {
		if c.User != f.gh.Bot {
			continue
		}
		text, mark, ok := strings.Cut(c.Body, "\n\n<!--")
		if !ok || !isSigned(c.Body, marker("pull-request", commentKey(jobs.RunInfo{Repository: described(f.repo), PullRequest: f.pull.Number}))) {
			f.t.Errorf("%q ends %q", text, mark)
		}
		shows, _ := rendered(f.t, text)
		if found := mention.FindString(shows); found != "" {
			f.t.Errorf("%q calls %s", text, found)
		}
		texts = append(texts, text)
	}
	return texts
}

// says fails unless there is one comment of ours that holds each of the texts; with none given, unless there is no comment.
func (f *forum) says(want ...string) {
	f.t.Helper()
	said := f.said()
	if len(want) == 0 && len(said) == 0 {
		return
	}
	if len(said) != 1 || len(want) == 0 {
		f.t.Errorf("we said %q, want one comment with %q", said, want)
		return
	}
	for _, part := range want {
		if hidden, without := strings.CutPrefix(part, "not "); without == strings.Contains(said[0], hidden) {
			f.t.Errorf("we said\n%s\nwant %q", said[0], part)
		}
	}
}

func TestAPlainRunSaysNothing(t *testing.T) {
	f := newForum(t)
	plain := image(jobs.JobSucceeded)
	plain.Outputs = map[string]any{"image": "registry.example.com/acme/shop"} // built, not pushed
	f.settle(f.of(push(jobs.RunActive, plain, release(jobs.JobRunning))))
	f.settle(f.of(push(jobs.RunSucceeded, plain)))
	f.settle(f.of(push(jobs.RunFailed, image(jobs.JobFailed), release(jobs.JobSkipped))))
	f.settle(f.of(projections()["nothing"].run))
	f.says()
	if n := f.count("issues/list-comments"); n != 0 {
		t.Errorf("%d calls to look for a comment", n)
	}
	// A push to a branch has no pull request to speak on.
	f.settle(f.desk.of(trusted(jobs.RunSucceeded, image(jobs.JobSucceeded), toProduction(jobs.JobSucceeded))))
	f.says()
	if n := f.CountRequests(func(r githubtest.Request) bool { return strings.Contains(r.Path, "/comments") }); n != 0 {
		t.Errorf("%d calls about comments", n)
	}
}

func TestTheCommentOfAHeldPullRequest(t *testing.T) {
	f := newForum(t)
	f.settle(f.held())
	f.says("is held", "/ok-to-test "+f.head, "**Approve**", "fork")
	// Once it is approved, the comment says so no more, before the build is over.
	run := f.of(push(jobs.RunActive, image(jobs.JobRunning)))
	run.Trust.Level = jobs.Approved
	f.settle(run)
	f.says("not /ok-to-test", "Nothing about")
	done := push(jobs.RunSucceeded, image(jobs.JobSucceeded))
	done.Trust.Level = jobs.Approved // no word about images nobody vouches for
	f.settle(f.of(done))
	f.says("not sha256", "Nothing about")
	// Another push is held again.
	f.head = f.commit("feat", map[string]string{"evil.txt": "x"})
	f.settle(f.held())
	f.says("/ok-to-test " + f.head)
	if c, u := f.count("issues/create-comment"), f.count("issues/update-comment"); c != 1 || u != 2 {
		t.Errorf("%d creates and %d updates, want 1 and 2", c, u)
	}
}

func TestTheCommentOfFaultsAndApprovals(t *testing.T) {
	f := newForum(t)
	fault := projections()["fault"].run
	for i := range 20 {
		fault.Faults = append(fault.Faults, jobs.Fault{Line: 10 + i, Message: "another @alice <b>"})
	}
	f.settle(f.of(fault))
	f.says("has 22 faults", "`.slipway.yaml:3:5`", "and 12 more", "not <b>")
	f.settle(f.of(projections()["waits-in-a-pull"].run))
	f.says("Waits for approval of production", "/approve production", "not faults")
}

func TestTheCommentNamesImagesAndRollouts(t *testing.T) {
	f := newForum(t)
	built := image(jobs.JobSucceeded)
	built.Outputs["tags"] = "feat,pr-7"
	f.settle(f.of(trusted(jobs.RunSucceeded, built)))
	f.says("**Images of `"+jobs.Abbreviate(f.head)+"`**", "| `registry.example.com/acme/shop` | feat, pr-7 | `sha256:abab", "not Rolled out")
	// Somebody asks for a rollout, which is beside the pull request's own run.
	asked := trusted(jobs.RunSucceeded, toProduction(jobs.JobSucceeded))
	asked.Asked = &jobs.Asked{By: jobs.Actor{Login: "alice"}, Command: "/deploy staging"}
	f.settle(f.of(asked))
	f.says("**Images of", "| [staging](https://staging.example.com/) | tks/shop |  |", "| [production](https://production.example.com/) | tks/shop | 3 |")
	// The next commit has images of its own; what was rolled out stays until the next rollout.
	old := jobs.Abbreviate(f.head)
	f.head = f.commit("feat", map[string]string{"next.txt": "x"})
	f.settle(f.of(trusted(jobs.RunFailed, image(jobs.JobFailed))))
	f.says("not Images of", "`"+old+"`", "tks/shop")
	if n := f.count("issues/create-comment"); n != 1 {
		t.Errorf("%d comments made", n)
	}
}

// What a run says that is older than what was said already changes nothing, whenever it is reported.
func TestTheCommentGoesByTimeNotByArrival(t *testing.T) {
	f := newForum(t)
	old := f.held()
	f.head = f.commit("feat", map[string]string{"next.txt": "x"})
	newer := f.held()
	f.settle(newer)
	f.settle(old)
	f.says("/ok-to-test "+newer.SHA, "not "+old.SHA)
}

func TestACommentThatSomebodyDeleted(t *testing.T) {
	f := newForum(t)
	run := f.held()
	f.settle(run)
	remove := func() {
		t.Helper()
		for _, c := range f.pull.Comments() {
			ok(t, f.pull.DeleteComment(c.ID, f.alice))
		}
	}
	remove()
	f.settle(run) // the same again is not worth a comment
	f.settle(f.of(push(jobs.RunSucceeded)))
	f.says() // and neither is that there is nothing to say
	f.head = f.commit("feat", map[string]string{"next.txt": "x"})
	f.settle(f.held())
	f.says("/ok-to-test " + f.head)
	remove()
	f.head = f.commit("feat", map[string]string{"last.txt": "x"})
	f.settle(f.held())
	f.says("/ok-to-test " + f.head)
}

func TestTheCommentIsMadeOnce(t *testing.T) {
	for name, failure := range map[string]githubtest.Failure{
		"502 before":  {Status: 502},
		"502 after":   {Status: 502, When: githubtest.After},
		"lost before": {Kind: githubtest.LostAnswer},
		"lost after":  {Kind: githubtest.LostAnswer, When: githubtest.After},
		"limit":       {Kind: githubtest.SecondaryLimit, RetryAfter: 2 * time.Minute},
	} {
		for _, operation := range []string{"issues/create-comment", "issues/update-comment"} {
			t.Run(name+" "+operation, func(t *testing.T) {
				f := newForum(t)
				if operation == "issues/update-comment" {
					f.settle(f.held())
					f.head = f.commit("feat", map[string]string{"next.txt": "x"})
				}
				// What others write is never taken for ours.
				mark := marker("pull-request", commentKey(f.held().RunInfo))
				_, err := f.pull.Comment(f.alice, mark)
				ok(t, err)
				other, err := f.CreateApp(githubtest.AppOptions{Slug: "other"})
				ok(t, err)
				_, err = f.pull.Comment(other.Bot, mark)
				ok(t, err)
				failure.Operation = operation
				f.Fail(failure)
				run := f.held()
				if _, err := f.Report(t.Context(), run); err == nil {
					t.Error("no error")
				}
				f.restart()
				f.settle(run)
				f.says("/ok-to-test " + f.head)
			})
		}
	}
}

func TestTheCommentAtEveryWriteOfARecord(t *testing.T) {
	for write := 1; ; write++ {
		reached := false
		for _, after := range []bool{false, true} {
			f := newForum(t)
			died := f.reports.dieAt(write, after)
			for range 2 {
				run := f.held()
				if _, err := f.Report(t.Context(), run); errors.Is(err, errDied) {
					f.restart()
				}
				f.settle(run)
				f.says("/ok-to-test " + f.head)
				f.head = f.commit("feat", map[string]string{"next.txt": "x"})
			}
			reached = reached || *died
		}
		if !reached {
			if write < 10 {
				t.Fatalf("only %d writes", write)
			}
			return
		}
	}
}

func TestTheCommentIsFoundWithoutItsRecord(t *testing.T) {
	f := newForum(t)
	f.settle(f.held())
	f.reports = newRecords[jobs.ReportRecord]()
	f.restart()
	f.head = f.commit("feat", map[string]string{"next.txt": "x"})
	f.settle(f.held())
	f.says("/ok-to-test " + f.head)
}

func TestCommentsThatAreRefusedHoldNothingUp(t *testing.T) {
	for _, code := range []int{403, 404, 410, 422} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			f := newForum(t)
			f.Fail(githubtest.Failure{Operation: "issues/create-comment", Status: code, Times: -1})
			run := f.held()
			f.settle(run)
			f.settle(run)
			f.says()
			if n := f.count("issues/create-comment"); n != 1 {
				t.Errorf("asked %d times", n)
			}
			if n := len(f.repo.CheckRuns(f.head)); n != 1 {
				t.Errorf("%d checks", n)
			}
		})
	}
}

// Without a record, and among more comments than are looked at, ours may be there already: there is no second one.
func TestTheCommentAmongTooMany(t *testing.T) {
	f := newForum(t)
	for range maxCommentPages*perPage + 1 {
		_, err := f.pull.Comment(f.alice, "and on")
		ok(t, err)
	}
	for range 2 {
		run := f.held()
		f.ResetRequests()
		f.settle(run)
		if n := f.count("issues/list-comments"); n != maxCommentPages {
			t.Errorf("%d pages were looked at, want %d: once for each new text", n, maxCommentPages)
		}
		if n := f.count("issues/create-comment"); n != 0 {
			t.Errorf("%d comments were posted, want none", n)
		}
		if again, err := f.Report(t.Context(), run); again != 0 || err != nil || f.count("issues/list-comments") != maxCommentPages {
			t.Errorf("reported again: %s, %v after %d pages", again, err, f.count("issues/list-comments"))
		}
		f.head = f.commit("feat", map[string]string{"more.txt": f.head})
	}
}

func TestTheCommentIsBounded(t *testing.T) {
	f := newForum(t)
	run := trusted(jobs.RunSucceeded)
	for i := range 200 {
		j := toProduction(jobs.JobSucceeded)
		j.Name = fmt.Sprintf("release-%d", i)
		j.Outputs = map[string]any{"release": strings.Repeat("r@", 2000), "namespace": strings.Repeat("|<", 2000), "revision": int64(i)}
		run.Jobs = append(run.Jobs, j)
		b := image(jobs.JobSucceeded)
		b.Name, b.Outputs["tags"] = fmt.Sprintf("image-%d", i), strings.Repeat("`x", 3000)
		run.Jobs = append(run.Jobs, b)
	}
	run.Finished = at(100)
	run.Trust.Level = jobs.Trusted
	run = f.of(run)
	notes := merge(nil, notesOf(run, f.reporter.environmentURL))
	text, _ := render(notes)
	if n := utf8.RuneCountInString(signed(text, "<!-- x -->")); len(notes) > maxNotes || n > maxComment {
		t.Errorf("%d notes, %d characters", len(notes), n)
	}
	if !strings.Contains(text, "more jobs made") {
		t.Errorf("what is left out is not said: %.500s", text)
	}
	shows, _ := rendered(t, text)
	if found := mention.FindString(shows); found != "" {
		t.Errorf("calls %s", found)
	}
}
