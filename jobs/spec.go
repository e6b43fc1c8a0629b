package jobs

// BuildSpec is what `build:` in a pipeline file says, once its expressions are evaluated.
type BuildSpec struct {
	Image      string            `json:"image,omitempty"`      // registry.example.com/name without a tag; default: the operator's defaults.image
	Context    string            `json:"context,omitempty"`    // folder in the repository that COPY sees; default "."
	Dockerfile string            `json:"dockerfile,omitempty"` // path from the repository's root; default: Dockerfile in the context folder
	Target     string            `json:"target,omitempty"`     // stage to build; default: the last
	Args       map[string]string `json:"args,omitempty"`       // build arguments; not a place for secrets: provenance may record them
	Platforms  []string          `json:"platforms,omitempty"`  // such as linux/amd64; default: the builder's own
	Tags       []string          `json:"tags,omitempty"`       // further tags on top of the policy's, at most 5
}

// DeploySpec is what `deploy:` in a pipeline file says, once its expressions are evaluated.
type DeploySpec struct {
	Environments []string   `json:"environments"` // rolled out one after the other; all must be granted
	Helm         []HelmSpec `json:"helm"`         // releases, rolled out in this order
	// Rollback is set when the releases are to be taken back, not rolled out: then only the environments, and of each
	// release its name and namespace, say anything. A person's command sets it; no pipeline file can.
	Rollback *RollbackSpec `json:"rollback,omitempty" jsonschema:"-"`
}

// RollbackSpec says how far a release is taken back in Helm's history.
type RollbackSpec struct {
	Revision int `json:"revision,omitempty"` // 0: the one deployed before the one that is
}

// HelmSpec is one Helm release of a `deploy:`.
type HelmSpec struct {
	Chart      string         `json:"chart"`                  // folder in the repository
	Release    string         `json:"release,omitempty"`      // default: the chart folder's name
	Namespace  string         `json:"namespace,omitempty"`    // default: the repository's name
	ValuesFile []string       `json:"values_files,omitempty"` // paths from the repository's root, later ones win
	Set        map[string]any `json:"set,omitempty"`          // dotted path to value; types are kept
	Timeout    string         `json:"timeout,omitempty"`      // such as 5m; default 5m, at most 30m
}

// DispatchSpec is what `dispatch:` in a pipeline file says, once its expressions are evaluated.
type DispatchSpec struct {
	Workflow   string         `json:"workflow"`             // file name below .github/workflows, or the workflow's ID
	Repository string         `json:"repository,omitempty"` // owner/name; default: this one. Another must be granted by the operator
	Ref        string         `json:"ref,omitempty"`        // branch or tag; default: the run's own, in another repository its default branch
	Inputs     map[string]any `json:"inputs,omitempty"`     // by name; text, numbers, true or false
	Timeout    string         `json:"timeout,omitempty"`    // such as 45m; default 1h, at most 24h. Then the workflow run is cancelled
	Wait       *bool          `json:"wait,omitempty"`       // default true; false: the job is done as soon as the workflow run is known
	// Whether a newer push to the pull request cancels the workflow run; default false: it goes on without being followed.
	CancelOnSupersede bool `json:"cancel_on_supersede,omitempty"`
	RetryFailedJobs   int  `json:"retry_failed_jobs,omitempty"` // how often the failed jobs of the workflow run are run again by themselves; at most 5
}

// AwaitSpec is what `await:` in a pipeline file says, once its expressions are evaluated.
type AwaitSpec struct {
	// Checks and statuses of other Apps on this commit, by name; a workflow's job as JOB or as WORKFLOW / JOB. Behind an @ may stand who has
	// to make it: an App's slug, or status for a commit status.
	Checks  []string `json:"checks"`
	Timeout string   `json:"timeout,omitempty"` // such as 45m; default 1h, at most 24h
}
