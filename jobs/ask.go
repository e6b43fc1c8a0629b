package jobs

import "time"

// CommandLife is how long after it was written a command may still be carried out (invariant 8).
const CommandLife = 15 * time.Minute

// Asked says who asked for a run, and how.
type Asked struct {
	By      Actor  `json:"by"`
	Command string `json:"command"`       // as written
	URL     string `json:"url,omitempty"` // of the comment
}

// An Ask narrows planning to what a person asked for. Exactly one of its forms is set.
type Ask struct {
	Build    bool          // /build: the jobs named, or with none all build jobs that pull requests start
	Jobs     []string      // of Build
	Deploy   *DeployTarget // /deploy: the deploy jobs that name the environment
	Rollback *DeployTarget // /rollback: the same, taken back by Helm's history
	Command  string        // name of a command that the pipeline declares
	Args     map[string]any
	Dispatch *AskDispatch // /dispatch: a workflow, whether the pipeline has a job for it or not
}

// An AskDispatch is a workflow to be dispatched, with its inputs as they were written.
type AskDispatch struct {
	Workflow   string            `json:"workflow"`
	Repository string            `json:"repository,omitempty"` // owner/name; "" for the one it was asked in
	Ref        string            `json:"ref,omitempty"`        // "" for that of the run
	Inputs     map[string]string `json:"inputs,omitempty"`
}

// A DeployTarget is an environment, and perhaps one release in it.
type DeployTarget struct {
	Environment string
	Release     string // "" for all that the pipeline rolls out there
	Revision    int    // of a rollback; 0 for the one deployed before
}

// A DeclaredCommand is a command that a pipeline file declares by on.command.
type DeclaredCommand struct {
	Name        string
	Description string
	Args        []CommandArg // in the file's order
}

// A StopRequest ends a run, or one of its jobs.
type StopRequest struct {
	Run    string `json:"run"`
	Job    string `json:"job,omitempty"` // "" for the whole run
	Reason string `json:"reason"`
}

// A JobOrder is an order for one job under way.
type JobOrder struct {
	Run string `json:"run"`
	Job string `json:"job"`
	Order
}
