package githubtest

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// CheckRun is a check run as GitHub shows it.
type CheckRun struct {
	ID          int64
	SuiteID     int64
	App         int64
	HeadSHA     string
	Name        string
	Status      string // queued, in_progress, completed; those of GitHub Actions also waiting
	Conclusion  string // empty until completed
	ExternalID  string
	DetailsURL  string
	Title       string
	Summary     string
	Text        string
	Annotations []Annotation  // all batches together
	Actions     []CheckAction // buttons; none are shown until the run is completed
	StartedAt   time.Time
	CompletedAt time.Time
}

// Annotation is a remark on lines of a file.
type Annotation struct {
	Path        string `json:"path"`
	StartLine   int    `json:"start_line"`
	EndLine     int    `json:"end_line"`
	StartColumn *int   `json:"start_column"`
	EndColumn   *int   `json:"end_column"`
	Level       string `json:"annotation_level"`
	Message     string `json:"message"`
	Title       string `json:"title"`
	RawDetails  string `json:"raw_details"`
}

// CheckAction is a button of a check run.
type CheckAction struct {
	Label       string `json:"label"`
	Description string `json:"description"`
	Identifier  string `json:"identifier"`
}

// checkRun is a run with what isn't shown.
type checkRun struct {
	CheckRun
	repo  *Repository
	suite *suite
	job   *job // whose run it is when it is GitHub Actions'
}

// GitHub's bounds, from its page "REST API endpoints for check runs". Those on counts and on summary and text are in the
// description; these are not.
const (
	maxSameName        = 1000
	maxAnnotationBytes = 64 << 10
	maxAnnotationTitle = 255
)

// CheckRuns returns the runs on a commit, in the order they were made; an empty sha means all runs of the repository.
func (r *Repository) CheckRuns(sha string) []CheckRun {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	var list []CheckRun
	for _, run := range r.runs {
		if sha == "" || run.HeadSHA == sha {
			shown := run.CheckRun
			shown.Annotations, shown.Actions = slices.Clone(run.Annotations), slices.Clone(run.buttons())
			list = append(list, shown)
		}
	}
	return list
}

// runWrite is the body of checks/create and checks/update.
type runWrite struct {
	Name        *string       `json:"name"`
	HeadSHA     string        `json:"head_sha"`
	DetailsURL  *string       `json:"details_url"`
	ExternalID  *string       `json:"external_id"`
	Status      string        `json:"status"`
	StartedAt   *time.Time    `json:"started_at"`
	Conclusion  string        `json:"conclusion"`
	CompletedAt *time.Time    `json:"completed_at"`
	Actions     []CheckAction `json:"actions"`
	Output      *struct {
		Title       *string      `json:"title"`
		Summary     *string      `json:"summary"`
		Text        *string      `json:"text"`
		Annotations []Annotation `json:"annotations"`
	} `json:"output"`
}

// fault is what GitHub refuses although the description allows it.
func (w *runWrite) fault() *answer {
	refused := func(field, message string) *answer {
		a := invalid("CheckRun", field, "invalid", message)
		return &a
	}
	if w.Name != nil && strings.TrimSpace(*w.Name) == "" {
		return refused("name", "name can't be blank")
	}
	if w.Status == "completed" && w.Conclusion == "" {
		return refused("conclusion", "conclusion is required when status is completed")
	}
	if slices.Contains([]string{"waiting", "requested", "pending"}, w.Status) {
		return refused("status", "only GitHub Actions may use this status")
	}
	if w.Conclusion == "stale" {
		return refused("conclusion", "only GitHub may conclude a check as stale")
	}
	if w.DetailsURL != nil && *w.DetailsURL != "" && !strings.HasPrefix(*w.DetailsURL, "http://") && !strings.HasPrefix(*w.DetailsURL, "https://") {
		return refused("details_url", "details_url must use http or https")
	}
	if w.Output == nil {
		return nil
	}
	for i, a := range w.Output.Annotations {
		field := fmt.Sprintf("output.annotations[%d]", i)
		switch {
		case a.Path == "" || a.Message == "":
			return refused(field, "path and message can't be blank")
		case a.StartLine < 1 || a.EndLine < a.StartLine:
			return refused(field, "start_line must be positive and not greater than end_line")
		case len(a.Message) > maxAnnotationBytes || len(a.RawDetails) > maxAnnotationBytes:
			return refused(field, "message and raw_details are limited to 64 KB")
		case utf8.RuneCountInString(a.Title) > maxAnnotationTitle:
			return refused(field, "title is limited to 255 characters")
		case (a.StartColumn != nil || a.EndColumn != nil) && a.StartLine != a.EndLine:
			return refused(field, "columns can only be given when start_line and end_line are the same")
		}
	}
	return nil
}

// apply takes what a write gives; what it doesn't give stays, and annotations add up.
func (run *checkRun) apply(w *runWrite, now time.Time) {
	text := func(into *string, given *string) {
		if given != nil {
			*into = *given
		}
	}
	text(&run.Name, w.Name)
	text(&run.DetailsURL, w.DetailsURL)
	text(&run.ExternalID, w.ExternalID)
	if w.StartedAt != nil {
		run.StartedAt = *w.StartedAt
	}
	if w.Status != "" {
		run.Status = w.Status
		if w.Status != "completed" && w.Conclusion == "" {
			run.Conclusion, run.CompletedAt = "", time.Time{}
		}
	}
	if w.Conclusion != "" {
		run.Status, run.Conclusion = "completed", w.Conclusion
		run.CompletedAt = now
	}
	if w.CompletedAt != nil {
		run.CompletedAt = *w.CompletedAt
	}
	if w.Actions != nil {
		run.Actions = w.Actions
	}
	if w.Output != nil {
		text(&run.Title, w.Output.Title)
		text(&run.Summary, w.Output.Summary)
		text(&run.Text, w.Output.Text)
		run.Annotations = append(run.Annotations, w.Output.Annotations...)
	}
}

func createRun(c *call) answer {
	var w runWrite
	c.decode(&w)
	if refused := w.fault(); refused != nil {
		return *refused
	}
	r := c.repo
	if !isSHA(w.HeadSHA) || r.git.commitOf(c.s.done, w.HeadSHA) == "" {
		return invalid("CheckRun", "head_sha", "custom", "No commit found for SHA: "+w.HeadSHA)
	}
	app := c.caller.token.installation.App
	s := r.suiteFor(app, w.HeadSHA, "")
	run := &checkRun{repo: r, suite: s, CheckRun: CheckRun{ID: c.s.nextID(), SuiteID: s.id, App: app.ID, HeadSHA: w.HeadSHA, Status: "queued", StartedAt: c.s.now()}}
	run.apply(&w, c.s.now())
	r.runs = append(r.runs, run)
	same := 0
	for _, other := range slices.Backward(r.runs) {
		if other.suite == s && other.Name == run.Name {
			if same++; same > maxSameName { // GitHub keeps the newest thousand of one name
				r.runs = slices.DeleteFunc(r.runs, func(old *checkRun) bool { return old == other })
				break
			}
		}
	}
	run.changed("created", run.Status == "completed")
	return created(run.shape())
}

func updateRun(c *call) answer {
	run := c.repo.run(c.id("check_run_id"))
	if run == nil {
		return notFound()
	}
	if run.App != c.caller.token.installation.App.ID {
		return refuse(http.StatusForbidden, fmt.Sprintf("Invalid app_id `%d` - check run can only be modified by the GitHub App that created it.", run.App))
	}
	var w runWrite
	c.decode(&w)
	if refused := w.fault(); refused != nil {
		return *refused
	}
	was := run.Status
	run.apply(&w, c.s.now())
	run.changed("", was != "completed" && run.Status == "completed")
	return ok(run.shape())
}

// changed brings the suite up to date and sends the events of a change.
func (run *checkRun) changed(action string, completed bool) {
	bot := run.suite.app.Bot
	if action != "" {
		run.repo.s.emit(run.repo, bot, "check_run", action, object{"check_run": run.shape()})
	}
	if completed {
		run.repo.s.emit(run.repo, bot, "check_run", "completed", object{"check_run": run.shape()})
	}
	run.suite.refresh(bot)
	run.repo.queueChanged()
}

func (r *Repository) run(id int64) *checkRun {
	for _, run := range r.runs {
		if run.ID == id {
			return run
		}
	}
	return nil
}

func getRun(c *call) answer {
	run := c.repo.run(c.id("check_run_id"))
	if run == nil {
		return notFound()
	}
	return ok(run.shape())
}

func (run *checkRun) shape() object {
	self := run.repo.api("check-runs/%d", run.ID)
	details := run.DetailsURL
	if details == "" {
		details = run.repo.html("runs/%d", run.ID)
	}
	page := run.repo.html("runs/%d", run.ID)
	if run.job != nil {
		page = details
	}
	suite := run.suite.shape()
	return object{
		"id": run.ID, "node_id": nodeID("CR", run.ID), "name": run.Name, "head_sha": run.HeadSHA, "external_id": run.ExternalID, "url": self,
		"html_url": page, "details_url": details, "status": run.Status, "conclusion": orNil(run.Conclusion),
		"started_at": stampOrNil(run.StartedAt), "completed_at": stampOrNil(run.CompletedAt),
		"output": object{"title": orNil(run.Title), "summary": orNil(run.Summary), "text": orNil(run.Text), "annotations_count": len(run.Annotations),
			"annotations_url": self + "/annotations"},
		"check_suite": object{"id": run.suite.id, "node_id": suite["node_id"], "head_branch": suite["head_branch"], "head_sha": suite["head_sha"], "status": suite["status"],
			"conclusion": suite["conclusion"], "url": suite["url"], "before": suite["before"], "after": suite["after"], "pull_requests": suite["pull_requests"],
			"app": suite["app"], "created_at": suite["created_at"], "updated_at": suite["updated_at"]},
		"app": run.repo.s.appShape(run.suite.app), "pull_requests": suite["pull_requests"],
	}
}

func listAnnotations(c *call) answer {
	run := c.repo.run(c.id("check_run_id"))
	if run == nil {
		return notFound()
	}
	return page(c, run.Annotations, func(some []Annotation) any {
		return shapes(some, func(a Annotation) object {
			return object{"path": a.Path, "start_line": a.StartLine, "end_line": a.EndLine, "start_column": a.StartColumn, "end_column": a.EndColumn,
				"annotation_level": a.Level, "title": orNil(a.Title), "message": a.Message, "raw_details": orNil(a.RawDetails),
				"blob_href": c.repo.html("blob/%s/%s", run.HeadSHA, escapePath(a.Path))}
		})
	})
}

func listRunsForRef(c *call) answer {
	sha := c.repo.resolve(c.params["ref"])
	if sha == "" {
		return refuse(http.StatusUnprocessableEntity, "No commit found for SHA: "+c.params["ref"])
	}
	return c.listRuns(func(run *checkRun) bool { return run.HeadSHA == sha })
}

func listRunsForSuite(c *call) answer {
	s := c.repo.suite(c.id("check_suite_id"))
	if s == nil {
		return notFound()
	}
	return c.listRuns(func(run *checkRun) bool { return run.suite == s })
}

// listRuns lists runs newest first; unless filter=all only the latest of each name in a suite.
func (c *call) listRuns(match func(*checkRun) bool) answer {
	type key struct {
		suite int64
		name  string
	}
	seen := map[key]bool{}
	var list []*checkRun
	for _, run := range slices.Backward(c.repo.runs) {
		if !match(run) {
			continue
		}
		k := key{run.SuiteID, run.Name}
		latest := !seen[k]
		seen[k] = true
		appID := number(c.query.Get("app_id"), 0)
		switch {
		case c.query.Get("filter") != "all" && !latest:
		case c.query.Get("check_name") != "" && c.query.Get("check_name") != run.Name:
		case c.query.Get("status") != "" && c.query.Get("status") != run.Status:
		case appID != 0 && int64(appID) != run.App:
		default:
			list = append(list, run)
		}
	}
	return page(c, list, func(some []*checkRun) any {
		return object{"total_count": len(list), "check_runs": shapes(some, (*checkRun).shape)}
	})
}

// buttons are the actions that people can click: those of a completed run.
func (run *checkRun) buttons() []CheckAction {
	if run.Status != "completed" {
		return nil
	}
	return run.Actions
}

// mayClick is the error of a click that GitHub doesn't offer: re-running and buttons are for those who may write.
func (r *Repository) mayClick(user *User) error {
	if r.mayPush(user) {
		return nil
	}
	return fmt.Errorf("%s may not write to %s, so GitHub shows no buttons: SetPermission can change that", user.Login, r.FullName())
}

// RerequestCheckRun is the "Re-run" link of one check run, clicked by user, who may write. It resets the run and tells its
// App only.
func (r *Repository) RerequestCheckRun(id int64, user *User) error {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	if err := r.mayClick(user); err != nil {
		return fmt.Errorf("re-run check run %d: %w", id, err)
	}
	return r.rerequestRun(id, user)
}

func (r *Repository) rerequestRun(id int64, user *User) error {
	run := r.run(id)
	if run == nil {
		return fmt.Errorf("re-run check run %d: there is no such run in %s", id, r.FullName())
	}
	if run.job != nil {
		return fmt.Errorf("re-run check run %d: it is a job of run %d, which WorkflowRun.Rerun runs again", id, run.job.attempt.run.ID)
	}
	run.Status, run.Conclusion, run.CompletedAt = "queued", "", time.Time{}
	run.suite.status, run.suite.conclusion = "queued", ""
	run.suite.tell(user, "check_run", "rerequested", object{"check_run": run.shape()})
	return nil
}

// RequestAction is a click of user, who may write, on a button of a check run. Only completed runs have buttons.
func (r *Repository) RequestAction(id int64, identifier string, user *User) error {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	if err := r.mayClick(user); err != nil {
		return fmt.Errorf("click %q on check run %d: %w", identifier, id, err)
	}
	run := r.run(id)
	if run == nil || !slices.ContainsFunc(run.buttons(), func(a CheckAction) bool { return a.Identifier == identifier }) {
		return fmt.Errorf("click %q on check run %d: there is no such button", identifier, id)
	}
	run.suite.tell(user, "check_run", "requested_action", object{"check_run": run.shape(), "requested_action": object{"identifier": identifier}})
	return nil
}

func rerequestRun(c *call) answer {
	if c.repo.rerequestRun(c.id("check_run_id"), c.caller.token.installation.App.Bot) != nil {
		return notFound()
	}
	return created(object{})
}
