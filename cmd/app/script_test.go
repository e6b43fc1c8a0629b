package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/slipway-ci/slipway/githubapp/githubtest"
	"github.com/slipway-ci/slipway/jobs"
)

// TestMain is the program itself when a script starts it.
func TestMain(m *testing.M) {
	if os.Getenv("SLIPWAY_TEST_PROGRAM") == "slipway" {
		program()
		return
	}
	testscript.Main(m, map[string]func(){"slipway": program})
}

// patience is how long a script waits for anything.
const patience = 90 * time.Second

// TestScripts plays the scripts that need no engines: their kinds of jobs only pretend (pretend_test.go).
func TestScripts(t *testing.T) {
	testscript.Run(t, params("testdata/script", nil))
}

// params sets a world up for every script of a folder.
func params(dir string, env map[string]string) testscript.Params {
	return testscript.Params{
		Dir: dir, UpdateScripts: *update, RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			for key, value := range env {
				e.Setenv(key, value)
			}
			w, err := newWorld(e.T().(testing.TB), e.WorkDir, e.Vars)
			if err != nil {
				return err
			}
			e.Values[worldKey{}] = w
			e.Defer(func() {
				if err := w.end(); err != nil {
					e.T().(testing.TB).Error(err)
				}
				if e.T().(testing.TB).Failed() {
					for name, p := range w.servers {
						e.T().Log("server " + name + " said:\n" + p.log.String())
					}
				}
			})
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"repo": cmdRepo, "push": cmdPush, "pull": cmdPull, "serve": cmdServe, "stop": cmdStop, "kill": cmdKill, "died": cmdDied,
			"begin": cmdBegin, "settled": cmdSettled, "check": cmdCheck, "annotated": cmdAnnotated, "decided": cmdDecided, "runs": cmdRuns,
			"github": cmdGitHub, "asked": cmdAsked, "logged": cmdLogged, "built": cmdBuilt,
		},
	}
}

// must ends the script on an error.
func must(ts *testscript.TestScript, err error) {
	if err != nil {
		ts.Fatalf("%v", err)
	}
}

func arguments(ts *testscript.TestScript, args []string, least, most int, usage string) {
	if len(args) < least || len(args) > most {
		ts.Fatalf("usage: %s", usage)
	}
}

func patient() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), patience)
}

// repo OWNER/NAME DIR: a repository with DIR's files on main, alice a writer.
func cmdRepo(ts *testscript.TestScript, _ bool, args []string) {
	arguments(ts, args, 2, 2, "repo OWNER/NAME DIR")
	w := worldOf(ts)
	r, err := w.github.CreateRepository(args[0], githubtest.RepositoryOptions{})
	must(ts, err)
	r.SetPermission(w.github.User("alice"), "write")
	_, err = r.Commit("main", "First commit", files(ts, args[1]), w.github.User("alice"))
	must(ts, err)
}

// files reads a folder of the script; $NAMES in files are expanded, so that a pipeline can name the registry.
func files(ts *testscript.TestScript, dir string) map[string]string {
	found := map[string]string{}
	root := ts.MkAbs(dir)
	must(ts, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		text := strings.ReplaceAll(string(data), "$REGISTRY", ts.Getenv("REGISTRY"))
		found[filepath.ToSlash(name)] = strings.ReplaceAll(text, "$NAMESPACE", ts.Getenv("NAMESPACE"))
		return err
	}))
	return found
}

// push OWNER/NAME BRANCH MESSAGE DIR: a commit with DIR's files, by alice.
func cmdPush(ts *testscript.TestScript, _ bool, args []string) {
	arguments(ts, args, 4, 4, "push OWNER/NAME BRANCH MESSAGE DIR")
	w := worldOf(ts)
	sha, err := w.github.Repository(args[0]).Commit(args[1], args[2], files(ts, args[3]), w.github.User("alice"))
	must(ts, err)
	ts.Setenv("SHA", sha)
}

// pull OWNER/NAME BRANCH|LOGIN:BRANCH USER: a pull request; LOGIN:BRANCH is on that user's fork.
func cmdPull(ts *testscript.TestScript, _ bool, args []string) {
	arguments(ts, args, 3, 4, "pull OWNER/NAME BRANCH USER, or: pull OWNER/NAME LOGIN:BRANCH USER DIR")
	w := worldOf(ts)
	repo, user := w.github.Repository(args[0]), w.github.User(args[2])
	if login, branch, fork := strings.Cut(args[1], ":"); fork {
		r, err := w.github.Fork(repo, w.github.User(login))
		must(ts, err)
		_, err = r.Commit(branch, "A stranger's change", files(ts, args[3]), w.github.User(login))
		must(ts, err)
	}
	pr, err := repo.OpenPull(githubtest.PullOptions{Title: "A change", Head: args[1], User: user})
	must(ts, err)
	ts.Setenv("SHA", pr.HeadSHA())
}

// serve [NAME] [ENV=VALUE…]: starts a server and waits until it is ready or dead.
func cmdServe(ts *testscript.TestScript, _ bool, args []string) {
	w := worldOf(ts)
	w.expand = func(s string) string { return os.Expand(s, ts.Getenv) }
	name := "one"
	var env []string
	for _, arg := range args {
		if strings.Contains(arg, "=") {
			env = append(env, arg)
		} else {
			name = arg
		}
	}
	ctx, cancel := patient()
	defer cancel()
	p, err := w.server(name)
	must(ts, err)
	must(ts, w.start(ctx, p, append(env, "BUILT="+filepath.Join(w.dir, "built"))...))
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

// stop [NAME]: ends a server by SIGTERM; it must end in good order.
func cmdStop(ts *testscript.TestScript, _ bool, args []string) {
	p := named(ts, args)
	must(ts, p.cmd.Process.Signal(syscall.SIGTERM))
	ended(ts, p)
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		ts.Fatalf("server %s ended with %d", p.name, code)
	}
}

// kill [NAME]: kill -9.
func cmdKill(ts *testscript.TestScript, _ bool, args []string) {
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
}

// begin [NAME]: says that the server may act.
func cmdBegin(ts *testscript.TestScript, _ bool, args []string) {
	ctx, cancel := patient()
	defer cancel()
	_, err := worldOf(ts).call(ctx, named(ts, args), "begin")
	must(ts, err)
}

// settled: waits until every delivery is decided, and every run over and reported.
func cmdSettled(ts *testscript.TestScript, _ bool, _ []string) {
	ctx, cancel := patient()
	defer cancel()
	must(ts, worldOf(ts).settled(ctx))
}

// check OWNER/NAME CHECK CONCLUSION [REGEXP]: exactly one check of that name is on $SHA, has that conclusion, and says so.
func cmdCheck(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, args, 2, 4, "check OWNER/NAME CHECK CONCLUSION [REGEXP]")
	found := checks(ts, args[0], args[1])
	if neg {
		if len(found) > 0 {
			ts.Fatalf("there is a check %q", args[1])
		}
		return
	}
	if len(found) != 1 {
		ts.Fatalf("there are %d checks %q on %s, want one", len(found), args[1], ts.Getenv("SHA"))
	}
	text := found[0].Title + "\n" + found[0].Summary + "\n" + found[0].Text
	if got := found[0].Conclusion; got != args[2] {
		ts.Fatalf("check %q is %s %s, want %s:\n%s", args[1], found[0].Status, got, args[2], text)
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

// decided EVENT OUTCOME [REGEXP]: the newest delivery of the event has this outcome, for this reason.
func cmdDecided(ts *testscript.TestScript, _ bool, args []string) {
	arguments(ts, args, 2, 3, "decided EVENT OUTCOME [REGEXP]")
	ctx, cancel := patient()
	defer cancel()
	list, err := worldOf(ts).deliveries(ctx)
	must(ts, err)
	for _, d := range list.Deliveries {
		if d.Event != args[0] {
			continue
		}
		if d.Outcome != jobs.Outcome(args[1]) || len(args) == 3 && !regexp.MustCompile(args[2]).MatchString(d.Reason) {
			ts.Fatalf("the newest %s was decided %s: %s", d.Event, d.Outcome, d.Reason)
		}
		return
	}
	ts.Fatalf("there is no %s delivery", args[0])
}

// runs N [STATE]: so many runs are listed, in this state.
func cmdRuns(ts *testscript.TestScript, _ bool, args []string) {
	arguments(ts, args, 1, 2, "runs N [STATE]")
	ctx, cancel := patient()
	defer cancel()
	list, err := worldOf(ts).runs(ctx)
	must(ts, err)
	n := 0
	for _, r := range list.Runs {
		if len(args) == 1 || r.State == jobs.RunState(args[1]) {
			n++
		}
	}
	if strconv.Itoa(n) != args[0] {
		ts.Fatalf("there are %d such runs, want %s: %+v", n, args[0], list.Runs)
	}
}

// github down|up, or: github fail OPERATION KIND WHEN TIMES with KIND a status, timeout, lost, primary or secondary.
func cmdGitHub(ts *testscript.TestScript, _ bool, args []string) {
	w := worldOf(ts)
	switch {
	case len(args) == 1 && (args[0] == "down" || args[0] == "up"):
		w.github.Down(args[0] == "down")
		return
	case len(args) == 5 && args[0] == "fail":
	default:
		ts.Fatalf("usage: github down|up, or: github fail OPERATION KIND before|after TIMES")
	}
	times, err := strconv.Atoi(args[4])
	must(ts, err)
	f := githubtest.Failure{Operation: args[1], Times: times, RetryAfter: 2 * time.Second}
	switch args[2] {
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

// asked OPERATION N: GitHub was asked so often ("*" for all; since the script's last "asked reset").
func cmdAsked(ts *testscript.TestScript, _ bool, args []string) {
	w := worldOf(ts)
	if len(args) == 1 && args[0] == "reset" {
		w.github.ResetRequests()
		return
	}
	arguments(ts, args, 2, 2, "asked OPERATION N, or: asked reset")
	var asked []string
	for _, r := range w.github.Requests() {
		if r.Operation != "" && r.Operation != "git" && (args[0] == "*" || r.Operation == args[0]) {
			asked = append(asked, r.Operation)
		}
	}
	if strconv.Itoa(len(asked)) != args[1] {
		ts.Fatalf("GitHub was asked %d times, want %s: %v", len(asked), args[1], asked)
	}
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

// built N: the pretending kinds have carried out so many jobs.
func cmdBuilt(ts *testscript.TestScript, _ bool, args []string) {
	arguments(ts, args, 1, 1, "built N")
	data, err := os.ReadFile(filepath.Join(worldOf(ts).dir, "built"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		ts.Fatalf("%v", err)
	}
	if got := strings.Count(string(data), "\n"); strconv.Itoa(got) != args[0] {
		ts.Fatalf("%d jobs were carried out, want %s:\n%s", got, args[0], data)
	}
}
