package githubtest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"
	"unicode/utf8"
)

// Deployment is a deployment as GitHub shows it.
type Deployment struct {
	ID          int64
	SHA         string
	Ref         string
	Environment string
	Transient   bool // the environment goes away one day
	Production  bool // people use it
	Description string
	Statuses    []DeploymentStatus // oldest first
}

// DeploymentStatus is one state a deployment went through.
type DeploymentStatus struct {
	ID             int64
	State          string
	Description    string
	LogURL         string
	EnvironmentURL string
	At             time.Time
}

type deployment struct {
	Deployment
	task     string
	original string // the environment it was made for; a status may name another
	payload  any
	created  time.Time
	app      *App
}

// maxDeploymentText is GitHub's bound for descriptions, which its description of the API doesn't hold.
const maxDeploymentText = 140

// Deployments returns the repository's deployments, oldest first.
func (r *Repository) Deployments() []Deployment {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	var list []Deployment
	for _, d := range r.deployments {
		shown := d.Deployment
		shown.Statuses = slices.Clone(d.Statuses)
		list = append(list, shown)
	}
	return list
}

func createDeployment(c *call) answer {
	r := c.repo
	w := struct {
		Ref         string          `json:"ref"`
		Task        string          `json:"task"`
		AutoMerge   *bool           `json:"auto_merge"`
		Contexts    *[]string       `json:"required_contexts"`
		Payload     json.RawMessage `json:"payload"`
		Environment string          `json:"environment"`
		Description *string         `json:"description"`
		Transient   bool            `json:"transient_environment"`
		Production  *bool           `json:"production_environment"`
	}{Task: "deploy", Environment: "production"}
	c.decode(&w)
	sha := r.resolve(w.Ref)
	if sha == "" {
		return invalid("Deployment", "ref", "invalid", "No ref found for: "+w.Ref)
	}
	if w.AutoMerge == nil || *w.AutoMerge {
		if merged := c.autoMerge(w.Ref, sha); merged != nil {
			return *merged
		}
	}
	if failing := r.failingContexts(sha, w.Contexts); len(failing) > 0 {
		a := refuse(http.StatusConflict, "Conflict: Commit status checks failed for "+w.Ref+".")
		a.body.(object)["errors"] = []any{object{"contexts": failing, "resource": "Deployment", "field": "required_contexts", "code": "invalid"}}
		return a
	}
	d := &deployment{Deployment: Deployment{ID: c.s.nextID(), SHA: sha, Ref: w.Ref, Environment: w.Environment, Transient: w.Transient,
		Production: w.Environment == "production"}, task: w.Task, original: w.Environment, payload: object{}, created: c.s.now(), app: c.caller.token.installation.App}
	if w.Description != nil {
		d.Description = *w.Description
	}
	if w.Production != nil {
		d.Production = *w.Production
	}
	if len(w.Payload) > 0 {
		d.payload = w.Payload
	}
	r.deployments = append(r.deployments, d)
	c.s.emit(r, d.app.Bot, "deployment", "created", object{"deployment": with(r.deploymentShape(d), "performed_via_github_app", nil), "workflow": nil, "workflow_run": nil})
	return created(r.deploymentShape(d))
}

// autoMerge is what GitHub does unless it is told not to: a branch that is behind the default branch gets that merged into it,
// and nothing is deployed. nil when there is nothing to merge.
func (c *call) autoMerge(branch, sha string) *answer {
	r, ref := c.repo, "refs/heads/"+branch
	base := r.git.commitOf(c.s.done, "refs/heads/"+r.DefaultBranch)
	if branch == r.DefaultBranch || base == "" || r.git.commitOf(c.s.done, ref) != sha || r.git.isAncestor(c.s.done, base, sha) {
		return nil
	}
	bot := c.caller.token.installation.App.Bot
	merged, mergeable := r.git.merge(c.s.done, sha, base, fmt.Sprintf("Merge branch '%s' into %s", r.DefaultBranch, branch), bot)
	if !mergeable {
		a := refuse(http.StatusConflict, fmt.Sprintf("Conflict merging %s into %s.", r.DefaultBranch, branch))
		return &a
	}
	c.s.later(func() { // a push takes locks that this request has
		if err := r.push(bot, func() error {
			if r.git.commitOf(c.s.done, ref) != sha {
				return nil // somebody was faster
			}
			return r.updateRef(ref, merged)
		}); err != nil {
			c.s.log.Error("merge on deployment", "repository", r.FullName(), "error", err)
		}
	})
	return &answer{status: http.StatusAccepted, header: http.Header{}, body: object{"message": fmt.Sprintf("Auto-merged %s into %s on deployment.", r.DefaultBranch, branch)}}
}

// failingContexts are the statuses and checks that keep a commit from being deployed: those named, or all when none are.
func (r *Repository) failingContexts(sha string, wanted *[]string) []object {
	states := map[string]string{}
	for _, status := range r.statuses {
		if status.sha == sha {
			states[status.context] = status.state
		}
	}
	for _, run := range r.runs {
		if run.HeadSHA == sha {
			states[run.Name] = map[bool]string{true: "success", false: "pending"}[slices.Contains([]string{"success", "neutral", "skipped"}, run.Conclusion)]
		}
	}
	if wanted != nil {
		chosen := map[string]string{}
		for _, name := range *wanted {
			chosen[name] = states[name]
		}
		states = chosen
	}
	failing := []object{}
	for name, state := range states {
		if state != "success" {
			failing = append(failing, object{"context": name, "state": state})
		}
	}
	return failing
}

func (r *Repository) deploymentShape(d *deployment) object {
	self := r.api("deployments/%d", d.ID)
	updated := d.created
	if n := len(d.Statuses); n > 0 {
		updated = d.Statuses[n-1].At
	}
	return object{"id": d.ID, "node_id": nodeID("DE", d.ID), "url": self, "sha": d.SHA, "ref": d.Ref, "task": d.task, "payload": d.payload, "environment": d.Environment,
		"original_environment": d.original, "description": orNil(d.Description), "creator": r.s.userShape(d.app.Bot), "created_at": stamp(d.created), "updated_at": stamp(updated),
		"statuses_url": self + "/statuses", "repository_url": r.s.api("repos/%s", r.FullName()), "transient_environment": d.Transient, "production_environment": d.Production}
}

func (c *call) deployment() *deployment {
	for _, d := range c.repo.deployments {
		if d.ID == c.id("deployment_id") {
			return d
		}
	}
	return nil
}

func getDeployment(c *call) answer {
	if d := c.deployment(); d != nil {
		return ok(c.repo.deploymentShape(d))
	}
	return notFound()
}

func listDeployments(c *call) answer {
	var list []*deployment
	for _, d := range slices.Backward(c.repo.deployments) {
		matches := true
		for name, value := range map[string]string{"sha": d.SHA, "ref": d.Ref, "task": d.task, "environment": d.Environment} {
			if want := c.query.Get(name); want != "" && want != "none" && want != value {
				matches = false
			}
		}
		if matches {
			list = append(list, d)
		}
	}
	return page(c, list, func(some []*deployment) any { return shapes(some, c.repo.deploymentShape) })
}

func deleteDeployment(c *call) answer {
	d := c.deployment()
	if d == nil {
		return notFound()
	}
	if n := len(d.Statuses); len(c.repo.deployments) > 1 && (n == 0 || d.Statuses[n-1].State != "inactive") {
		return refuse(http.StatusUnprocessableEntity, "We cannot delete an active deployment unless it is the only deployment in a given environment.")
	}
	c.repo.deployments = slices.DeleteFunc(c.repo.deployments, func(other *deployment) bool { return other == d })
	return noContent()
}

func createDeploymentStatus(c *call) answer {
	d := c.deployment()
	if d == nil {
		return notFound()
	}
	w := struct {
		State        string `json:"state"`
		TargetURL    string `json:"target_url"`
		LogURL       string `json:"log_url"`
		Description  string `json:"description"`
		URL          string `json:"environment_url"`
		Environment  string `json:"environment"`
		AutoInactive *bool  `json:"auto_inactive"`
	}{}
	c.decode(&w)
	if utf8.RuneCountInString(w.Description) > maxDeploymentText {
		return invalid("DeploymentStatus", "description", "custom", "description is too long (maximum is 140 characters)")
	}
	if w.LogURL == "" {
		w.LogURL = w.TargetURL
	}
	if w.Environment != "" {
		d.Environment = w.Environment
	}
	d.Statuses = append(d.Statuses, DeploymentStatus{ID: c.s.nextID(), State: w.State, Description: w.Description, LogURL: w.LogURL, EnvironmentURL: w.URL, At: c.s.now()})
	status := d.Statuses[len(d.Statuses)-1]
	if w.State == "success" && (w.AutoInactive == nil || *w.AutoInactive) {
		for _, other := range c.repo.deployments {
			n := len(other.Statuses)
			if other != d && other.Environment == d.Environment && !other.Transient && !other.Production && n > 0 && other.Statuses[n-1].State == "success" {
				other.Statuses = append(other.Statuses, DeploymentStatus{ID: c.s.nextID(), State: "inactive", At: c.s.now()})
			}
		}
	}
	shape := c.repo.deploymentStatusShape(d, status)
	if w.State != "inactive" { // GitHub sends no event for it
		c.s.emit(c.repo, d.app.Bot, "deployment_status", "created", object{"deployment": c.repo.deploymentShape(d), "deployment_status": shape, "check_run": nil, "workflow": nil, "workflow_run": nil})
	}
	return created(shape)
}

func (r *Repository) deploymentStatusShape(d *deployment, status DeploymentStatus) object {
	self := r.api("deployments/%d", d.ID)
	return object{"id": status.ID, "node_id": nodeID("DES", status.ID), "url": fmt.Sprintf("%s/statuses/%d", self, status.ID), "state": status.State, "creator": r.s.userShape(d.app.Bot),
		"description": status.Description, "environment": d.Environment, "target_url": status.LogURL, "log_url": status.LogURL, "environment_url": status.EnvironmentURL,
		"created_at": stamp(status.At), "updated_at": stamp(status.At), "deployment_url": self, "repository_url": r.s.api("repos/%s", r.FullName())}
}

func listDeploymentStatuses(c *call) answer {
	d := c.deployment()
	if d == nil {
		return notFound()
	}
	list := slices.Clone(d.Statuses)
	slices.Reverse(list)
	return page(c, list, func(some []DeploymentStatus) any {
		return shapes(some, func(status DeploymentStatus) object { return c.repo.deploymentStatusShape(d, status) })
	})
}
