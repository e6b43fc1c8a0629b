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
	maxCheckPages  = 10 // of 100 check runs, or statuses
	actionsAppSlug = "github-actions"
)

// CommitChecks returns the check runs and statuses of a commit, of whatever App but ours, that answer to an awaited name
// (jobs.CommitCheck.Answers), as they stand now: a check run is the latest of its name in its suite, a status the newest of its
// context. Of several runs of one workflow for the same event, such as two dispatches, only the newest counts.
//
// It costs 1 to 3 calls for a usual commit: the check runs; the statuses, unless each name has a check run and one of those did not
// succeed yet; and the workflow runs, when a name such as "CI / test" or two check runs of one name can only be told apart by them.
// Further calls come with more than a hundred check runs or statuses; at most 1,000 of each are looked at.
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
	if err == nil && q.needsRuns(found) {
		found, err = q.withWorkflows(ctx, found)
	}
	if err != nil {
		return nil, hopeless(gone(err, "", repo), "look at checks of "+repo.FullName(), "Checks: read")
	}
	var list []jobs.CommitCheck
	for _, f := range found {
		if q.answers(f.CommitCheck) {
			list = append(list, f.CommitCheck)
		}
	}
	if v := jobs.JudgeChecks(awaited, list); len(v.Missing) == 0 && len(v.Pending)+len(v.Failed) > 0 {
		return list, nil
	}
	statuses, err := q.statuses(ctx)
	if err != nil && !errors.Is(err, ErrDenied) {
		return nil, hopeless(gone(err, "", repo), "look at statuses of "+repo.FullName(), "Commit statuses: read")
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
}

func (q *checkQuestion) answers(c jobs.CommitCheck) bool {
	return slices.ContainsFunc(q.awaited, c.Answers)
}

// asJob reports whether a name of the form "WORKFLOW / JOB" is awaited that a workflow's job may answer.
func (q *checkQuestion) asJob(f foundCheck) bool {
	return f.App == actionsAppSlug && slices.ContainsFunc(q.awaited, func(name string) bool { return strings.HasSuffix(name, " / "+f.Name) })
}

// checkRuns reads the check runs of others that may answer.
func (q *checkQuestion) checkRuns(ctx context.Context) ([]foundCheck, error) {
	var found []foundCheck
	options := &github.ListCheckRunsOptions{Filter: github.String("latest"), ListOptions: github.ListOptions{PerPage: perPage, Page: 1}}
	ctx = asking(ctx, priorityProgress, "checks/list-for-ref")
	for options.Page > 0 && options.Page <= maxCheckPages {
		some, resp, err := q.c.Checks.ListCheckRunsForRef(ctx, q.repo.Owner, q.repo.Name, q.sha, options)
		if err != nil {
			return nil, explain(ctx, q.attempt, err)
		}
		for _, r := range some.CheckRuns {
			f := foundCheck{suite: r.GetCheckSuite().GetID(), CommitCheck: jobs.CommitCheck{
				Name: r.GetName(), App: r.GetApp().GetSlug(), Status: r.GetStatus(), Conclusion: r.GetConclusion(), URL: r.GetHTMLURL(),
			}}
			if r.GetApp().GetID() != q.a.id && (q.answers(f.CommitCheck) || q.asJob(f)) {
				found = append(found, f)
			}
		}
		options.Page = resp.NextPage
	}
	return found, nil
}

// needsRuns reports whether the commit's workflow runs must be known: for the names of workflows, or because two of one name may be
// of the same workflow.
func (q *checkQuestion) needsRuns(found []foundCheck) bool {
	suites := map[string]int64{}
	for _, f := range found {
		if q.asJob(f) {
			return true
		}
		if f.App != actionsAppSlug {
			continue
		}
		if other, twice := suites[f.Name]; twice && other != f.suite {
			return true
		}
		suites[f.Name] = f.suite
	}
	return false
}

// withWorkflows fills in the names of workflows, and drops what a newer run of the same workflow for the same event replaced.
func (q *checkQuestion) withWorkflows(ctx context.Context, found []foundCheck) ([]foundCheck, error) {
	var said struct {
		Runs []runShape `json:"workflow_runs"`
	}
	_, err := ask(asking(ctx, priorityProgress, "actions/list-workflow-runs-for-repo"), q.c.Client, q.attempt,
		fmt.Sprintf("repos/%s/%s/actions/runs?%s", q.repo.Owner, q.repo.Name, paged(runQuery(jobs.WorkflowFilter{SHA: q.sha}), perPage, 1)), &said)
	if errors.Is(err, ErrDenied) {
		return found, nil
	}
	if err != nil {
		return nil, err
	}
	type source struct {
		workflow    int64
		event, name string
	}
	runs := map[int64]runShape{} // by check suite
	for _, r := range said.Runs {
		runs[r.Suite] = r
	}
	newest := map[source]int64{}
	of := func(f foundCheck) (source, int64) {
		r := runs[f.suite]
		return source{r.Workflow, r.Event, f.Name}, r.ID
	}
	for i, f := range found {
		if r, known := runs[f.suite]; known && f.App == actionsAppSlug {
			found[i].Workflow = r.Name
			from, id := of(f)
			newest[from] = max(newest[from], id)
		}
	}
	return slices.DeleteFunc(found, func(f foundCheck) bool {
		from, id := of(f)
		return id != 0 && f.App == actionsAppSlug && id < newest[from]
	}), nil
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
	return list, nil
}
