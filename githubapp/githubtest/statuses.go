package githubtest

import (
	"net/http"
	"slices"
	"time"
)

// commitStatus is a commit status, the older sibling of a check run.
type commitStatus struct {
	id                              int64
	sha, context, state, text, link string
	creator                         *User
	created                         time.Time
}

// maxStatuses is GitHub's bound for statuses of one commit and context.
const maxStatuses = 1000

// SetStatus sets a commit status as user, as CI systems other than checks do: a status event follows.
func (r *Repository) SetStatus(sha, context, state, description string, user *User) {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	r.setStatus(&commitStatus{sha: sha, context: context, state: state, text: description, creator: user})
}

func (r *Repository) setStatus(status *commitStatus) {
	s := r.s
	status.id, status.created = s.nextID(), s.now()
	r.statuses = append(r.statuses, status)
	r.queueChanged()
	c, err := r.git.commit(s.done, status.sha)
	if err != nil {
		return
	}
	branches := []object{}
	if refs, err := r.git.refs(s.done); err == nil {
		for _, name := range namesUnder(refs, "refs/heads/") {
			if refs["refs/heads/"+name] == status.sha {
				branches = append(branches, object{"name": name, "commit": object{"sha": status.sha, "url": r.api("commits/%s", status.sha)}, "protected": false})
			}
		}
	}
	s.emit(r, status.creator, "status", "", object{"id": status.id, "sha": status.sha, "name": r.FullName(), "avatar_url": nil, "target_url": orNil(status.link), "context": status.context,
		"description": orNil(status.text), "state": status.state, "commit": r.commitShape(c), "branches": branches, "created_at": stamp(status.created), "updated_at": stamp(status.created)})
}

func createStatus(c *call) answer {
	w := struct {
		State   string `json:"state"`
		Link    string `json:"target_url"`
		Text    string `json:"description"`
		Context string `json:"context"`
	}{Context: "default"}
	c.decode(&w)
	sha := c.params["sha"]
	if !isSHA(sha) || c.repo.git.commitOf(c.s.done, sha) == "" {
		return refuse(http.StatusUnprocessableEntity, "No commit found for SHA: "+sha)
	}
	same := 0
	for _, other := range c.repo.statuses {
		if other.sha == sha && other.context == w.Context {
			same++
		}
	}
	if same >= maxStatuses {
		return invalid("Status", "", "custom", "This SHA and context has reached the maximum number of statuses.")
	}
	status := &commitStatus{sha: sha, context: w.Context, state: w.State, text: w.Text, link: w.Link, creator: c.caller.token.installation.App.Bot}
	c.repo.setStatus(status)
	return created(c.statusShape(status))
}

func (c *call) statusShape(status *commitStatus) object {
	return object{"id": status.id, "node_id": nodeID("SC", status.id), "url": c.repo.api("statuses/%s", status.sha), "avatar_url": nil, "state": status.state, "context": status.context,
		"description": orNil(status.text), "target_url": orNil(status.link), "creator": c.s.userShape(status.creator), "created_at": stamp(status.created), "updated_at": stamp(status.created)}
}

func listStatuses(c *call) answer {
	sha := c.repo.resolve(c.params["ref"])
	var list []*commitStatus
	for _, status := range slices.Backward(c.repo.statuses) {
		if status.sha == sha {
			list = append(list, status)
		}
	}
	return page(c, list, func(some []*commitStatus) any { return shapes(some, c.statusShape) })
}

func combinedStatus(c *call) answer {
	sha := c.repo.resolve(c.params["ref"])
	if sha == "" {
		return notFound()
	}
	seen := map[string]bool{}
	list, state := []*commitStatus{}, "success"
	for _, status := range slices.Backward(c.repo.statuses) {
		if status.sha == sha && !seen[status.context] {
			seen[status.context] = true
			list = append(list, status)
			switch {
			case status.state == "failure" || status.state == "error":
				state = "failure"
			case status.state == "pending" && state == "success":
				state = "pending"
			}
		}
	}
	if len(list) == 0 {
		state = "pending"
	}
	return page(c, list, func(some []*commitStatus) any {
		return object{"state": state, "statuses": shapes(some, c.statusShape), "sha": sha, "total_count": len(list), "repository": c.s.repositoryShape(c.repo),
			"commit_url": c.repo.api("commits/%s", sha), "url": c.repo.api("commits/%s/status", sha)}
	})
}
