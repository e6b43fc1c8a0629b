package main

import (
	"bytes"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/slipway-ci/slipway/githubapp/githubtest"
	"github.com/slipway-ci/slipway/queue/queuetest"
)

// What a script can do. Each command's first line says how it is written.

// repo OWNER/NAME DIR…: a repository with the folders' files on main, of which later ones win; alice is a writer.
func cmdRepo(ts *testscript.TestScript, _ bool, args []string) {
	arguments(ts, args, 2, 3, "repo OWNER/NAME DIR…")
	w := worldOf(ts)
	r, err := w.github.CreateRepository(args[0], githubtest.RepositoryOptions{})
	must(ts, err)
	r.SetPermission(w.github.User("alice"), "write")
	commit(ts, r, "main", "First commit", "alice", args[1:]...)
}

// commit pushes the folders' files; $REGISTRY and $NAMESPACE in them are filled in, so that a pipeline can name them.
func commit(ts *testscript.TestScript, r *githubtest.Repository, branch, message, login string, dirs ...string) {
	o := githubtest.CommitOptions{
		Branch: branch, Message: message, Author: worldOf(ts).github.User(login), Files: map[string]string{}, Symlinks: map[string]string{},
	}
	for _, dir := range dirs {
		root := ts.MkAbs(dir)
		must(ts, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			name, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			if d.Type() == fs.ModeSymlink {
				o.Symlinks[filepath.ToSlash(name)], err = os.Readlink(path)
				return err
			}
			data, err := os.ReadFile(path)
			text := strings.ReplaceAll(string(data), "$REGISTRY", ts.Getenv("REGISTRY"))
			o.Files[filepath.ToSlash(name)] = strings.ReplaceAll(text, "$NAMESPACE", ts.Getenv("NAMESPACE"))
			return err
		}))
	}
	sha, err := r.CommitWith(o)
	must(ts, err)
	ts.Setenv("SHA", sha)
}

// role OWNER/NAME USER ROLE: gives a user the role admin, write, read or none.
func cmdRole(ts *testscript.TestScript, _ bool, args []string) {
	arguments(ts, args, 3, 3, "role OWNER/NAME USER ROLE")
	w := worldOf(ts)
	w.github.Repository(args[0]).SetPermission(w.github.User(args[1]), args[2])
}

// push OWNER/NAME BRANCH MESSAGE|@FILE DIR [USER]: a commit with DIR's files, by alice or the user. $SHA is the commit then.
func cmdPush(ts *testscript.TestScript, _ bool, args []string) {
	arguments(ts, args, 4, 5, "push OWNER/NAME BRANCH MESSAGE|@FILE DIR [USER]")
	w := worldOf(ts)
	user := "alice"
	if len(args) == 5 {
		user = args[4]
	}
	message := args[2]
	if file, ok := strings.CutPrefix(message, "@"); ok {
		message = ts.ReadFile(file)
	}
	commit(ts, w.github.Repository(args[0]), args[1], message, user, args[3])
}

// pull OWNER/NAME BRANCH USER: a pull request of a branch into main; or pull OWNER/NAME LOGIN:BRANCH USER DIR: of a new
// branch with DIR's files on that user's fork, or with - for DIR of one that is there. Into another base when one is named.
// $SHA is its head then.
func cmdPull(ts *testscript.TestScript, _ bool, args []string) {
	arguments(ts, args, 3, 5, "pull OWNER/NAME BRANCH USER, or: pull OWNER/NAME LOGIN:BRANCH USER DIR|- [BASE]")
	w := worldOf(ts)
	repo, user := w.github.Repository(args[0]), w.github.User(args[2])
	if login, branch, fork := strings.Cut(args[1], ":"); fork && args[3] != "-" {
		r, err := w.github.Fork(repo, w.github.User(login))
		must(ts, err)
		commit(ts, r, branch, "A stranger's change", login, args[3])
	}
	o := githubtest.PullOptions{Title: "A change", Head: args[1], User: user}
	if len(args) == 5 {
		o.Base = args[4]
	}
	pr, err := repo.OpenPull(o)
	must(ts, err)
	w.pulls[args[0]+" "+strconv.Itoa(pr.Number)] = pr
	ts.Setenv("SHA", pr.HeadSHA())
}

// install OWNER: puts the App on another account; acme has it already.
func cmdInstall(ts *testscript.TestScript, _ bool, args []string) {
	arguments(ts, args, 1, 1, "install OWNER")
	worldOf(ts).app.Install(args[0])
}

// hold EVENT: from now on GitHub keeps deliveries of the event back.
func cmdHold(ts *testscript.TestScript, _ bool, args []string) {
	arguments(ts, args, 1, 1, "hold EVENT")
	worldOf(ts).github.OnDelivery(func(d githubtest.Delivery) githubtest.Handling {
		return githubtest.Handling{Hold: d.Event == args[0]}
	})
}

// release [newest]: lets what was kept back go, all in order, or only the newest.
func cmdRelease(ts *testscript.TestScript, _ bool, args []string) {
	w := worldOf(ts)
	ctx, cancel := patient()
	defer cancel()
	must(ts, w.github.WaitIdle(ctx)) // what is on its way is kept back by then
	held := w.github.Held()
	if len(held) == 0 {
		ts.Fatalf("GitHub keeps nothing back")
	}
	if len(args) == 1 && args[0] == "newest" {
		w.github.Release(held[len(held)-1].GUID)
		return
	}
	w.github.Release()
}

// redeliver EVENT: sends the newest delivery of the event again, as the button in the App's settings does.
func cmdRedeliver(ts *testscript.TestScript, _ bool, args []string) {
	arguments(ts, args, 1, 1, "redeliver EVENT")
	must(ts, worldOf(ts).github.Redeliver(newestDelivery(ts, args[0]).GUID))
}

// resend EVENT: somebody who caught GitHub's newest delivery of an event sends it again, with its signature and a GUID of
// their own.
func cmdResend(ts *testscript.TestScript, _ bool, args []string) {
	arguments(ts, args, 1, 1, "resend EVENT")
	caught := newestDelivery(ts, args[0])
	p, err := worldOf(ts).any()
	must(ts, err)
	r, err := http.NewRequest(http.MethodPost, "http://"+p.webhook+"/webhook", bytes.NewReader(caught.Payload))
	must(ts, err)
	r.Header = caught.RequestHeader.Clone()
	r.Header.Set("X-GitHub-Delivery", "00000000-0000-0000-0000-"+caught.GUID[len(caught.GUID)-12:])
	answer, err := http.DefaultClient.Do(r)
	must(ts, err)
	answer.Body.Close()
	if answer.StatusCode != http.StatusAccepted {
		ts.Fatalf("it was answered with %s", answer.Status)
	}
}

// newestDelivery is GitHub's last attempt to deliver an event.
func newestDelivery(ts *testscript.TestScript, event string) githubtest.Delivery {
	w := worldOf(ts)
	ctx, cancel := patient()
	defer cancel()
	must(ts, w.github.WaitIdle(ctx))
	log := w.github.Deliveries()
	for i := len(log) - 1; i >= 0; i-- {
		if log[i].Event == event {
			return log[i]
		}
	}
	ts.Fatalf("GitHub has not tried to deliver a %s", event)
	panic("not reached")
}

// nats: starts a NATS server of its own; servers that start from now on use it.
func cmdNATS(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Setenv("QUEUE", "url: "+queuetest.Server(worldOf(ts).t))
}

// serve [NAME] [ENV=VALUE…]: starts a server and waits until it is ready or dead. $SOCKET is its admin socket then, and $CONFIG its
// configuration.
func cmdServe(ts *testscript.TestScript, _ bool, args []string) {
	w := worldOf(ts)
	name, env := "one", []string{"BUILT=" + ts.Getenv("BUILT"), "GATE=" + ts.Getenv("GATE")}
	for _, arg := range args {
		if strings.Contains(arg, "=") {
			env = append(env, arg)
		} else {
			name = arg
		}
	}
	ctx, cancel := patient()
	defer cancel()
	p, err := w.server(name, ts.Getenv)
	must(ts, err)
	must(ts, w.start(ctx, p, env...))
	ts.Setenv("SOCKET", filepath.Join(p.dir, "work", "admin.sock"))
	ts.Setenv("CONFIG", p.config)
}

func named(ts *testscript.TestScript, args []string) *process {
	name := "one"
	if len(args) > 0 {
		name = args[0]
	}
	p := worldOf(ts).servers[name]
	if p == nil {
		ts.Fatalf("no server is named %s", name)
	}
	return p
}

// shutdown [NAME]: ends a server by SIGTERM; it must end in good order.
func cmdShutdown(ts *testscript.TestScript, _ bool, args []string) {
	p := named(ts, args)
	must(ts, p.cmd.Process.Signal(syscall.SIGTERM))
	ended(ts, p)
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		ts.Fatalf("server %s ended with %d", p.name, code)
	}
}

// kill9 [NAME]: ends a server by kill -9.
func cmdKill9(ts *testscript.TestScript, _ bool, args []string) {
	p := named(ts, args)
	must(ts, p.cmd.Process.Kill())
	ended(ts, p)
}

// died [NAME]: waits until a server has died by itself.
func cmdDied(ts *testscript.TestScript, _ bool, args []string) { ended(ts, named(ts, args)) }

func ended(ts *testscript.TestScript, p *process) {
	select {
	case <-p.exited:
	case <-time.After(patience):
		ts.Fatalf("waited in vain for server %s to end", p.name)
	}
	if !p.cmd.ProcessState.Exited() {
		worldOf(ts).deaths++
	}
}

// begin [NAME]: says that the server may act.
func cmdBegin(ts *testscript.TestScript, _ bool, args []string) {
	ctx, cancel := patient()
	defer cancel()
	must(ts, worldOf(ts).begin(ctx, named(ts, args)))
}

// finish [too]: lets the jobs that wait for it go on.
func cmdFinish(ts *testscript.TestScript, _ bool, args []string) {
	must(ts, os.WriteFile(strings.Join(append([]string{ts.Getenv("GATE")}, args...), "-"), nil, 0o600))
}

// github down|up: GitHub can't be reached, and can again. Or: github fail OPERATION KIND before|after TIMES, with KIND a
// status, timeout, lost, primary or secondary, the last two also with -429; "*" is every operation, -1 always. With an OWNER
// at the end only what is asked for that account's installation fails. Or: github mend: it fails no more.
func cmdGitHub(ts *testscript.TestScript, _ bool, args []string) {
	w := worldOf(ts)
	switch {
	case len(args) == 1 && (args[0] == "down" || args[0] == "up"):
		w.github.Down(args[0] == "down")
		return
	case len(args) == 1 && args[0] == "mend":
		w.github.ClearFailures()
		return
	case (len(args) == 5 || len(args) == 6) && args[0] == "fail":
	default:
		ts.Fatalf("usage: github down|up|mend, or: github fail OPERATION KIND before|after TIMES [OWNER]")
	}
	times, err := strconv.Atoi(args[4])
	must(ts, err)
	f := githubtest.Failure{Operation: strings.TrimPrefix(args[1], "*"), Times: times, RetryAfter: 2 * time.Second}
	if len(args) == 6 {
		f.Installation = installation(ts, args[5])
	}
	kind, tooMany := strings.CutSuffix(args[2], "-429")
	if tooMany {
		f.Status = 429
	}
	switch kind {
	case "timeout":
		f.Kind = githubtest.Timeout
	case "lost":
		f.Kind = githubtest.LostAnswer
	case "primary":
		f.Kind = githubtest.PrimaryLimit
	case "secondary":
		f.Kind = githubtest.SecondaryLimit
	default:
		f.Kind = githubtest.Status
		f.Status, err = strconv.Atoi(args[2])
		must(ts, err)
	}
	if args[3] == "after" {
		f.When = githubtest.After
	}
	w.github.Fail(f)
}
