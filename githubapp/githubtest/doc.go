// Package githubtest is a stand-in GitHub for tests and the demo: it remembers what it is told, serves git, sends signed
// webhooks, fails on demand, and reports every exchange that breaks GitHub's own description of its API.
//
// # Tour
//
// [Start] serves an empty GitHub on a free port. [Server.CreateRepository], [Server.CreateUser], [Server.Fork] and
// [Server.CreateApp] fill it; [App.Install] puts the App on an account. From then on everything happens as on GitHub:
//
//   - Programs use the REST API at [Server.URL], as an App (JWT) or as an installation (token). operations.go lists what is
//     modelled with the permission each operation needs; the files it points to are named after what they model.
//   - git clones and pushes over HTTP ([Repository.CloneURL]). Tests may also use [Repository.Commit] and its siblings,
//     which make real commits and count as pushes.
//   - A push is what moves refs: push.go compares them before and after, and sends push, create, delete, check_suite and
//     pull_request events to the Apps that are installed and subscribed.
//   - People are played by methods that take who acts, which is the event's sender: [Repository.OpenPull], [Pull.Retarget],
//     [Pull.Comment], [Pull.EditComment], [Repository.CommentOnCommit], [Repository.RequestAction] (a click on a check's
//     button), [Repository.RerequestSuite], [Repository.CreateRelease], [Repository.EnqueueMerge] and so on. What GitHub
//     wouldn't let them do is refused with an error.
//   - Repositories move and end: [Repository.Rename], [Repository.Transfer], [Repository.Archive], [Repository.Delete].
//     Installations do as well: [Installation.Suspend], [Installation.AcceptPermissions], [Installation.Uninstall].
//   - Workflow files are those of GitHub Actions: [Repository.DispatchWorkflow], the API's dispatches, pushes and pull requests
//     start runs of them, each with its jobs, check runs and events (workflowruns.go, workflowjobs.go). A [WorkflowRun] does
//     nothing by itself: tests move it on by its methods (workflowcontrol.go), or [Server.RunWorkflows] plays the steps in an
//     interpreter that starts no programs. [Repository.ProtectEnvironment] makes jobs wait for their reviewers.
//   - Who people are is said with [Repository.SetPermission] and [Server.CreateTeam].
//   - Apps are also made as by a browser, from a manifest posted to /settings/apps/new.
//   - Tests look at the outcome with [Repository.CheckRuns], [Pull.Comments], [Repository.Deployments],
//     [Repository.MergeGroups], [Repository.WorkflowRuns], [Server.Deliveries] and [Server.Requests].
//
// # Contract
//
// Requests, answers and webhooks are compared with GitHub's published OpenAPI descriptions, which the program in
// openapiprune cuts out of pinned npm packages (go generate). What breaks them is collected in [Server.Violations]; a test
// should end by failing when there are any. The check is stricter than GitHub in one way: request fields and parameters
// that aren't documented are reported, although they are then ignored as GitHub ignores them. Where the description
// contradicts itself or what GitHub really does, waivers.go says so. Limits that the description doesn't hold (an empty
// name, 140 characters, a thousand runs of one name) are modelled where they apply, next to the page they come from.
//
// # Failing
//
// [Server.Fail] orders failures: statuses, silence, lost answers, the primary and the secondary rate limit, each before or
// after the request has taken effect. [Server.Down] makes GitHub unreachable. [Server.OnDelivery] drops, duplicates, holds,
// throttles, reorders or never sends webhooks. [Options.SecondaryLimits] makes a storm of requests hit GitHub's secondary
// limits by itself. Time is [Options.Clock]: tokens expire, budgets renew and the delivery log forgets by it; what is older
// than now is made with [Pull.CommentAt] and its kin.
//
// # Left out
//
// Of GitHub Actions: every expression but a lone inputs.NAME, env.NAME or plain github value; conditions other than always(),
// failure(), success(), cancelled() and !cancelled(); the outputs of steps and jobs, secrets, matrices, reusable workflows,
// services, containers, concurrency, timeouts, continue-on-error, filters by path, other events than workflow_dispatch, push
// and pull_request, the approval of first-time contributors, branch and timer rules of environments, Actions in forks, deployment_review and
// workflow_dispatch events, the archive of a whole run's logs, and runs of a pull request's test merge (the head's is taken).
//
// Of the rest: GraphQL, reviews, branch protection except what a merge queue requires, groups of several pull requests and
// timeouts in merge queues, the events of issues, of teams and of repositories that are made or change their visibility,
// nested teams, releases' files, renamed accounts, and the installation_repositories event that GitHub may send when a
// repository is transferred or deleted. Operations of the description that nobody has modelled yet are answered 501 and
// reported.
package githubtest
