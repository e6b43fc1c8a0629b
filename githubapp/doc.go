// Package githubapp says everything that is said to GitHub as the App: it keeps the tokens and the budget of calls,
// answers the planner's questions, fetches a commit's files, and makes GitHub's checks show what the records hold.
//
// Where to look:
//
//   - config.go, app.go, tokens.go: who we are; one client per repository of an installation and scope, with a token that
//     reaches only that repository and does only what the scope is for
//   - transport.go, limits.go: every request passes here; what GitHub's refusals mean
//   - budget.go, bucket.go, priority.go, ratelimits.go: how much an installation may ask, who goes first when that is not
//     enough, and what is held back
//   - needs.go, manifest.go, health.go: what the App must be allowed and why; making one; finding out what is wrong with it
//   - errors.go: how a call can fail, for callers, and which failures are GitHub's last word
//   - facts.go, teams.go, files.go: questions about pull requests, permissions, teams, refs, files
//   - repositories.go: finding a repository by its name
//   - archives.go, unpack.go: a commit's files on disk, at an exact SHA
//   - workflowfiles.go, workflowruns.go, joblog.go, artifacts.go: what there is to know of workflows and their runs
//   - dispatch.go: starting workflows, and what else must not happen twice
//   - commitchecks.go: what other Apps say about a commit
//   - deliverylog.go, heads.go: what webhooks did not bring
//   - storage.go: files that GitHub keeps elsewhere
//   - checkview.go, buttons.go, summary.go, markdown.go: what GitHub is to show for a run, as pure functions
//   - reporter.go, checkupdate.go, checks.go: making GitHub show it
//   - commit.go: which of a commit's runs its check speaks for
//   - rounds.go, underway.go: checks of jobs whose work goes on outside
//   - deployments.go, sticky.go, beside.go: what is shown beside the checks: deployments, and the pull request's comment
//   - replies.go, comments.go: answering comments with commands
//
// # How calls fail
//
// A call that must wait for something known, such as GitHub's rate limit, returns a *jobs.Later at once: nothing here
// sleeps while it holds a worker. Trouble at GitHub or on the way is an *Unavailable, and worth another try. A *jobs.Gone
// means that there is nobody to ask any more: the App was removed, or the repository is gone or archived. ErrDenied
// means that the App lacks a permission. A question that GitHub doesn't answer is always an error, never a yes. What must not
// happen twice, such as starting a workflow, is never sent again from here; when nobody can tell whether it happened, the error
// wraps jobs.ErrUnclear.
//
// No error, log line or record made here holds a token: the underlying libraries' errors carry whole requests with
// their Authorization header, so they are taken apart and never wrapped.
package githubapp
