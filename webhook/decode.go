package webhook

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

// maxCommits is how many commits a push payload lists at most; with more, the changed files are not all there
// (docs.github.com, "Webhook events and payloads": push).
const maxCommits = 2048

// maxFiles bounds the changed files kept of a push.
const maxFiles = 3000

// A Decoder says what deliveries mean. Its zero value takes every slash command of a comment.
type Decoder struct {
	Prefix        string // of commands, such as slipway: /slipway deploy staging
	RequirePrefix bool   // leave commands without it to other bots
}

// quiet are events that are recorded and start nothing, with the reason.
var quiet = map[string]string{
	"ping":                      "GitHub says that the webhook is set up",
	"installation":              "where the App is installed is asked at GitHub when it matters",
	"installation_repositories": "what the App reaches is asked at GitHub when it matters",
	"installation_target":       "an account was renamed; repositories are known by their ID",
	"github_app_authorization":  "a user revoked what they allowed the App to do for them; Slipway uses none of that",
	"create":                    "the push of the new branch or tag decides",
	"delete":                    "a branch or tag is gone; what runs for it goes on",
	"repository":                "what a repository is called and whether it is archived is asked at GitHub when it matters",
	"deployment":                "deployments are what Slipway tells GitHub, not what it takes from it",
	"deployment_status":         "deployments are what Slipway tells GitHub, not what it takes from it",
}

// Decode says what a delivery means. Deliveries that Slipway does not act on answer a *jobs.NotHandled; any
// other error says what is wrong with the payload.
func (d Decoder) Decode(delivery jobs.Delivery) (jobs.Event, error) {
	var e jobs.Event
	var err error
	switch name, body := delivery.Event, delivery.Body; name {
	case "push":
		e, err = decodePush(body)
	case "pull_request":
		e, err = decodePullRequest(body)
	case "merge_group":
		e, err = decodeMergeGroup(body)
	case "release":
		e, err = decodeRelease(body)
	case "issue_comment", "commit_comment":
		e, err = d.decodeComment(name, body)
	case "check_run", "check_suite":
		e, err = decodeCheck(name, delivery.TargetID, body)
	case "workflow_run":
		e, err = decodeWorkflowRun(body)
	case "workflow_job":
		e, err = decodeWorkflowJob(body)
	case "status":
		e, err = decodeStatus(body)
	case jobs.ScheduleDelivery:
		e, err = decodeSchedule(body)
	case jobs.RequestDelivery:
		e, err = decodeRequest(body)
		e.Delivery = delivery.GUID
		return e, err
	default:
		if reason := quiet[name]; reason != "" {
			return e, notHandled("%s", reason)
		}
		return e, notHandled("Slipway knows no %.60s events", name)
	}
	e.Delivery = delivery.GUID
	if err != nil {
		return e, err
	}
	return e, check(e)
}

func notHandled(format string, args ...any) error {
	return &jobs.NotHandled{Reason: fmt.Sprintf(format, args...)}
}

// The payloads, as far as they are looked at. GitHub adds fields at any time; unknown ones are ignored.
type (
	payloadAccount struct {
		ID    int64  `json:"id"`
		Login string `json:"login"`
		Name  string `json:"name"` // of a repository's owner in push payloads
		Type  string `json:"type"`
	}
	payloadRepository struct {
		ID            int64          `json:"id"`
		Name          string         `json:"name"`
		Owner         payloadAccount `json:"owner"`
		FullName      string         `json:"full_name"`
		DefaultBranch string         `json:"default_branch"`
		Private       bool           `json:"private"`
		Archived      bool           `json:"archived"`
	}
	payloadCommon struct {
		Repository   payloadRepository `json:"repository"`
		Sender       payloadAccount    `json:"sender"`
		Installation struct {
			ID int64 `json:"id"`
		} `json:"installation"`
	}
	payloadPush struct {
		payloadCommon
		Ref        string         `json:"ref"`
		Before     string         `json:"before"`
		After      string         `json:"after"`
		Forced     bool           `json:"forced"`
		HeadCommit *payloadCommit `json:"head_commit"`
		Commits    []struct {
			Added    []string `json:"added"`
			Modified []string `json:"modified"`
			Removed  []string `json:"removed"`
		} `json:"commits"`
	}
	payloadCommit struct {
		ID      string `json:"id"`
		Message string `json:"message"`
	}
	payloadBranch struct {
		Ref  string             `json:"ref"`
		SHA  string             `json:"sha"`
		Repo *payloadRepository `json:"repo"` // null when the fork was deleted
	}
	payloadPullRequest struct {
		payloadCommon
		Action string `json:"action"`
		Label  struct {
			Name string `json:"name"`
		} `json:"label"` // that was added or taken away
		Changes struct {
			Base *struct{} `json:"base"` // set when it was retargeted
		} `json:"changes"`
		PullRequest struct {
			Number    int            `json:"number"`
			Title     string         `json:"title"`
			State     string         `json:"state"`
			Merged    bool           `json:"merged"`
			Draft     bool           `json:"draft"`
			UpdatedAt time.Time      `json:"updated_at"`
			User      payloadAccount `json:"user"`
			Head      payloadBranch  `json:"head"`
			Base      payloadBranch  `json:"base"`
			Labels    []struct {
				Name string `json:"name"`
			} `json:"labels"`
		} `json:"pull_request"`
	}
)

func (c payloadCommon) event(kind jobs.EventKind) jobs.Event {
	owner := c.Repository.Owner.Login
	if owner == "" {
		owner = c.Repository.Owner.Name
	}
	return jobs.Event{
		Kind: kind, Installation: c.Installation.ID,
		Repository: jobs.Repository{
			ID: c.Repository.ID, Owner: owner, Name: c.Repository.Name, DefaultBranch: c.Repository.DefaultBranch,
			Private: c.Repository.Private, Archived: c.Repository.Archived,
		},
		Sender: c.Sender.actor(),
	}
}

func (a payloadAccount) actor() jobs.Actor { return jobs.Actor{ID: a.ID, Login: a.Login, Type: a.Type} }

func decodePush(body []byte) (jobs.Event, error) {
	var p payloadPush
	if err := json.Unmarshal(body, &p); err != nil {
		return jobs.Event{}, err
	}
	e := p.event(jobs.EventPush)
	e.Ref, e.Before, e.After, e.Forced = p.Ref, known(p.Before), known(p.After), p.Forced
	if p.HeadCommit != nil && e.After != "" {
		e.Message = jobs.Cut(p.HeadCommit.Message, jobs.MaxMessage)
		if e.Tag() != "" {
			e.After = p.HeadCommit.ID // an annotated tag's `after` is the tag object, not the commit
		}
	}
	e.Changes = p.changes(e)
	return e, nil
}

// changes sums up the files of the payload's commits, when they are all there.
func (p payloadPush) changes(e jobs.Event) jobs.Changes {
	switch {
	case e.Before == "" || e.After == "":
		return jobs.Changes{Why: "the ref was just created or deleted"}
	case p.Forced:
		return jobs.Changes{Why: "it was a forced push"}
	case len(p.Commits) == 0 || len(p.Commits) >= maxCommits:
		return jobs.Changes{Why: fmt.Sprintf("GitHub listed %d commits, which may not be all", len(p.Commits))}
	}
	var files []string
	for _, c := range p.Commits {
		files = append(files, c.Added...)
		files = append(files, c.Modified...)
		files = append(files, c.Removed...)
	}
	slices.Sort(files)
	files = slices.Compact(files)
	if len(files) > maxFiles {
		return jobs.Changes{Why: fmt.Sprintf("more than %d files changed", maxFiles)}
	}
	return jobs.Changes{Known: true, Files: files}
}

// pullActions are the actions on a pull request that planning hears of: those that change what should run.
var pullActions = []string{"opened", "synchronize", "reopened", "ready_for_review", "converted_to_draft", "labeled", "unlabeled", "edited", "closed"}

func decodePullRequest(body []byte) (jobs.Event, error) {
	var p payloadPullRequest
	if err := json.Unmarshal(body, &p); err != nil {
		return jobs.Event{}, err
	}
	e := p.event(jobs.EventPullRequest)
	e.Action = p.Action
	if !slices.Contains(pullActions, p.Action) {
		return e, notHandled("a pull request was %.40s, which changes nothing that runs", p.Action)
	}
	if p.Action == "edited" && p.Changes.Base == nil {
		return e, notHandled("a pull request's text was edited; its base stayed")
	}
	e.Label, e.Time = p.Label.Name, p.PullRequest.UpdatedAt
	in := p.PullRequest
	pr := &jobs.PullRequest{
		Number: in.Number, Title: jobs.Cut(in.Title, 500), State: in.State, Merged: in.Merged, Draft: in.Draft, Author: in.User.actor(),
		HeadRef: in.Head.Ref, HeadSHA: in.Head.SHA, BaseRef: in.Base.Ref, BaseSHA: in.Base.SHA,
	}
	if in.Head.Repo != nil {
		pr.HeadRepo, pr.HeadName = in.Head.Repo.ID, in.Head.Repo.FullName
	}
	for _, l := range in.Labels {
		pr.Labels = append(pr.Labels, l.Name)
	}
	e.PullRequest = pr
	return e, nil
}

// known turns the all-zero SHA of a created or deleted ref into "".
func known(sha string) string {
	if strings.Trim(sha, "0") == "" {
		return ""
	}
	return sha
}

var (
	shaForm  = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)
	nameForm = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,100}$`)
)

// check refuses an event that lacks what every later step relies on.
func check(e jobs.Event) error {
	var faults []error
	need := func(ok bool, what string) {
		if !ok {
			faults = append(faults, errors.New(what+" is missing or malformed"))
		}
	}
	sha := func(s string) bool { return shaForm.MatchString(s) }
	need(e.Installation > 0, "installation.id")
	need(e.Repository.ID > 0, "repository.id")
	need(nameForm.MatchString(e.Repository.Owner), "repository.owner.login")
	need(nameForm.MatchString(e.Repository.Name) && strings.Trim(e.Repository.Name, ".") != "", "repository.name")
	need(e.Sender.ID > 0, "sender.id")
	checkAsk(e, need)
	checkNews(e, need)
	if e.Kind.Asks() || e.Kind.News() {
		return errors.Join(faults...)
	}
	if g := e.MergeGroup; g != nil {
		need(sha(g.HeadSHA), "merge_group.head_sha")
		need(strings.HasPrefix(g.HeadRef, "refs/heads/") && strings.HasPrefix(g.BaseRef, "refs/heads/"), "merge_group.head_ref or base_ref")
	} else if pr := e.PullRequest; pr != nil {
		need(pr.Number > 0, "pull_request.number")
		need(sha(pr.HeadSHA) && sha(pr.BaseSHA), "pull_request.head.sha or base.sha")
		need(pr.HeadRef != "" && pr.BaseRef != "", "pull_request.head.ref or base.ref")
	} else {
		need(strings.HasPrefix(e.Ref, "refs/heads/") || strings.HasPrefix(e.Ref, "refs/tags/"), "ref")
		need(e.Before == "" || sha(e.Before), "before")
		need(e.After == "" || sha(e.After), "after")
	}
	return errors.Join(faults...)
}
