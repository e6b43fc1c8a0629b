package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/slipway-ci/slipway/githubapp/githubtest"
	"github.com/slipway-ci/slipway/jobs"
)

// A step of the story as the summary tells it.
type step struct {
	Step     string        `json:"step"`
	Expected []string      `json:"expected"`
	GitHub   githubFacts   `json:"github"`
	Registry registryFacts `json:"registry"`
	Cluster  clusterFacts  `json:"cluster"`
	Seconds  float64       `json:"seconds"`
	OK       bool          `json:"ok"`
	Problems []string      `json:"problems"`
}

// A chapter is a step to be played: someone does something, and then these things are so.
type chapter struct {
	title  string
	act    func(context.Context) (cause, error)
	expect func() []expectation // called after act
}

// A cause is what someone did: an event on a commit.
type cause struct {
	event string // as GitHub names it
	sha   string
	pull  int
}

// A story is what its chapters share.
type story struct {
	*stage
	alice *workcopy
	pull  *githubtest.Pull
	good  string // digest of the image of the first push
	line  int    // of the Dockerfile, where it breaks
}

const (
	featureBranch = "feat/greeting"
	// The slug of a branch whose name had to be changed ends in the first 8 digits of the SHA-256 of that name.
	featureTag = "feat-greeting-ff6b5f3e"
)

// tell plays all chapters, one after the other. It stops at one that can't be played to its end; one that goes wrong in
// what it shows is noted, and the story goes on.
func (s *stage) tell(ctx context.Context) ([]step, error) {
	st := &story{stage: s}
	var err error
	if st.alice, err = s.clone(ctx, s.repo, s.github.User("alice")); err != nil {
		return []step{}, err
	}
	chapters := []chapter{
		{"A push to main is built and rolled out", st.firstPush, st.isRolledOut},
		{"A pull request is built, and no more", st.pullRequest, st.isOnlyBuilt},
		{"A comment starts a workflow", st.greet, st.isGreeted},
		{"A push breaks the Dockerfile", st.breakDockerfile, st.pointsAtTheLine},
		{"A push crashes when it starts", st.crashOnStart, st.isRolledBack},
		{"A stranger opens a pull request from a fork", st.forkPull, st.isHeld},
	}
	steps := []step{}
	for i, c := range chapters {
		s.heading("%d. %s", i+1, c.title)
		played, err := st.play(ctx, c)
		steps = append(steps, played)
		if err != nil {
			return steps, fmt.Errorf("step %d, %s: %w", i+1, c.title, err)
		}
		s.line("done", "%s", verdict(played))
	}
	return steps, nil
}

// play plays one chapter and compares what is to be seen with what was promised.
func (st *story) play(ctx context.Context, c chapter) (played step, err error) {
	began := time.Now()
	played = step{Step: c.title, Expected: []string{}, Problems: []string{}}
	defer func() {
		played.Seconds = float64(time.Since(began).Milliseconds()) / 1000
		if err != nil {
			played.Problems = append(played.Problems, err.Error())
		}
		played.OK = len(played.Problems) == 0
	}()
	e := evidence{story: st}
	if e.before, err = st.look(ctx); err != nil {
		return played, err
	}
	st.github.ResetRequests()
	what, err := c.act(ctx)
	if err != nil {
		return played, err
	}
	expectations := c.expect()
	for _, x := range expectations {
		played.Expected = append(played.Expected, x.says)
	}
	run, followed := st.follow(ctx, what.event, what.sha)
	// What is to be seen is told also when the run did not get to its end.
	if e.after, err = st.look(ctx); err != nil {
		return played, err
	}
	e.run, e.cause, e.github = run, what, st.lookAtGitHub(what.sha)
	e.github.PullRequest = what.pull
	if what.event == "push" && run.State == jobs.RunSucceeded {
		e.after.cluster.Hook, _ = st.cluster.hook.says()
	}
	played.GitHub, played.Registry, played.Cluster = e.github, e.after.registry, e.after.cluster
	for _, c := range e.github.Checks {
		st.printer.line("check", "%s: %s: %s", c.Name, c.Conclusion, c.Title)
	}
	for _, x := range expectations {
		problem := x.met(e)
		if problem != nil {
			played.Problems = append(played.Problems, fmt.Sprintf("not so: %s: %v", x.says, problem))
		}
		st.promise(x.says, problem)
	}
	for _, v := range st.github.TakeViolations() {
		played.Problems = append(played.Problems, "GitHub's description of its API was broken: "+v)
		st.problem("GitHub's description of its API was broken: %s", v)
	}
	return played, followed
}

// firstPush puts the sample repository on main.
func (st *story) firstPush(ctx context.Context) (cause, error) {
	if err := os.CopyFS(st.alice.dir, os.DirFS(st.sample)); err != nil {
		return cause{}, fmt.Errorf("copy the sample repository: %w", err)
	}
	return st.push(ctx, st.alice, "Contracts over HTTP")
}

// pullRequest proposes a change from a branch of the repository itself.
func (st *story) pullRequest(ctx context.Context) (cause, error) {
	if err := st.alice.branch(ctx, featureBranch); err != nil {
		return cause{}, err
	}
	if err := st.alice.befriend(); err != nil {
		return cause{}, err
	}
	if _, err := st.push(ctx, st.alice, "A third contract, and a friendlier greeting"); err != nil {
		return cause{}, err
	}
	return st.open(githubtest.PullOptions{Title: "A friendlier greeting", Head: featureBranch, User: st.stage.alice})
}

// hail is what alice asks the workflow to say; a shell would make something else of it.
const hail = `Welcome back & "hello" $(whoami)`

// greet starts a workflow by a command of the pipeline's.
func (st *story) greet(context.Context) (cause, error) {
	text := "/greet '" + hail + "'"
	if _, err := st.pull.Comment(st.stage.alice, text); err != nil {
		return cause{}, fmt.Errorf("comment on the pull request: %w", err)
	}
	st.printer.line("github", "comment on #%d by alice: %s", st.pull.Number, text)
	return cause{event: "pull_request", sha: st.pull.HeadSHA(), pull: st.pull.Number}, nil
}

// breakDockerfile builds a package that isn't there.
func (st *story) breakDockerfile(ctx context.Context) (_ cause, err error) {
	if err := st.alice.branch(ctx, "main"); err != nil {
		return cause{}, err
	}
	if st.line, err = st.alice.breakBuild(); err != nil {
		return cause{}, err
	}
	return st.push(ctx, st.alice, "Build the command from its own folder")
}

// crashOnStart mends the Dockerfile, and brings a program that ends as soon as it is to serve.
func (st *story) crashOnStart(ctx context.Context) (cause, error) {
	if err := st.alice.branch(ctx, "main"); err != nil {
		return cause{}, err
	}
	if err := st.alice.mendBuildAndCrash(); err != nil {
		return cause{}, err
	}
	return st.push(ctx, st.alice, "Mend the build; keep contracts elsewhere")
}

// forkPull proposes a change from a stranger's fork.
func (st *story) forkPull(ctx context.Context) (cause, error) {
	fork, err := st.github.Fork(st.repo, st.eve)
	if err != nil {
		return cause{}, err
	}
	eve, err := st.clone(ctx, fork, st.eve)
	if err != nil {
		return cause{}, err
	}
	if err := eve.branch(ctx, "faster"); err != nil {
		return cause{}, err
	}
	if err := eve.pry(); err != nil {
		return cause{}, err
	}
	if _, err := st.push(ctx, eve, "Make the build faster"); err != nil {
		return cause{}, err
	}
	return st.open(githubtest.PullOptions{Title: "Make the build faster", Head: "eve:faster", User: st.eve})
}

// push pushes what changed in a working copy, and says so.
func (st *story) push(ctx context.Context, w *workcopy, message string) (cause, error) {
	sha, err := w.push(ctx, message)
	if err != nil {
		return cause{}, err
	}
	branch, err := w.git(ctx, "branch", "--show-current")
	if err != nil {
		return cause{}, err
	}
	st.printer.line("git push", "%s by %s: %s %q", branch, w.user.Login, jobs.Abbreviate(sha), message)
	return cause{event: "push", sha: sha}, nil
}

// open opens a pull request, and says so.
func (st *story) open(options githubtest.PullOptions) (cause, error) {
	pull, err := st.repo.OpenPull(options)
	if err != nil {
		return cause{}, fmt.Errorf("open a pull request: %w", err)
	}
	st.pull = pull
	st.printer.line("github", "pull request #%d by %s: %q", pull.Number, options.User.Login, options.Title)
	return cause{event: "pull_request", sha: pull.HeadSHA(), pull: pull.Number}, nil
}
