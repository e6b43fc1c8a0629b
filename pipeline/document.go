package pipeline

import (
	"encoding/json"

	"github.com/slipway-ci/slipway/jobs"
)

// Bounds of a pipeline file.
const (
	MaxFile  = 1 << 20 // bytes
	MaxJobs  = 100
	maxNodes = 50_000  // YAML nodes once aliases are expanded
	maxDepth = 30      // levels of nesting
	maxItems = 100     // entries of a list or mapping that the language defines
	maxText  = 4 << 10 // bytes of a text, as written and once evaluated

	maxExpressions     = 2000     // of a file
	maxExpressionBytes = 64 << 10 // of all of a file's
)

// jobNameForm is the form of a job's name. It fits checks, records and, but for the hyphen, CEL identifiers.
const jobNameForm = `^[A-Za-z_][A-Za-z0-9_-]{0,62}$`

// Document is a pipeline file as it is written. Decoding and the JSON Schema follow these types: a key without
// omitempty is required, lists and mappings are never empty, and strings below build and deploy may hold ${{ }}.
type Document struct {
	// When jobs run that say nothing of their own. Without it: on pull requests, and on pushes to the default branch.
	On *On `json:"on,omitempty"`
	// The jobs by name.
	Jobs map[string]Job `json:"jobs"`
}

// Job is one job. It holds exactly one of build and deploy.
type Job struct {
	// When this job runs, in place of the file's own.
	On *On `json:"on,omitempty"`
	// Changed files that the job is about. Not looked at when a tag is pushed.
	Paths Patterns `json:"paths,omitempty"`
	// Jobs that must succeed first. They are run too, whatever their own on and paths say.
	Needs Names `json:"needs,omitempty"`
	// A CEL expression that must be true, with or without ${{ }}. Jobs it needs must have succeeded in any case.
	If Condition `json:"if,omitempty"`
	// Builds a container image and pushes it.
	Build *jobs.BuildSpec `json:"build,omitempty"`
	// Rolls out Helm charts.
	Deploy *jobs.DeploySpec `json:"deploy,omitempty"`
}

// On says which events start a job.
type On struct {
	// Pushes of branches and tags. Empty: all of them.
	Push *OnPush `json:"push,omitempty"`
	// Pull requests. Empty: all of them.
	PullRequest *OnPullRequest `json:"pull_request,omitempty"`
}

// OnPush narrows pushes. With branches alone no tag starts anything, and with tags alone no branch.
type OnPush struct {
	// Patterns of branch names; $default is the default branch.
	Branches Patterns `json:"branches,omitempty"`
	// Patterns of Git tags.
	Tags Patterns `json:"tags,omitempty"`
	// Patterns of changed files. Not looked at when a tag is pushed.
	Paths Patterns `json:"paths,omitempty"`
}

// OnPullRequest narrows pull requests.
type OnPullRequest struct {
	// Patterns of the branch that the pull request goes into; $default is the default branch.
	Branches Patterns `json:"branches,omitempty"`
	// Patterns of changed files.
	Paths Patterns `json:"paths,omitempty"`
	// What happened to the pull request. Without it: opened, synchronize, reopened.
	Types []Action `json:"types,omitempty"`
}

// Patterns are patterns in GitHub's dialect of workflow filters. The last one that fits decides; one that begins with
// ! says no.
type Patterns []string

// Names is one job's name, or a list of them.
type Names []string

// UnmarshalJSON accepts a string or a list of strings.
func (n *Names) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '"' {
		*n = make(Names, 1)
		return json.Unmarshal(data, &(*n)[0])
	}
	return json.Unmarshal(data, (*[]string)(n))
}

// Condition is a CEL expression that gives true or false; true and false themselves need no quotes.
type Condition string

// Action is what happened to a pull request.
type Action string

// actions are those that start jobs. The first three do without a word in the file, as in GitHub Actions.
func actions() []string {
	return []string{"opened", "synchronize", "reopened", "ready_for_review", "closed"}
}

// later are keys that a newer version will know, by the place they stand in.
func later() map[string][]string {
	return map[string][]string{
		"":                {"extends", "matrix"},
		"on":              {"command", "release", "merge_group", "tag", "label", "schedule"},
		"on.pull_request": {"labels"},
		"jobs.*":          {"matrix", "await", "dispatch", "timeout"},
		"jobs.*.deploy":   {"preview", "kustomize", "manifests"},
	}
}
