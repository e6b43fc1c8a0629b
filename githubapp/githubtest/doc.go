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
//   - People are played by methods: [Repository.OpenPull], [Pull.Comment], [Pull.Merge], [Repository.RequestAction] (a click
//     on a check's button), [Repository.RerequestSuite] and so on.
//   - Tests look at the outcome with [Repository.CheckRuns], [Pull.Comments], [Repository.Deployments],
//     [Server.Deliveries] and [Server.Requests].
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
// after the request has taken effect. [Server.Down] makes GitHub unreachable. [Server.OnDelivery] drops, duplicates, holds
// and reorders webhooks. Time is [Options.Clock]: tokens expire, budgets renew and the delivery log forgets by it.
//
// # Left out
//
// GraphQL, issues that are no pull requests, reviews, teams, branch protection, merge queues, releases and Actions. Operations
// of the description that nobody has modelled yet are answered 501 and reported.
package githubtest
