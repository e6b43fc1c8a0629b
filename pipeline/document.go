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

	maxSchedules = 20 // different ones of a file

	maxExpressions     = 2000     // of a file
	maxExpressionBytes = 64 << 10 // of all of a file's
)

// jobNameForm is the form of a job's name. It fits checks, records and, but for the hyphen, CEL identifiers.
const jobNameForm = `^[A-Za-z_][A-Za-z0-9_-]{0,62}$`

// Document is a pipeline file as it is written. Decoding and the JSON Schema follow these types: a key without
// omitempty is required, lists and mappings are never empty, and strings below what a job does may hold ${{ }}.
type Document struct {
	// When jobs run that say nothing of their own. Without it: on pull requests, and on pushes to the default branch.
	On *On `json:"on,omitempty"`
	// The jobs by name.
	Jobs map[string]Job `json:"jobs"`
}

// Job is one job. It holds exactly one of build, deploy, dispatch and await.
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
	// Starts a GitHub Actions workflow and follows it to its end.
	Dispatch *jobs.DispatchSpec `json:"dispatch,omitempty"`
	// Waits for checks and statuses of other Apps on this commit.
	Await *jobs.AwaitSpec `json:"await,omitempty"`
}

// kindKeys are the keys of a job that say what it does.
func kindKeys() []string {
	return []string{string(jobs.KindBuild), string(jobs.KindDeploy), string(jobs.KindDispatch), string(jobs.KindAwait)}
}

// On says which events start a job.
type On struct {
	// Pushes of branches and tags. Empty: all of them.
	Push *OnPush `json:"push,omitempty"`
	// Pull requests. Empty: all of them.
	PullRequest *OnPullRequest `json:"pull_request,omitempty"`
	// Heads of a merge queue; false for none. Without it jobs that every push to a pull request starts run on them, too,
	// but no rollouts.
	MergeGroup *OnMergeGroup `json:"merge_group,omitempty"`
	// Releases that are published on GitHub. Empty: all but prereleases.
	Release *OnRelease `json:"release,omitempty"`
	// Patterns of Git tags that are pushed: short for push with tags.
	Tag Patterns `json:"tag,omitempty"`
	// Patterns of labels that are put on a pull request.
	Label Patterns `json:"label,omitempty"`
	// Moments, on the default branch.
	Schedule []OnSchedule `json:"schedule,omitempty"`
	// A command that people write in comments.
	Command *OnCommand `json:"command,omitempty"`
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
	// What happened to the pull request. Without it: opened, synchronize, reopened, edited.
	Types []Action `json:"types,omitempty"`
	// Patterns of labels, one of which the pull request must carry. Putting one on it starts the job, too, whatever the
	// types. For the type unlabeled: the label that was taken away.
	Labels Patterns `json:"labels,omitempty"`
	// Whether drafts count; default true. With false, marking one as ready starts the job, whatever the types.
	Drafts *bool `json:"drafts,omitempty"`
}

// OnMergeGroup narrows the heads of a merge queue.
type OnMergeGroup struct {
	// Patterns of the branch that the queue merges into; $default is the default branch.
	Branches Patterns `json:"branches,omitempty"`
}

// OnRelease narrows releases.
type OnRelease struct {
	// What happened to the release. There is published only.
	Types []ReleaseAction `json:"types,omitempty"`
	// Whether prereleases count; default false.
	Prereleases bool `json:"prereleases,omitempty"`
}

// OnSchedule is a moment that comes again and again.
type OnSchedule struct {
	// Five fields (minute, hour, day of the month, month, day of the week), or @hourly, @daily, @weekly, @monthly or
	// @yearly. Two moments are at least 5 minutes apart.
	Cron string `json:"cron"`
	// Where the clock hangs, such as Asia/Seoul; default UTC.
	Timezone string `json:"timezone,omitempty"`
}

// OnCommand is a command that people write in comments, such as /greet greeting=Hi.
type OnCommand struct {
	// What follows the slash. Several jobs may have the same command; then one of them, or all alike, say its args.
	Name string `json:"name"`
	// What /help says of it.
	Description string `json:"description,omitempty"`
	// The arguments by name, in the order in which they may be written without it.
	Args map[string]jobs.ArgSpec `json:"args,omitempty"`
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

// actions are those that start jobs. The first four do by default: they change what should run.
func actions() []string {
	return []string{"opened", "synchronize", "reopened", "edited", "ready_for_review", "converted_to_draft", "labeled", "unlabeled"}
}

// ReleaseAction is what happened to a release.
type ReleaseAction string

// releaseActions are those that start jobs.
func releaseActions() []string { return []string{"published"} }

// later are keys that a newer version will know, by the place they stand in.
func later() map[string][]string {
	return map[string][]string{
		"":              {"extends", "matrix"},
		"jobs.*":        {"matrix", "timeout"},
		"jobs.*.deploy": {"preview", "kustomize", "manifests"},
	}
}
