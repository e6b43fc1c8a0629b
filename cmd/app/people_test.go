package main

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/slipway-ci/slipway/githubapp/githubtest"
)

// What people do on GitHub in a script, and what they are shown.

// pullOf finds a pull request that the script opened, by its number.
func pullOf(ts *testscript.TestScript, repo, number string) *githubtest.Pull {
	p := worldOf(ts).pulls[repo+" "+number]
	if p == nil {
		ts.Fatalf("%s has no pull request %s", repo, number)
	}
	return p
}

// ours reports whether a comment is our App's.
func ours(user *githubtest.User) bool { return strings.HasSuffix(user.Login, "[bot]") }

// comment OWNER/NAME NUMBER|SHA USER TEXT [AGE]: a comment on a pull request or a commit; \n in the text is a line's end. It
// is written a second after all that happened before, or AGE ago.
func cmdComment(ts *testscript.TestScript, _ bool, args []string) {
	arguments(ts, args, 4, 5, "comment OWNER/NAME NUMBER|SHA USER TEXT [AGE]")
	w, written := worldOf(ts), time.Now().Add(time.Second)
	if len(args) == 5 {
		age, err := time.ParseDuration(args[4])
		must(ts, err)
		written = time.Now().Add(-age)
	}
	text := strings.ReplaceAll(args[3], `\n`, "\n")
	var id int64
	var err error
	if len(args[1]) < 40 {
		id, err = pullOf(ts, args[0], args[1]).CommentAt(w.github.User(args[2]), text, written)
	} else {
		id, err = w.github.Repository(args[0]).CommentOnCommitAt(args[1], w.github.User(args[2]), text, written)
	}
	must(ts, err)
	ts.Setenv("COMMENT", fmt.Sprint(id))
	ts.Setenv("WHERE", args[0]+" "+args[1])
}

// edit USER TEXT: the newest comment is changed.
func cmdEdit(ts *testscript.TestScript, _ bool, args []string) {
	arguments(ts, args, 2, 2, "edit USER TEXT")
	repo, number, _ := strings.Cut(ts.Getenv("WHERE"), " ")
	id, err := strconv.ParseInt(ts.Getenv("COMMENT"), 10, 64)
	must(ts, err)
	must(ts, pullOf(ts, repo, number).EditComment(id, worldOf(ts).github.User(args[0]), strings.ReplaceAll(args[1], `\n`, "\n")))
}

// thread is what stands where the newest comment was written.
func thread(ts *testscript.TestScript) (list []githubtest.Comment) {
	repo, where, _ := strings.Cut(ts.Getenv("WHERE"), " ")
	if len(where) < 40 {
		return pullOf(ts, repo, where).Comments()
	}
	for _, c := range worldOf(ts).github.Repository(repo).CommitComments(where) {
		list = append(list, githubtest.Comment{ID: c.ID, User: c.User, Body: c.Body, Reactions: c.Reactions})
	}
	return list
}

// reacted REACTION: this is our last reaction on the newest comment, at last. Without a word: there is none.
func cmdReacted(ts *testscript.TestScript, _ bool, args []string) {
	arguments(ts, args, 0, 1, "reacted [REACTION]")
	want := append(args, "")[0]
	ctx, cancel := patient()
	defer cancel()
	last := ""
	err := wait(ctx, "the reaction", func() (bool, error) {
		last = ""
		for _, c := range thread(ts) {
			if fmt.Sprint(c.ID) != ts.Getenv("COMMENT") {
				continue
			}
			for _, reaction := range []string{"eyes", "rocket", "confused"} { // seen comes before the end
				if len(c.Reactions[reaction]) > 0 {
					last = reaction
				}
			}
		}
		return last == want, nil
	})
	if err != nil {
		ts.Fatalf("%v %q; there is %q", err, want, last)
	}
}

// answered REGEXP: one of our comments where the newest comment stands says so, at last. ! answered REGEXP: none does.
func cmdAnswered(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, args, 1, 1, "answered REGEXP")
	wanted := regexp.MustCompile("(?s)" + args[0])
	ctx, cancel := patient()
	defer cancel()
	var said []string
	look := func() (bool, error) {
		said = nil
		for _, c := range thread(ts) {
			if ours(c.User) {
				said = append(said, c.Body)
			}
		}
		return slices.ContainsFunc(said, wanted.MatchString), nil
	}
	if neg {
		if found, _ := look(); found {
			ts.Fatalf("it is said:\n%s", strings.Join(said, "\n----\n"))
		}
		return
	}
	if err := wait(ctx, "an answer", look); err != nil {
		ts.Fatalf("%v that says %q; there are:\n%s", err, args[0], strings.Join(said, "\n----\n"))
	}
}

// comments OWNER/NAME NUMBER N [REGEXP]: our App wrote N comments on the pull request, and the newest says so, at last.
func cmdComments(ts *testscript.TestScript, _ bool, args []string) {
	arguments(ts, args, 3, 4, "comments OWNER/NAME NUMBER N [REGEXP]")
	ctx, cancel := patient()
	defer cancel()
	var said []string
	err := wait(ctx, "the comments", func() (bool, error) {
		said = nil
		for _, c := range pullOf(ts, args[0], args[1]).Comments() {
			if ours(c.User) {
				said = append(said, c.Body)
			}
		}
		return fmt.Sprint(len(said)) == args[2] && (len(args) == 3 || regexp.MustCompile("(?s)"+args[3]).MatchString(said[len(said)-1])), nil
	})
	if err != nil {
		ts.Fatalf("%v; there are %d:\n%s", err, len(said), strings.Join(said, "\n----\n"))
	}
}

// press OWNER/NAME CHECK BUTTON USER: a click on a button of the newest check of that name. ! press: there is no such button.
func cmdPress(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, args, 4, 4, "press OWNER/NAME CHECK BUTTON USER")
	w := worldOf(ts)
	check := newestCheck(ts, args[0], args[1])
	err := w.github.Repository(args[0]).RequestAction(check.ID, args[2], w.github.User(args[3]))
	if neg != (err != nil) {
		ts.Fatalf("press %s: %v; the check offers %v", args[2], err, check.Actions)
	}
}

// rerun OWNER/NAME CHECK|all USER: a click on Re-run at the newest check of that name, or at all of the commit's.
func cmdRerun(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, args, 3, 3, "rerun OWNER/NAME CHECK|all USER")
	w := worldOf(ts)
	repo, user := w.github.Repository(args[0]), w.github.User(args[2])
	var err error
	if args[1] == "all" {
		err = repo.RerequestSuite(w.app, ts.Getenv("SHA"), user)
	} else {
		err = repo.RerequestCheckRun(newestCheck(ts, args[0], args[1]).ID, user)
	}
	if neg != (err != nil) {
		ts.Fatalf("rerun: %v", err)
	}
}

func newestCheck(ts *testscript.TestScript, repo, name string) githubtest.CheckRun {
	found := checks(ts, repo, name)
	if len(found) == 0 {
		ts.Fatalf("there is no check %q on %s", name, ts.Getenv("SHA"))
	}
	return slices.MaxFunc(found, func(a, b githubtest.CheckRun) int { return int(a.ID - b.ID) })
}

// change OWNER/NAME NUMBER USER WHAT [VALUE]: what else happens to a pull request: label, unlabel, retarget, title, draft,
// ready, close, reopen, merge, enqueue. $SHA is its head then; of a merge the commit, and of enqueue the merge group's head.
func cmdChange(ts *testscript.TestScript, _ bool, args []string) {
	arguments(ts, args, 4, 5, "change OWNER/NAME NUMBER USER WHAT [VALUE]")
	w, p := worldOf(ts), pullOf(ts, args[0], args[1])
	user, value := w.github.User(args[2]), ""
	if len(args) == 5 {
		value = args[4]
	}
	ts.Setenv("SHA", p.HeadSHA())
	switch args[3] {
	case "label":
		p.Label(user, value)
	case "unlabel":
		p.Unlabel(user, value)
	case "retarget":
		must(ts, p.Retarget(user, value))
	case "title":
		p.Retitle(user, value)
	case "draft":
		p.ConvertToDraft(user)
	case "ready":
		p.MarkReady(user)
	case "close":
		p.Close(user)
	case "reopen":
		must(ts, p.Reopen(user))
	case "merge":
		sha, err := p.Merge(user)
		must(ts, err)
		ts.Setenv("SHA", sha)
	case "enqueue":
		must(ts, w.github.Repository(args[0]).EnqueueMerge(p, user))
		groups := w.github.Repository(args[0]).MergeGroups()
		ts.Setenv("SHA", groups[len(groups)-1].HeadSHA)
	default:
		ts.Fatalf("nobody can %s a pull request", args[3])
	}
}

// delete OWNER/NAME USER: the repository is gone.
func cmdDelete(ts *testscript.TestScript, _ bool, args []string) {
	arguments(ts, args, 2, 2, "delete OWNER/NAME USER")
	repo := worldOf(ts).github.Repository(args[0])
	must(ts, repo.Delete(worldOf(ts).github.User(args[1])))
}

// rename OWNER/NAME USER NAME: it is called otherwise.
func cmdRename(ts *testscript.TestScript, _ bool, args []string) {
	arguments(ts, args, 3, 3, "rename OWNER/NAME USER NAME")
	repo := worldOf(ts).github.Repository(args[0])
	repo.SetPermission(worldOf(ts).github.User(args[1]), "admin")
	must(ts, repo.Rename(args[2], worldOf(ts).github.User(args[1])))
}

// copy OWNER/NAME BRANCH OWNER/NAME BRANCH: the second branch is pushed to the commit that the first is at.
func cmdCopy(ts *testscript.TestScript, _ bool, args []string) {
	arguments(ts, args, 4, 4, "copy OWNER/NAME BRANCH OWNER/NAME BRANCH")
	w := worldOf(ts)
	from, to := w.github.Repository(args[0]), w.github.Repository(args[2])
	dir := ts.MkAbs("copy-" + args[3])
	must(ts, ts.Exec("git", "clone", "--quiet", "--bare", from.CloneURL(from.Owner), dir))
	must(ts, ts.Exec("git", "-C", dir, "push", "--quiet", to.CloneURL(to.Owner), args[1]+":refs/heads/"+args[3]))
}

// draft OWNER/NAME BRANCH USER: a pull request of a branch into main that is a draft. $SHA is its head then.
func cmdDraft(ts *testscript.TestScript, _ bool, args []string) {
	arguments(ts, args, 3, 3, "draft OWNER/NAME BRANCH USER")
	w := worldOf(ts)
	pr, err := w.github.Repository(args[0]).OpenPull(githubtest.PullOptions{Title: "A draft", Head: args[1], User: w.github.User(args[2]), Draft: true})
	must(ts, err)
	w.pulls[args[0]+" "+strconv.Itoa(pr.Number)] = pr
	ts.Setenv("SHA", pr.HeadSHA())
}

// transfer OWNER/NAME USER OWNER: the repository goes to another owner.
func cmdTransfer(ts *testscript.TestScript, _ bool, args []string) {
	arguments(ts, args, 3, 3, "transfer OWNER/NAME USER OWNER")
	repo := worldOf(ts).github.Repository(args[0])
	repo.SetPermission(worldOf(ts).github.User(args[1]), "admin")
	must(ts, repo.Transfer(args[2], worldOf(ts).github.User(args[1])))
}

// publish OWNER/NAME TAG USER [prerelease]: a release is published on main's head under a new tag. $SHA is its commit.
func cmdPublish(ts *testscript.TestScript, _ bool, args []string) {
	arguments(ts, args, 3, 4, "publish OWNER/NAME TAG USER [prerelease]")
	repo := worldOf(ts).github.Repository(args[0])
	_, err := repo.CreateRelease(githubtest.ReleaseOptions{
		Tag: args[1], Target: "main", Name: args[1], Prerelease: len(args) == 4, User: worldOf(ts).github.User(args[2]),
	})
	must(ts, err)
	ts.Setenv("SHA", repo.Head("main"))
}

// queue OWNER/NAME [CHECK…]: main gets a merge queue that wants these checks.
func cmdQueue(ts *testscript.TestScript, _ bool, args []string) {
	arguments(ts, args, 1, 9, "queue OWNER/NAME [CHECK…]")
	worldOf(ts).github.Repository(args[0]).EnableMergeQueue("main", args[1:]...)
}

// team OWNER SLUG USER…: a team with these members.
func cmdTeam(ts *testscript.TestScript, _ bool, args []string) {
	arguments(ts, args, 2, 9, "team OWNER SLUG USER…")
	var members []*githubtest.User
	for _, login := range args[2:] {
		members = append(members, worldOf(ts).github.User(login))
	}
	worldOf(ts).github.CreateTeam(args[0], args[1], members...)
}

// state OWNER/NAME NUMBER STATE: the pull request is open, closed or merged, at last.
func cmdState(ts *testscript.TestScript, _ bool, args []string) {
	arguments(ts, args, 3, 3, "state OWNER/NAME NUMBER STATE")
	ctx, cancel := patient()
	defer cancel()
	p := pullOf(ts, args[0], args[1])
	if err := wait(ctx, "the pull request", func() (bool, error) { return p.State() == args[2], nil }); err != nil {
		ts.Fatalf("%v to be %s; it is %s", err, args[2], p.State())
	}
}

// deployed OWNER/NAME ENVIRONMENT STATE [REGEXP]: the newest deployment of $SHA to the environment is in that state, at last,
// and its description and URLs say so.
func cmdDeployed(ts *testscript.TestScript, _ bool, args []string) {
	arguments(ts, args, 3, 4, "deployed OWNER/NAME ENVIRONMENT STATE [REGEXP]")
	ctx, cancel := patient()
	defer cancel()
	said := "nothing"
	err := wait(ctx, "the deployment", func() (bool, error) {
		for _, d := range slices.Backward(worldOf(ts).github.Repository(args[0]).Deployments()) {
			if d.Environment != args[1] || d.SHA != ts.Getenv("SHA") || len(d.Statuses) == 0 {
				continue
			}
			s := d.Statuses[len(d.Statuses)-1]
			said = fmt.Sprintf("%s: %s %s %s", s.State, s.Description, s.LogURL, s.EnvironmentURL)
			return s.State == args[2] && (len(args) == 3 || regexp.MustCompile(args[3]).MatchString(said)), nil
		}
		return false, nil
	})
	if err != nil {
		ts.Fatalf("%v; GitHub shows %s", err, said)
	}
}
