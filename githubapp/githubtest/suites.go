package githubtest

import (
	"fmt"
	"net/http"
	"slices"
	"time"
)

// suite is a check suite: the runs of one App on one commit.
type suite struct {
	id                 int64
	repo               *Repository
	app                *App
	sha, branch        string // branch is empty for commits pushed elsewhere
	before             string
	status, conclusion string
	created, updated   time.Time
}

// suiteFor finds the suite of an App on a commit, or makes it.
func (r *Repository) suiteFor(app *App, sha, branch string) *suite {
	for _, s := range r.suites {
		if s.app == app && s.sha == sha {
			return s
		}
	}
	if branch == "" {
		// A suite made by hand takes the branch that has the commit at its head; a fork's commits have none here.
		if refs, err := r.git.refs(r.s.done); err == nil {
			for _, name := range namesUnder(refs, "refs/heads/") {
				if refs["refs/heads/"+name] == sha {
					branch = name
					break
				}
			}
		}
	}
	s := &suite{id: r.s.nextID(), repo: r, app: app, sha: sha, branch: branch, status: "queued", created: r.s.now(), updated: r.s.now()}
	r.suites = append(r.suites, s)
	return s
}

// requestSuites makes the check suites of a push and asks their Apps to fill them.
func (r *Repository) requestSuites(user *User, branch, before, after string) error {
	for _, app := range r.s.sortedApps() {
		for _, i := range app.installations {
			auto, set := r.autoSuites[app.ID]
			if !i.covers(r) || i.suspended || !permits(i.permissions["checks"], "write") || set && !auto {
				continue
			}
			if slices.ContainsFunc(r.suites, func(s *suite) bool { return s.app == app && s.sha == after }) {
				continue
			}
			s := r.suiteFor(app, after, branch)
			s.before = orZero(before)
			s.tell(user, "check_suite", "requested", object{"check_suite": s.shape()})
		}
	}
	return nil
}

// tell sends an event about a suite or its runs to the App that owns it, subscribed or not.
func (s *suite) tell(user *User, event, action string, fields object) {
	for _, i := range s.app.installations {
		if i.covers(s.repo) && !i.suspended {
			s.repo.s.notify(s.app, i, s.repo, event, action, with(fields, "sender", s.repo.s.userShape(user)))
		}
	}
}

// refresh derives the suite's state from its latest runs and says so when it is complete.
func (s *suite) refresh(sender *User) {
	was := s.status
	latest := map[string]*checkRun{}
	for _, run := range s.repo.runs {
		if run.suite == s {
			latest[run.Name] = run
		}
	}
	status, worst := "completed", ""
	for _, run := range latest {
		if run.Status != "completed" {
			status = "in_progress"
		}
		if slices.Index(severity, run.Conclusion) > slices.Index(severity, worst) {
			worst = run.Conclusion
		}
	}
	s.status, s.conclusion, s.updated = status, "", s.repo.s.now()
	if status == "completed" {
		s.conclusion = worst
	}
	if was != "completed" && status == "completed" {
		s.repo.s.emit(s.repo, sender, "check_suite", "completed", object{"check_suite": s.shape()})
	}
}

// severity orders conclusions; a suite shows the worst of its runs.
var severity = []string{"", "skipped", "neutral", "success", "stale", "cancelled", "action_required", "timed_out", "failure"}

func (s *suite) shape() object {
	r := s.repo
	pulls := []object{}
	for _, p := range r.pulls {
		if p.state == "open" && p.head == r && p.headSHA == s.sha {
			pulls = append(pulls, p.minimal())
		}
	}
	runs := 0
	for _, run := range r.runs {
		if run.suite == s {
			runs++
		}
	}
	self := r.api("check-suites/%d", s.id)
	return object{
		"id": s.id, "node_id": nodeID("CS", s.id), "head_branch": orNil(s.branch), "head_sha": s.sha, "status": s.status, "conclusion": orNil(s.conclusion), "url": self,
		"before": orNil(s.before), "after": s.sha, "pull_requests": pulls, "app": r.s.appShape(s.app), "created_at": stamp(s.created), "updated_at": stamp(s.updated),
		"rerequestable": true, "runs_rerequestable": true, "latest_check_runs_count": runs, "check_runs_url": self + "/check-runs", "head_commit": r.headCommit(s.sha),
		"repository": r.s.repositoryShape(r),
	}
}

// headCommit is a commit as suites and merge groups show it.
func (r *Repository) headCommit(sha string) object {
	c, err := r.git.commit(r.s.done, sha)
	if err != nil { // the server is closing, and git was stopped
		nobody := object{"name": "", "email": nil}
		return object{"id": sha, "tree_id": sha, "message": "", "timestamp": stamp(r.s.now()), "author": nobody, "committer": nobody}
	}
	return object{"id": c.sha, "tree_id": c.tree, "message": c.message, "timestamp": stamp(c.committed),
		"author": object{"name": c.authorName, "email": c.authorEmail}, "committer": object{"name": c.committerName, "email": c.committerEmail}}
}

func (r *Repository) suite(id int64) *suite {
	for _, s := range r.suites {
		if s.id == id {
			return s
		}
	}
	return nil
}

// RerequestSuite is "Re-run all checks" for an App's suite on a commit, clicked by user, who may write. The App hears of the
// suite only, not of its runs, which are all reset.
func (r *Repository) RerequestSuite(app *App, sha string, user *User) error {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	if err := r.mayClick(user); err != nil {
		return fmt.Errorf("re-run all checks on %s: %w", sha, err)
	}
	for _, s := range r.suites {
		if s.app == app && s.sha == sha {
			s.rerequest(user)
			return nil
		}
	}
	return fmt.Errorf("re-run all checks on %s: the App has no check suite there", sha)
}

func (s *suite) rerequest(user *User) {
	s.status, s.conclusion = "queued", ""
	for _, run := range s.repo.runs {
		if run.suite == s {
			run.Status, run.Conclusion, run.CompletedAt = "queued", "", time.Time{}
		}
	}
	s.tell(user, "check_suite", "rerequested", object{"check_suite": s.shape()})
}

func createSuite(c *call) answer {
	var w struct {
		HeadSHA string `json:"head_sha"`
	}
	c.decode(&w)
	if !isSHA(w.HeadSHA) || c.repo.git.commitOf(c.s.done, w.HeadSHA) == "" {
		return invalid("CheckSuite", "head_sha", "custom", "No commit found for SHA: "+w.HeadSHA)
	}
	before := len(c.repo.suites)
	s := c.repo.suiteFor(c.caller.token.installation.App, w.HeadSHA, "")
	if len(c.repo.suites) > before {
		return created(s.shape())
	}
	return ok(s.shape())
}

func getSuite(c *call) answer {
	if s := c.repo.suite(c.id("check_suite_id")); s != nil {
		return ok(s.shape())
	}
	return notFound()
}

func rerequestSuite(c *call) answer {
	s := c.repo.suite(c.id("check_suite_id"))
	if s == nil || s.app == c.s.actions { // workflows are re-run by an operation of their own
		return notFound()
	}
	s.rerequest(c.caller.token.installation.App.Bot)
	return created(object{})
}

func listSuites(c *call) answer {
	sha := c.repo.resolve(c.params["ref"])
	if sha == "" {
		return refuse(http.StatusUnprocessableEntity, "No commit found for SHA: "+c.params["ref"])
	}
	appID := int64(number(c.query.Get("app_id"), 0))
	var list []*suite
	for _, s := range c.repo.suites {
		if s.sha == sha && (appID == 0 || s.app.ID == appID) {
			list = append(list, s)
		}
	}
	return page(c, list, func(some []*suite) any {
		return object{"total_count": len(list), "check_suites": shapes(some, (*suite).shape)}
	})
}

func setSuitePreferences(c *call) answer {
	var w struct {
		AutoTrigger []struct {
			App     int64 `json:"app_id"`
			Setting bool  `json:"setting"`
		} `json:"auto_trigger_checks"`
	}
	c.decode(&w)
	for _, preference := range w.AutoTrigger {
		c.repo.autoSuites[preference.App] = preference.Setting
	}
	list := []object{}
	for app, setting := range c.repo.autoSuites {
		list = append(list, object{"app_id": app, "setting": setting})
	}
	return ok(object{"preferences": object{"auto_trigger_checks": list}, "repository": c.s.repositoryShape(c.repo)})
}
