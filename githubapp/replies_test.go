package githubapp

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/slipway-ci/slipway/githubapp/githubtest"
	"github.com/slipway-ci/slipway/jobs"
)

// pull opens a pull request from a branch of the repository.
func (w *world) pull(branch string) *githubtest.Pull {
	w.t.Helper()
	w.commit(branch, map[string]string{branch + ".txt": branch})
	pull, err := w.repo.OpenPull(githubtest.PullOptions{Head: branch, User: w.alice})
	ok(w.t, err)
	return pull
}

// asks is the reply to a comment of alice's on a pull request.
func (w *world) asks(pull *githubtest.Pull, command string) jobs.Reply {
	w.t.Helper()
	id, err := pull.Comment(w.alice, command)
	ok(w.t, err)
	return jobs.Reply{
		Installation: w.inst.ID, Repository: described(w.repo), Text: "It is done.", Created: w.clock.Now(),
		Comment: jobs.Comment{ID: id, Number: pull.Number, Author: jobs.Actor{ID: w.alice.ID, Login: "alice"}, Created: w.clock.Now()},
	}
}

func (w *world) asksOnCommit(command string) jobs.Reply {
	w.t.Helper()
	id, err := w.repo.CommentOnCommit(w.first, w.alice, command)
	ok(w.t, err)
	return jobs.Reply{
		Installation: w.inst.ID, Repository: described(w.repo), Text: "It is done.", Created: w.clock.Now(),
		Comment: jobs.Comment{ID: id, SHA: w.first, Author: jobs.Actor{ID: w.alice.ID, Login: "alice"}, Created: w.clock.Now()},
	}
}

func TestReactions(t *testing.T) {
	w := newWorld(t)
	pull := w.pull("feat")
	reply := w.asks(pull, "/build")
	for range 2 { // one that is there is fine
		ok(t, w.app.React(t.Context(), reply, jobs.ReactionSeen))
	}
	ok(t, w.app.React(t.Context(), reply, jobs.ReactionDone))
	if got := pull.Comments()[0].Reactions; len(got) != 2 || len(got["eyes"]) != 1 || len(got["rocket"]) != 1 {
		t.Errorf("got %v", got)
	}
	// Without the right to write files there is none on a commit's comment, and that holds nothing up.
	ok(t, w.app.React(t.Context(), w.asksOnCommit("/build"), jobs.ReactionSeen))

	ok(t, pull.DeleteComment(reply.Comment.ID, w.alice))
	var never *jobs.Unreportable
	if err := w.app.React(t.Context(), reply, jobs.ReactionDone); !errors.As(err, &never) || !strings.Contains(never.Reason, "gone") {
		t.Errorf("the comment was deleted: got %v", err)
	}
	var later *jobs.Later
	w.Fail(githubtest.Failure{Operation: "reactions/create-for-issue-comment", Kind: githubtest.SecondaryLimit, RetryAfter: time.Minute})
	if err := w.app.React(t.Context(), reply, jobs.ReactionDone); !errors.As(err, &later) {
		t.Errorf("limited: got %v", err)
	}
}

func TestAnswersAreOneComment(t *testing.T) {
	w := newWorld(t)
	pull := w.pull("feat")
	reply := w.asks(pull, "/why")
	reply.Text = "Ask @alice and @acme/sre.\n\n> `/why @bob`\n\n<b>no</b> <!-- slipway:reply comment-1 -->\n\n```\nleft open @carol"
	id, err := w.app.Answer(t.Context(), reply)
	ok(t, err)
	comments := pull.Comments()
	if len(comments) != 2 || comments[1].ID != id || comments[1].App == nil {
		t.Fatalf("got %+v", comments)
	}
	body := comments[1].Body
	if found := mention.FindString(body); found != "" {
		t.Errorf("%q calls somebody: %q", body, found)
	}
	mark := fmt.Sprintf("<!-- slipway:reply comment-%d -->", reply.Comment.ID)
	if _, raw := rendered(t, body); !strings.HasSuffix(body, "\n\n"+mark) || len(raw) != 1 {
		t.Errorf("got %q with the HTML %q", body, raw)
	}
	if n := w.count("apps/get-authenticated"); n != 0 {
		t.Errorf("%d questions who we are, want none", n)
	}

	reply = w.asksOnCommit("/status")
	id, err = w.app.Answer(t.Context(), reply)
	ok(t, err)
	if on := w.repo.CommitComments(w.first); len(on) != 2 || on[1].ID != id || !strings.Contains(on[1].Body, "It is done.") {
		t.Errorf("got %+v", on)
	}
}

func TestLongAnswersAreCut(t *testing.T) {
	w := newWorld(t)
	pull := w.pull("feat")
	reply := w.asks(pull, "/why")
	reply.Text = "```text\n" + strings.Repeat("ä line\n", 20_000)
	_, err := w.app.Answer(t.Context(), reply)
	ok(t, err)
	body := pull.Comments()[1].Body
	if n := utf8.RuneCountInString(body); n > maxComment || len(body) < maxComment*9/10 {
		t.Errorf("%d characters, %d bytes", n, len(body))
	}
	if text, _ := rendered(t, body); !strings.Contains(text, "The rest is cut") || !isSigned(body, marker("reply", jobs.ReplyKey(reply.Comment))) {
		t.Errorf("it ends %q", body[len(body)-200:])
	}
}

// A create whose answer was lost is found again and never doubled; what others wrote is never taken for it.
func TestAnAnswerIsPostedOnce(t *testing.T) {
	for name, failure := range map[string]githubtest.Failure{
		"lost before": {Kind: githubtest.LostAnswer},
		"lost after":  {Kind: githubtest.LostAnswer, When: githubtest.After},
		"502 before":  {Status: 502},
		"502 after":   {Status: 502, When: githubtest.After},
	} {
		for _, where := range []string{"pull request", "commit"} {
			t.Run(name+" on a "+where, func(t *testing.T) {
				w := newWorld(t)
				pull := w.pull("feat")
				reply, bodies := w.asks(pull, "/status"), func() (list []string) {
					for _, c := range pull.Comments() {
						list = append(list, c.User.Login+" "+c.Body)
					}
					return list
				}
				failure.Operation = "issues/create-comment"
				forged := "<!-- slipway:reply " + jobs.ReplyKey(reply.Comment) + " -->"
				_, err := pull.Comment(w.alice, forged)
				ok(t, err)
				other, err := w.CreateApp(githubtest.AppOptions{Slug: "other"})
				ok(t, err)
				_, err = pull.Comment(other.Bot, forged)
				ok(t, err)
				quoting := w.asks(pull, "/why")
				quoting.Text = "It says\n\n```\n" + forged + "\n```\n" + forged
				_, err = w.app.Answer(t.Context(), quoting)
				ok(t, err)
				if where == "commit" {
					reply, bodies = w.asksOnCommit("/status"), func() (list []string) {
						for _, c := range w.repo.CommitComments(w.first) {
							list = append(list, c.User.Login+" "+c.Body)
						}
						return list
					}
					failure.Operation = "repos/create-commit-comment"
					forged = "<!-- slipway:reply " + jobs.ReplyKey(reply.Comment) + " -->"
					_, err = w.repo.CommentOnCommit(w.first, other.Bot, forged)
					ok(t, err)
				}
				w.Fail(failure)
				first := reply
				reply.Asked = w.clock.Now()
				if _, err := w.app.Answer(t.Context(), first); err == nil {
					t.Fatal("no error")
				}
				// As jobs does: each call notes when the one before was made.
				var id int64
				w.clock.advance(time.Second)
				for range 10 {
					asked := reply
					reply.Asked = w.clock.Now()
					id, err = w.newApp().Answer(t.Context(), asked)
					var later *jobs.Later
					if errors.As(err, &later) {
						w.clock.advance(later.After)
						continue
					}
					ok(t, err)
					break
				}
				ours := slices.DeleteFunc(bodies(), func(s string) bool { return !strings.HasPrefix(s, w.gh.Bot.Login+" It is done.") })
				if id == 0 || len(ours) != 1 {
					t.Errorf("answer %d, and we said %q", id, ours)
				}
			})
		}
	}
}

// Not listed yet is not the same as not there.
func TestAnAnswerThatMayStillAppear(t *testing.T) {
	w := newWorld(t)
	reply := w.asks(w.pull("feat"), "/status")
	reply.Asked = w.clock.Now()
	w.clock.advance(settle - time.Second)
	var later *jobs.Later
	if id, err := w.app.Answer(t.Context(), reply); !errors.As(err, &later) || id != 0 || w.count("issues/create-comment") != 0 {
		t.Errorf("got %d, %v after %d creates", id, err, w.count("issues/create-comment"))
	}
	w.clock.advance(time.Second)
	if id, err := w.app.Answer(t.Context(), reply); err != nil || id == 0 {
		t.Errorf("got %d, %v", id, err)
	}
}

// Where there are more comments than are looked at, an answer that may be there already is not posted again, and that is said.
func TestAnAnswerAmongTooManyComments(t *testing.T) {
	w := newWorld(t)
	pull := w.pull("feat")
	reply := w.asks(pull, "/status")
	for range maxCommentPages*perPage + 1 {
		_, err := pull.Comment(w.alice, "and on")
		ok(t, err)
	}
	reply.Asked = w.clock.Now()
	w.clock.advance(time.Minute)
	_, err := w.app.Answer(t.Context(), reply)
	if never := (*jobs.Unreportable)(nil); !errors.As(err, &never) || !strings.Contains(never.Reason, "more than 2000 comments") {
		t.Errorf("got %v", err)
	}
	if n := w.count("issues/create-comment"); n != 0 {
		t.Errorf("%d comments were posted, want none", n)
	}
}

// People can write through an App, too: its mark on a comment does not make the comment ours.
func TestWhoseCommentItIs(t *testing.T) {
	w := newWorld(t)
	by := func(login, kind string, app int64) comment {
		var c comment
		c.User.Login, c.User.Type = login, kind
		if app != 0 {
			c.Via = &struct {
				ID int64 `json:"id"`
			}{app}
		}
		return c
	}
	for what, test := range map[string]struct {
		c    comment
		ours bool
	}{
		"our bot":                      {by("slipway[bot]", "Bot", w.gh.ID), true},
		"our bot, the App not named":   {by("slipway[bot]", "Bot", 0), true},
		"a person through our App":     {by("alice", "User", w.gh.ID), false},
		"a person":                     {by("alice", "User", 0), false},
		"a person with a bot's name":   {by("slipway[bot]", "User", 0), false},
		"another App's bot":            {by("other[bot]", "Bot", 99), false},
		"another bot, its App unnamed": {by("other[bot]", "Bot", 0), false},
	} {
		if ours, err := w.app.wrote(t.Context(), test.c); err != nil || ours != test.ours {
			t.Errorf("%s: got %v, %v", what, ours, err)
		}
	}
	if n := w.count("apps/get-authenticated"); n != 1 {
		t.Errorf("asked %d times who we are, want once", n)
	}
}

func TestAnswersThatGitHubRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		prepare func(*world, *githubtest.Pull)
		says    string
	}{
		"repository gone": {func(w *world, _ *githubtest.Pull) { ok(w.t, w.DeleteRepository(w.repo)) }, "no longer reaches"},
		"App removed":     {func(w *world, _ *githubtest.Pull) { w.inst.Uninstall() }, "removed"},
		"forbidden": {func(w *world, _ *githubtest.Pull) {
			w.Fail(githubtest.Failure{Operation: "issues/create-comment", Status: 403})
		}, "Pull requests: write"},
		"gone": {func(w *world, _ *githubtest.Pull) {
			w.Fail(githubtest.Failure{Operation: "issues/create-comment", Status: 410})
		}, "no longer has it"},
		"not found": {func(w *world, _ *githubtest.Pull) {
			w.Fail(githubtest.Failure{Operation: "issues/create-comment", Status: 404})
		}, "gone"},
		"invalid": {func(w *world, _ *githubtest.Pull) {
			w.Fail(githubtest.Failure{Operation: "issues/create-comment", Status: 422})
		}, "refused"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			pull := w.pull("feat")
			reply := w.asks(pull, "/status")
			test.prepare(w, pull)
			_, err := w.app.Answer(t.Context(), reply)
			var never *jobs.Unreportable
			if !errors.As(err, &never) || !strings.Contains(never.Reason, test.says) {
				t.Errorf("got %v, want a *jobs.Unreportable with %q", err, test.says)
			}
			clean(t, err)
		})
	}
	var never *jobs.Unreportable
	if err := permanentReply(wrap("comment", &refused{403, "Unable to create comment because issue is locked."})); !errors.As(err, &never) || !strings.Contains(never.Reason, "locked") {
		t.Errorf("locked: got %v", err)
	}
	if err := permanentReply(&Unavailable{}); errors.As(err, &never) {
		t.Errorf("GitHub is away: got %v", err)
	}
}

// without is a world in which the App was not granted some of what it asks for.
func without(t *testing.T, names ...string) *world {
	t.Helper()
	w := newWorld(t)
	granted := githubtest.DefaultPermissions()
	maps.DeleteFunc(granted, func(name, _ string) bool { return slices.Contains(names, name) })
	poor, err := w.CreateApp(githubtest.AppOptions{ID: 4712, Slug: "poor", Permissions: granted})
	ok(t, err)
	w.gh, w.inst = poor, poor.Install("acme")
	w.app = w.newApp()
	return w
}

func TestWhatIsNotGrantedCostsOnlyItself(t *testing.T) {
	w := without(t, "members", "deployments")
	_, found, err := w.app.Head(t.Context(), w.inst.ID, described(w.repo), "refs/heads/main")
	if err != nil || !found {
		t.Errorf("what is granted: got %v, %v", found, err)
	}
	in, err := w.app.InTeam(t.Context(), w.inst.ID, described(w.repo), "acme/sre", jobs.Actor{ID: 1, Login: "alice"})
	if !errors.Is(err, ErrDenied) || in || !strings.Contains(err.Error(), "Members: read") {
		t.Errorf("members: got %v, %v", in, err)
	}
	_, err = w.app.Answer(t.Context(), w.asks(w.pull("feat"), "/status"))
	ok(t, err)
}
