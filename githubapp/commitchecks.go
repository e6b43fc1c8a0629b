package githubapp

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/go-github/v50/github"

	"github.com/slipway-ci/slipway/jobs"
)

const (
	maxCheckPages  = 10 // of 100 check runs, statuses or workflow runs; GitHub finds no more workflow runs with a filter
	maxCheckSuites = 1000
	maxRunCalls    = 30 // to learn of the workflow runs behind check runs
	maxSingleRuns  = 10 // that are asked for one by one while lists could still tell
	actionsAppSlug = "github-actions"
)

// CommitChecks returns the check runs and statuses of a commit, of whatever App but ours, that answer to an awaited text
// (jobs.CommitCheck.Answers), as they stand now: a check run is the latest of its name in its suite, which for workflows is that of
// the run's latest attempt; a status is the newest of its context. All runs of a workflow count, so that none hides another's failure.
// Only what GitHub cancelled for the sake of a newer run of the same pull request does not (see
// foundCheck.replacedBy).
//
// It costs 1 to 3 calls for a usual commit: the check runs; the statuses, unless no status could answer, or each text is answered and
// something did not succeed yet; and the workflow runs, when a name such as "CI / test" can only be told by them. Many checks cost
// further calls, and more than can be looked at are a refusal: what was not seen might have failed.
//
// Statuses are not seen without the permission Commit statuses: read, nor workflows' names without Actions: read. A repository that
// is gone, and checks that may not be read, are a *jobs.Refusal.
func (a *App) CommitChecks(
	ctx context.Context, installation int64, repo jobs.Repository, sha string, awaited []string,
) ([]jobs.CommitCheck, error) {
	attempt := fmt.Sprintf("read the checks of %s of %s", jobs.Abbreviate(sha), repo.FullName())
	if !ValidSHA(sha) {
		return nil, fmt.Errorf("%s: a full SHA is needed", attempt)
	}
	if len(awaited) == 0 {
		return nil, nil
	}
	c, err := a.clientFor(installation, repo, scopeOthers)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", attempt, err)
	}
	q := &checkQuestion{a: a, c: c, repo: repo, sha: sha, awaited: awaited, attempt: attempt}
	found, err := q.checkRuns(ctx)
	if suites := q.runsNeeded(found); err == nil && len(suites) > 0 {
		found, err = q.withWorkflows(ctx, found, suites)
	}
	if err != nil {
		return nil, permanentForJobs(gone(err, "", repo), "look at checks of "+repo.FullName(), "Checks: read")
	}
	var list []jobs.CommitCheck
	for _, f := range found {
		if q.answers(f.CommitCheck) {
			list = append(list, f.CommitCheck)
		}
	}
	if v := jobs.JudgeChecks(awaited, list); len(v.Missing) == 0 && len(v.Pending)+len(v.Failed) > 0 || !q.statusWouldDo() {
		return list, nil
	}
	statuses, err := q.statuses(ctx)
	if err != nil && !errors.Is(err, ErrDenied) {
		return nil, permanentForJobs(gone(err, "", repo), "look at statuses of "+repo.FullName(), "Commit statuses: read")
	}
	return append(list, statuses...), nil
}

// A checkQuestion is what is asked about the checks of a commit.
type checkQuestion struct {
	a       *App
	c       *client
	repo    jobs.Repository
	sha     string
	awaited []string
	attempt string
}

// A foundCheck is a check run with what tells it apart from others of its name.
type foundCheck struct {
	jobs.CommitCheck
	suite int64
	run   *suiteRun // of GitHub Actions; nil: not known, or there is none
}

// A suiteRun is the workflow run that a check suite of GitHub Actions belongs to.
type suiteRun struct {
	runShape

	Head struct {
		ID int64 `json:"id"`
	} `json:"head_repository"`
	// The open pull requests that the run's branch is the head of, as they are now; none for those from forks.
	Pulls []struct {
		ID   int64 `json:"id"`
		Base struct {
			Ref string `json:"ref"`
		} `json:"base"`
	} `json:"pull_requests"`
}

func (q *checkQuestion) answers(c jobs.CommitCheck) bool {
	return slices.ContainsFunc(q.awaited, c.Answers)
}

// statusWouldDo reports whether a commit status could answer to anything that is awaited.
func (q *checkQuestion) statusWouldDo() bool {
	return slices.ContainsFunc(q.awaited, func(text string) bool {
		return jobs.CommitCheck{Name: jobs.ParseAwaited(text).Name}.Answers(text)
	})
}

// asJob reports whether a name of the form "WORKFLOW / JOB" is awaited that a workflow's job may answer.
func (q *checkQuestion) asJob(f foundCheck) bool {
	return f.App == actionsAppSlug && slices.ContainsFunc(q.awaited, func(text string) bool {
		workflow, is := strings.CutSuffix(jobs.ParseAwaited(text).Name, " / "+f.Name)
		return is && jobs.CommitCheck{Name: f.Name, Workflow: workflow, App: f.App}.Answers(text)
	})
}

// checkRuns reads the check runs of others that may answer: all at once or, when there are too many, name by name.
func (q *checkQuestion) checkRuns(ctx context.Context) ([]foundCheck, error) {
	found, all, err := q.checkRunsNamed(ctx, "")
	if err != nil || all {
		return found, err
	}
	// GitHub tells only of the check runs of the 1,000 newest suites ("List check runs for a Git reference"), whatever their names.
	one := &github.ListCheckSuiteOptions{ListOptions: github.ListOptions{PerPage: 1}}
	suites, _, err := q.c.Checks.ListCheckSuitesForRef(asking(ctx, priorityProgress, "checks/list-suites-for-ref"), q.repo.Owner, q.repo.Name, q.sha, one)
	if err != nil {
		return nil, explain(ctx, q.attempt, err)
	}
	if suites.GetTotal() >= maxCheckSuites {
		return nil, q.tooMany("check suites")
	}
	found = nil
	for _, name := range q.checkNames() {
		some, all, err := q.checkRunsNamed(ctx, name)
		if err != nil {
			return nil, err
		}
		if !all {
			return nil, q.tooMany("checks called " + name)
		}
		found = append(found, some...)
	}
	return found, nil
}

// checkNames are the names that check runs have that may answer: of a workflow's job that is awaited as "WORKFLOW / JOB", both.
func (q *checkQuestion) checkNames() []string {
	var names []string
	for _, text := range q.awaited {
		for name, found := jobs.ParseAwaited(text).Name, true; found; _, name, found = strings.Cut(name, " / ") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// checkRunsNamed reads the check runs of one name, of any with "", and reports whether these are all.
func (q *checkQuestion) checkRunsNamed(ctx context.Context, name string) (found []foundCheck, all bool, err error) {
	options := &github.ListCheckRunsOptions{Filter: github.String("latest"), ListOptions: github.ListOptions{PerPage: perPage, Page: 1}}
	if name != "" {
		options.CheckName = &name
	}
	ctx = asking(ctx, priorityProgress, "checks/list-for-ref")
	seen := 0
	for options.Page > 0 && options.Page <= maxCheckPages {
		some, resp, err := q.c.Checks.ListCheckRunsForRef(ctx, q.repo.Owner, q.repo.Name, q.sha, options)
		if err != nil {
			return nil, false, explain(ctx, q.attempt, err)
		}
		for _, r := range some.CheckRuns {
			f := foundCheck{suite: r.GetCheckSuite().GetID(), CommitCheck: jobs.CommitCheck{
				Name: r.GetName(), App: r.GetApp().GetSlug(), Status: r.GetStatus(), Conclusion: r.GetConclusion(), URL: r.GetHTMLURL(),
			}}
			if r.GetApp().GetID() != q.a.id && (q.answers(f.CommitCheck) || q.asJob(f)) {
				found = append(found, f)
			}
		}
		seen += len(some.CheckRuns)
		options.Page = resp.NextPage
	}
	return found, options.Page == 0 && seen < maxCheckPages*perPage, nil
}

// tooMany is why a question has no answer.
func (q *checkQuestion) tooMany(what string) error {
	return &jobs.Refusal{Sentence: fmt.Sprintf("%s of %s has more %s than Slipway looks at, and one that it does not see might have failed: "+
		"wait for a check of another name.", jobs.Abbreviate(q.sha), q.repo.FullName(), what)}
}

// runsNeeded are the check suites whose workflow runs must be known: for the names of workflows, and because of what was cancelled
// while another of its name was not.
func (q *checkQuestion) runsNeeded(found []foundCheck) []int64 {
	const cancelled, other = 1, 2
	twins := map[string]int{}
	for _, f := range found {
		switch {
		case f.App != actionsAppSlug:
		case f.Conclusion == "cancelled":
			twins[f.Name] |= cancelled
		default:
			twins[f.Name] |= other
		}
	}
	var suites []int64
	for _, f := range found {
		if f.App == actionsAppSlug && (q.asJob(f) || twins[f.Name] == cancelled|other) {
			suites = append(suites, f.suite)
		}
	}
	slices.Sort(suites)
	return slices.Compact(suites)
}

// withWorkflows fills in the workflow runs of suites, and drops what was replaced.
func (q *checkQuestion) withWorkflows(ctx context.Context, found []foundCheck, suites []int64) ([]foundCheck, error) {
	runs, err := q.workflowRuns(ctx, suites)
	if errors.Is(err, ErrDenied) {
		return found, nil
	}
	if err != nil {
		return nil, err
	}
	for i, f := range found {
		if r, known := runs[f.suite]; known && f.App == actionsAppSlug {
			found[i].run, found[i].Workflow = &r, r.Name
		}
	}
	var list []foundCheck
	for _, f := range found {
		if !slices.ContainsFunc(found, f.replacedBy) {
			list = append(list, f)
		}
	}
	return list, nil
}

// replacedBy reports whether a job was cancelled for the sake of another, as concurrency with cancel-in-progress does when a pull request
// is opened and labelled. That must be sure, since whoever cancels a job before it fails would get rid of it: so it is said only of runs
// for the same pull request into the same branch, of which GitHub tells within one repository, and of none whose successor was
// skipped or cancelled itself.
func (f foundCheck) replacedBy(other foundCheck) bool {
	a, b := f.run, other.run
	if a == nil || b == nil || f.Conclusion != "cancelled" || other.Conclusion == "cancelled" || other.Conclusion == "skipped" {
		return false
	}
	return f.Name == other.Name && a.ID < b.ID && a.Workflow == b.Workflow && a.Event == "pull_request" && b.Event == a.Event &&
		a.Head.ID == b.Head.ID && a.Branch == b.Branch &&
		len(a.Pulls) == 1 && len(b.Pulls) == 1 && a.Pulls[0] == b.Pulls[0]
}

// workflowRuns reads the workflow runs of check suites; suites without one are not among them. Anybody who comments can start further
// runs at a commit that is a default branch's head: what the list of the newest does not tell is asked for singly.
func (q *checkQuestion) workflowRuns(ctx context.Context, suites []int64) (map[int64]suiteRun, error) {
	known, unknown := map[int64]suiteRun{}, slices.Clone(suites)
	ctx = asking(ctx, priorityProgress, "actions/list-workflow-runs-for-repo")
	page := 1
	for calls := 0; len(unknown) > 0; calls++ {
		if calls == maxRunCalls {
			return nil, q.tooMany("workflow runs")
		}
		filter, at, single := jobs.WorkflowFilter{SHA: q.sha}, page, false
		if len(unknown) == 1 || page == 0 || page > maxCheckPages || page > 1 && len(unknown) <= maxSingleRuns {
			filter, at, single = jobs.WorkflowFilter{Suite: unknown[0]}, 1, true
		}
		query := runQuery(filter)
		query.Del("exclude_pull_requests")
		var said struct {
			Runs []suiteRun `json:"workflow_runs"`
		}
		where := fmt.Sprintf("repos/%s/%s/actions/runs?%s", q.repo.Owner, q.repo.Name, paged(query, perPage, at))
		resp, err := ask(ctx, q.c.Client, q.attempt, where, &said)
		if err != nil {
			return nil, err
		}
		for _, r := range said.Runs {
			known[r.Suite] = r
		}
		if single {
			unknown = unknown[1:]
			continue
		}
		page = resp.NextPage
		unknown = slices.DeleteFunc(unknown, func(suite int64) bool { _, is := known[suite]; return is })
	}
	return known, nil
}

// statuses reads the commit's statuses that answer.
func (q *checkQuestion) statuses(ctx context.Context) ([]jobs.CommitCheck, error) {
	var list []jobs.CommitCheck
	page := github.ListOptions{PerPage: perPage, Page: 1}
	ctx = asking(ctx, priorityProgress, "repos/get-combined-status-for-ref")
	for page.Page > 0 && page.Page <= maxCheckPages {
		some, resp, err := q.c.Repositories.GetCombinedStatus(ctx, q.repo.Owner, q.repo.Name, q.sha, &page)
		if err != nil {
			return nil, explain(ctx, q.attempt, err)
		}
		for _, s := range some.Statuses {
			check := jobs.CommitCheck{Name: s.GetContext(), Status: "completed", Conclusion: s.GetState(), URL: s.GetTargetURL()}
			if s.GetState() == "pending" {
				check.Status, check.Conclusion = "pending", ""
			}
			if q.answers(check) {
				list = append(list, check)
			}
		}
		page.Page = resp.NextPage
	}
	if page.Page > 0 {
		return nil, q.tooMany("statuses")
	}
	return list, nil
}
