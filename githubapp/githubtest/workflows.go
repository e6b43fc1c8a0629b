package githubtest

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// workflow is a workflow file that the repository has or had. It keeps its ID whatever becomes of the file.
type workflow struct {
	id       int64
	repo     *Repository
	path     string
	name     string // as the file said when it was last read
	disabled bool
	runs     int // how many there were, for run numbers
	created  time.Time
}

// NoRunDetails makes the server one that doesn't know return_run_details yet (true): it ignores the field and answers every
// dispatch with 204, as GitHub Enterprise Server and GitHub before February 2026 do.
func (s *Server) NoRunDetails(old bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noRunDetails = old
}

// DisableWorkflow is "Disable workflow" (true) or "Enable workflow" for one file, such as hello.yaml: a disabled workflow
// is not started by anything.
func (r *Repository) DisableWorkflow(file string, disabled bool) error {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	w := r.findWorkflow(file)
	if w == nil {
		return fmt.Errorf("disable workflow %s: %s has no such file on its default branch", file, r.FullName())
	}
	w.disabled = disabled
	return nil
}

// workflowTexts reads the workflow files of a commit, by path.
func (r *Repository) workflowTexts(commit string) map[string][]byte {
	out, err := r.git.run(r.s.done, nil, "ls-tree", "-z", "--name-only", "--full-tree", "--end-of-options", commit, workflowDir)
	if err != nil || len(out) == 0 {
		return nil
	}
	files := map[string][]byte{}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		if extension := path.Ext(name); extension != ".yml" && extension != ".yaml" {
			continue
		}
		if text, err := r.git.run(r.s.done, nil, "cat-file", "blob", commit+":"+name); err == nil {
			files[name] = text
		}
	}
	return files
}

// workflowAt is the workflow that a file belongs to; it is made when it is seen for the first time.
func (r *Repository) workflowAt(file string, parsed *workflowFile) *workflow {
	w := r.workflows[file]
	if w == nil {
		w = &workflow{id: r.s.nextID(), repo: r, path: file, name: file, created: r.s.now()}
		if r.workflows == nil {
			r.workflows = map[string]*workflow{}
		}
		r.workflows[file] = w
	}
	if parsed != nil {
		w.name = file
		if parsed.name != "" {
			w.name = parsed.name
		}
	}
	return w
}

// listedWorkflows are the workflows of the default branch, by path. A file that GitHub can't understand is listed too.
func (r *Repository) listedWorkflows() []*workflow {
	commit := r.git.commitOf(r.s.done, "refs/heads/"+r.DefaultBranch)
	if commit == "" {
		return nil
	}
	files := r.workflowTexts(commit)
	var list []*workflow
	for _, file := range slices.Sorted(maps.Keys(files)) {
		parsed, err := parseWorkflow(files[file])
		if err != nil {
			parsed = nil
		}
		list = append(list, r.workflowAt(file, parsed))
	}
	return list
}

// findWorkflow finds a workflow of the default branch by its file's name or its ID; nil when there is none.
func (r *Repository) findWorkflow(nameOrID string) *workflow {
	id, _ := strconv.ParseInt(nameOrID, 10, 64)
	for _, w := range r.listedWorkflows() {
		if path.Base(w.path) == nameOrID || w.path == nameOrID || w.id == id {
			return w
		}
	}
	return nil
}

// knownWorkflow finds a workflow as findWorkflow does, also one whose file is gone or was never on the default branch, if
// it has run.
func (r *Repository) knownWorkflow(nameOrID string) *workflow {
	if w := r.findWorkflow(nameOrID); w != nil {
		return w
	}
	id, _ := strconv.ParseInt(nameOrID, 10, 64)
	for _, w := range r.workflows {
		if w.runs > 0 && (path.Base(w.path) == nameOrID || w.id == id) {
			return w
		}
	}
	return nil
}

// state says whether anything may start the workflow. In a fork GitHub lets nothing run until its owner enables Actions,
// which nobody does here.
func (w *workflow) state() string {
	switch {
	case w.disabled:
		return "disabled_manually"
	case w.repo.Parent != nil:
		return "disabled_fork"
	}
	return "active"
}

func (w *workflow) shape() object {
	r := w.repo
	return object{"id": w.id, "node_id": nodeID("W", w.id), "name": w.name, "path": w.path, "state": w.state(), "created_at": stamp(w.created), "updated_at": stamp(w.created),
		"url": r.api("actions/workflows/%d", w.id), "html_url": r.html("blob/%s/%s", escapePath(r.DefaultBranch), escapePath(w.path)),
		"badge_url": r.html("workflows/%s/badge.svg", url.PathEscape(w.name))}
}

func listWorkflows(c *call) answer {
	list := c.repo.listedWorkflows()
	return page(c, list, func(some []*workflow) any {
		return object{"total_count": len(list), "workflows": shapes(some, (*workflow).shape)}
	})
}

func getWorkflow(c *call) answer {
	if w := c.repo.knownWorkflow(c.params["workflow_id"]); w != nil {
		return ok(w.shape())
	}
	return notFound()
}

// DispatchWorkflow is "Run workflow" on the web page: user, who may write, starts a workflow by hand, named by its file
// (hello.yaml), on a branch or tag. What GitHub refuses is the error.
func (r *Repository) DispatchWorkflow(file, ref string, inputs map[string]string, user *User) (*WorkflowRun, error) {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	if !r.mayPush(user) {
		return nil, fmt.Errorf("dispatch %s: %s may not write to %s", file, user.Login, r.FullName())
	}
	given := map[string]any{}
	for name, value := range inputs {
		given[name] = value
	}
	run, refused := r.dispatch(file, ref, given, user)
	if refused != nil {
		return nil, fmt.Errorf("dispatch %s: %v", file, refused.body.(object)["message"])
	}
	return run, nil
}

// dispatch starts a workflow by hand if GitHub would.
func (r *Repository) dispatch(nameOrID, ref string, inputs map[string]any, user *User) (*WorkflowRun, *answer) {
	refused := func(a answer) (*WorkflowRun, *answer) { return nil, &a }
	w := r.findWorkflow(nameOrID)
	if w == nil {
		return refused(notFound())
	}
	full, sha := r.dispatchRef(ref)
	if sha == "" {
		return refused(refuse(http.StatusUnprocessableEntity, "No ref found for: "+ref))
	}
	if w.state() != "active" {
		return refused(refuse(http.StatusUnprocessableEntity, "Cannot trigger a 'workflow_dispatch' on a disabled workflow"))
	}
	text, err := r.git.run(r.s.done, nil, "cat-file", "blob", sha+":"+w.path)
	if err != nil {
		return refused(refuse(http.StatusUnprocessableEntity, "Workflow does not have 'workflow_dispatch' trigger"))
	}
	file, err := parseWorkflow(text)
	if err != nil {
		return refused(refuse(http.StatusUnprocessableEntity, "failed to parse workflow: "+err.Error()))
	}
	if file.triggers["workflow_dispatch"] == nil {
		return refused(refuse(http.StatusUnprocessableEntity, "Workflow does not have 'workflow_dispatch' trigger"))
	}
	filled, refusal := file.fillInputs(inputs)
	if refusal != nil {
		return nil, refusal
	}
	return r.startRun(w, file, runCause{event: "workflow_dispatch", ref: full, sha: sha, actor: user, inputs: filled}), nil
}

// dispatchRef finds the branch or tag that a dispatch names, with its commit. A commit's SHA names none.
func (r *Repository) dispatchRef(ref string) (full, sha string) {
	candidates := []string{"refs/heads/" + ref, "refs/tags/" + ref}
	if strings.HasPrefix(ref, "refs/heads/") || strings.HasPrefix(ref, "refs/tags/") {
		candidates = []string{ref}
	}
	for _, candidate := range candidates {
		if sha := r.git.commitOf(r.s.done, candidate); sha != "" {
			return candidate, sha
		}
	}
	return "", ""
}

func createWorkflowDispatch(c *call) answer {
	var w struct {
		Ref     string         `json:"ref"`
		Inputs  map[string]any `json:"inputs"`
		Details bool           `json:"return_run_details"`
	}
	c.decode(&w)
	run, refused := c.repo.dispatch(c.params["workflow_id"], w.Ref, w.Inputs, c.caller.token.installation.App.Bot)
	switch {
	case refused != nil:
		return *refused
	case !w.Details || c.s.noRunDetails:
		return noContent()
	}
	return ok(object{"workflow_run_id": run.ID, "run_url": c.repo.api("actions/runs/%d", run.ID), "html_url": run.url()})
}

// startPushRuns starts the workflows that a push to a branch or tag triggers. They are those of the pushed commit; a ref that
// was deleted has none.
func (r *Repository) startPushRuns(user *User, ref, sha string) {
	commit := r.git.commitOf(r.s.done, sha)
	if commit == "" {
		return
	}
	r.startTriggered(runCause{event: "push", ref: ref, sha: commit, actor: user}, func(t *trigger) bool { return t.runsOnRef(ref) })
}

// startPullRuns starts the workflows that an activity of a pull request triggers. GitHub reads them from the test merge of
// head and base; here they are those of the head.
func (p *Pull) startPullRuns(action string, sender *User) {
	cause := runCause{event: "pull_request", ref: fmt.Sprintf("refs/pull/%d/merge", p.Number), sha: p.headSHA, actor: sender, pull: p}
	p.Repo.startTriggered(cause, func(t *trigger) bool { return t.runsOnPull(action, p.base) })
}

// startTriggered starts the workflows of a commit whose trigger for the event says yes, unless the commit's message tells
// Actions to skip it.
func (r *Repository) startTriggered(cause runCause, triggers func(*trigger) bool) {
	files := r.workflowTexts(cause.sha)
	if len(files) == 0 || r.skipsActions(cause.sha) {
		return
	}
	for _, file := range slices.Sorted(maps.Keys(files)) {
		parsed, err := parseWorkflow(files[file])
		if err != nil {
			continue
		}
		if t := parsed.triggers[cause.event]; t != nil && triggers(t) {
			if w := r.workflowAt(file, parsed); w.state() == "active" {
				r.startRun(w, parsed, cause)
			}
		}
	}
}

// skipsActions knows the marks of GitHub's page "Skipping workflow runs".
func (r *Repository) skipsActions(sha string) bool {
	c, err := r.git.commit(r.s.done, sha)
	return err == nil && slices.ContainsFunc([]string{"[skip ci]", "[ci skip]", "[no ci]", "[skip actions]", "[actions skip]", "\nskip-checks: true", "\nskip-checks:true"},
		func(mark string) bool { return strings.Contains(c.message, mark) })
}
