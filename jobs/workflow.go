package jobs

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A WorkflowRun is a run of a GitHub Actions workflow, as far as it is known: from deliveries, or asked at GitHub.
type WorkflowRun struct {
	ID         int64         `json:"id"`
	Attempt    int           `json:"attempt"`            // from 1; grows when somebody runs it again
	Path       string        `json:"path,omitempty"`     // of the workflow file, such as .github/workflows/hello.yaml
	Workflow   int64         `json:"workflow,omitempty"` // ID of the workflow
	Name       string        `json:"name,omitempty"`     // of the workflow
	Title      string        `json:"title,omitempty"`    // its run-name
	Event      string        `json:"event,omitempty"`    // workflow_dispatch, push, …
	Branch     string        `json:"branch,omitempty"`   // or tag
	SHA        string        `json:"sha,omitempty"`
	Status     string        `json:"status"`               // queued, in_progress, waiting, completed, …
	Conclusion string        `json:"conclusion,omitempty"` // when completed: success, failure, neutral, cancelled, skipped, timed_out, …
	URL        string        `json:"url,omitempty"`        // where people see it
	Actor      Actor         `json:"actor,omitzero"`       // who started the first attempt
	Suite      int64         `json:"suite,omitempty"`      // ID of its check suite
	Created    time.Time     `json:"created,omitzero"`
	Updated    time.Time     `json:"updated,omitzero"`
	Jobs       []WorkflowJob `json:"jobs,omitempty"` // of this attempt, in the order they were heard of
}

// A WorkflowJob is a job of a workflow run. Its ID is that of its check run, too.
type WorkflowJob struct {
	ID         int64          `json:"id"`
	Attempt    int            `json:"attempt"`
	Name       string         `json:"name"`
	Status     string         `json:"status"`
	Conclusion string         `json:"conclusion,omitempty"`
	URL        string         `json:"url,omitempty"`
	Started    time.Time      `json:"started,omitzero"`
	Completed  time.Time      `json:"completed,omitzero"`
	Steps      []WorkflowStep `json:"steps,omitempty"`
}

// A WorkflowStep is a step of a workflow's job.
type WorkflowStep struct {
	Number     int       `json:"number"`
	Name       string    `json:"name"`
	Status     string    `json:"status"`
	Conclusion string    `json:"conclusion,omitempty"`
	Started    time.Time `json:"started,omitzero"`
	Completed  time.Time `json:"completed,omitzero"`
}

// Bounds of what is kept of a workflow run; what is beyond is left out.
const (
	maxWorkflowJobs  = 100
	maxWorkflowSteps = 60        // of one job
	maxWorkflowName  = 100       // bytes of a job's or step's name
	maxWorkflow      = 256 << 10 // bytes of all of it as JSON
)

// Over reports whether the attempt has ended.
func (w WorkflowRun) Over() bool { return w.Status == "completed" }

// OnRequest reports whether a program, such as Slipway, started the run by dispatching its workflow.
func (w WorkflowRun) OnRequest() bool { return w.Event == "workflow_dispatch" && w.Actor.Type == "Bot" }

// Learn takes in what was heard of the run, in whatever order news arrive: a later attempt replaces an earlier one, and within an
// attempt nothing goes back from an end. It reports whether that changed anything. What is known stays small enough for a record.
func (w *WorkflowRun) Learn(news WorkflowRun) (changed bool) {
	if changed = w.learn(news); changed {
		w.fit()
	}
	return changed
}

// fit leaves out steps, of jobs that succeeded first, and then jobs, until all of it is within bounds.
func (w *WorkflowRun) fit() {
	const mostOfJob, mostOfStep = 4000, 800 // bytes, every letter escaped
	most := 10_000
	for _, j := range w.Jobs {
		most += mostOfJob + len(j.Steps)*mostOfStep
	}
	if most <= maxWorkflow {
		return
	}
	size := func() int {
		data, err := json.Marshal(w)
		if err != nil {
			return 0 // never: texts, numbers and times
		}
		return len(data)
	}
	for _, any := range []bool{false, true} {
		if size() <= maxWorkflow {
			return
		}
		for i := range w.Jobs {
			if any || w.Jobs[i].Conclusion == "success" {
				w.Jobs[i].Steps = nil
			}
		}
	}
	for len(w.Jobs) > 0 && size() > maxWorkflow {
		w.Jobs = w.Jobs[:len(w.Jobs)/2]
	}
}

func (w *WorkflowRun) learn(news WorkflowRun) (changed bool) {
	if news.Attempt < w.Attempt {
		return false
	}
	if news.Attempt > w.Attempt {
		jobs := news.Jobs
		*w, news.Jobs = news, nil
		w.Jobs = nil
		for _, j := range jobs {
			w.learnJob(j)
		}
		return true
	}
	later := news.Updated.After(w.Updated) || news.Updated.Equal(w.Updated) && runRank(news.Status) >= runRank(w.Status)
	if !w.Over() && (news.Over() || later) && news.Status != "" {
		changed = w.Status != news.Status || w.Conclusion != news.Conclusion
		w.Status, w.Conclusion, w.Updated = news.Status, news.Conclusion, news.Updated
	}
	fill := func(to *string, from string) {
		if *to == "" && from != "" {
			*to, changed = from, true
		}
	}
	fill(&w.Path, news.Path)
	fill(&w.Name, news.Name)
	fill(&w.Title, news.Title)
	fill(&w.Event, news.Event)
	fill(&w.Branch, news.Branch)
	fill(&w.SHA, news.SHA)
	fill(&w.URL, news.URL)
	w.Workflow, w.Suite, w.Actor = cmp.Or(w.Workflow, news.Workflow), cmp.Or(w.Suite, news.Suite), cmp.Or(w.Actor, news.Actor)
	if w.Created.IsZero() {
		w.Created = news.Created
	}
	for _, j := range news.Jobs {
		changed = w.learnJob(j) || changed
	}
	return changed
}

// runRank orders the statuses of a run that were told at the same second.
func runRank(status string) int {
	switch status {
	case "completed":
		return 2
	case "in_progress", "waiting": // one follows the other, and back
		return 1
	}
	return 0
}

// rank orders the statuses of a job: what is behind was overtaken on its way.
func rank(status string) int {
	switch status {
	case "completed":
		return 3
	case "in_progress":
		return 2
	case "waiting", "pending":
		return 1
	}
	return 0
}

func (w *WorkflowRun) learnJob(j WorkflowJob) (changed bool) {
	if j.Attempt != 0 && j.Attempt != w.Attempt {
		return false
	}
	j.Name, j.Steps = Cut(j.Name, maxWorkflowName), slices.Clone(j.Steps[:min(len(j.Steps), maxWorkflowSteps)])
	for i := range j.Steps {
		j.Steps[i].Name = Cut(j.Steps[i].Name, maxWorkflowName)
	}
	at := slices.IndexFunc(w.Jobs, func(k WorkflowJob) bool { return k.ID == j.ID })
	switch {
	case at < 0 && len(w.Jobs) >= maxWorkflowJobs:
		return false
	case at < 0:
		w.Jobs = append(w.Jobs, j)
		return true
	case rank(j.Status) < rank(w.Jobs[at].Status), w.Jobs[at].Status == "completed":
		return false
	case j.Status == w.Jobs[at].Status && j.done() < w.Jobs[at].done():
		return false
	}
	w.Jobs[at] = j
	return true
}

func (j WorkflowJob) done() (n int) {
	for _, s := range j.Steps {
		if s.Status == "completed" {
			n++
		}
	}
	return n
}

// WorkflowKey is the key of what is known of a workflow run.
func WorkflowKey(repository, run int64) string { return fmt.Sprintf("%d.%d", repository, run) }

// A WorkflowRef names a workflow file at a ref. It is what a dispatch job is planned by.
type WorkflowRef struct {
	Repository string // owner/name; "" is the run's own
	Workflow   string // file name below .github/workflows, or the workflow's ID
	Ref        string // branch or tag; "" is the run's own, and in another repository the default branch
}

// A WorkflowFile is what was found under a WorkflowRef.
type WorkflowFile struct {
	WorkflowRef
	Path    string // such as .github/workflows/hello.yaml
	Content []byte
	// Problem says why there is no content: no such file, repository or ref.
	Problem string
}

// DispatchRef is the branch or tag that stands for a run where workflows are dispatched: GitHub takes no SHA there.
func (r RunInfo) DispatchRef() string {
	switch {
	case r.Tag != "":
		return r.Tag
	case r.Branch != "":
		return r.Branch
	}
	return strings.TrimPrefix(r.Ref, "refs/heads/")
}

// A Workflow is a workflow of a repository.
type Workflow struct {
	ID    int64  `json:"id"`
	Name  string `json:"name"`
	Path  string `json:"path"`
	State string `json:"state"` // active, disabled_manually, …
	URL   string `json:"url,omitempty"`
}

// A WorkflowFilter narrows a list of workflow runs; what is zero narrows nothing.
type WorkflowFilter struct {
	Workflow string // file name or ID
	Branch   string // or tag
	Event    string
	Actor    string // login
	Suite    int64
	SHA      string
	Since    time.Time // created then or later
}

// A WorkflowArtifact is a file that a workflow run left behind.
type WorkflowArtifact struct {
	ID      int64     `json:"id"`
	Name    string    `json:"name"`
	Size    int64     `json:"size"` // bytes
	Expired bool      `json:"expired,omitempty"`
	Created time.Time `json:"created,omitzero"`
}

// A PendingDeployment is an environment, as GitHub knows it, that a workflow run waits to be let into.
type PendingDeployment struct {
	ID         int64 // of the environment
	Name       string
	MayApprove bool // whether GitHub would let the App
}

// ErrUnclear says that GitHub may have done what it was asked for: no answer came, or one that does not tell.
var ErrUnclear = errors.New("it is not known whether GitHub did it")
