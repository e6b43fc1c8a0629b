package githubtest

// operations are the operations of GitHub's description that this server performs, with the permission each needs (from the
// page "Permissions required for GitHub Apps"; one of those parted by a bar). The description kept here has more: those are
// answered 501 and reported as violations until somebody models them.
var operations = map[string]operation{
	"rate-limit/get":        {"", getRateLimit},
	"users/get-by-username": {"", getUser},

	"apps/get-authenticated":                     {"jwt", getApp},
	"apps/list-installations":                    {"jwt", listInstallations},
	"apps/get-installation":                      {"jwt", findInstallation(func(c *call, i *Installation) bool { return i.ID == c.id("installation_id") })},
	"apps/get-repo-installation":                 {"jwt", findInstallation(func(c *call, i *Installation) bool { return i.covers(c.repo) })},
	"apps/get-org-installation":                  {"jwt", findInstallation(func(c *call, i *Installation) bool { return i.Account.Login == c.params["org"] })},
	"apps/get-user-installation":                 {"jwt", findInstallation(func(c *call, i *Installation) bool { return i.Account.Login == c.params["username"] })},
	"apps/create-installation-access-token":      {"jwt", createToken},
	"apps/revoke-installation-access-token":      {"token", revokeToken},
	"apps/list-repos-accessible-to-installation": {"token", listInstalledRepositories},
	"apps/list-webhook-deliveries":               {"jwt", listDeliveries},
	"apps/get-webhook-delivery":                  {"jwt", getDelivery},
	"apps/redeliver-webhook-delivery":            {"jwt", redeliverDelivery},
	"apps/create-from-manifest":                  {"", convertManifest},
	"apps/get-webhook-config-for-app":            {"jwt", getWebhookConfig},
	"apps/update-webhook-config-for-app":         {"jwt", updateWebhookConfig},

	"repos/get": {"metadata:read", getRepository},
	"repos/get-collaborator-permission-level": {"metadata:read", getPermission},

	"teams/get-membership-for-user-in-org": {"members:read", getTeamMembership},

	"repos/get-content":                   {"contents:read", getContents},
	"repos/get-commit":                    {"contents:read", getCommit},
	"repos/list-commits":                  {"contents:read", listCommits},
	"repos/compare-commits-with-basehead": {"contents:read", compare},
	"repos/list-branches":                 {"contents:read", listBranches},
	"repos/get-branch":                    {"contents:read", getBranch},
	"repos/list-tags":                     {"metadata:read", listTags},
	"repos/download-tarball-archive":      {"contents:read", redirectToArchive("tar.gz")},
	"repos/download-zipball-archive":      {"contents:read", redirectToArchive("zip")},
	"git/get-ref":                         {"contents:read", getRef},
	"git/list-matching-refs":              {"contents:read", listMatchingRefs},
	"git/get-commit":                      {"contents:read", getGitCommit},
	"git/get-tree":                        {"contents:read", getTree},
	"git/get-blob":                        {"contents:read", getBlob},
	"git/get-tag":                         {"contents:read", getGitTag},

	"repos/list-releases":      {"contents:read", listReleases},
	"repos/get-release-by-tag": {"contents:read", getReleaseByTag},
	"repos/get-latest-release": {"contents:read", getLatestRelease},

	"pulls/get":          {"pull_requests:read", getPull},
	"pulls/list":         {"pull_requests:read", listPulls},
	"pulls/list-files":   {"pull_requests:read", listPullFiles},
	"pulls/list-commits": {"pull_requests:read", listPullCommits},
	"repos/list-pull-requests-associated-with-commit": {"pull_requests:read", listPullsOfCommit},

	"checks/create":                 {"checks:write", createRun},
	"checks/update":                 {"checks:write", updateRun},
	"checks/get":                    {"checks:read", getRun},
	"checks/list-for-ref":           {"checks:read", listRunsForRef},
	"checks/list-for-suite":         {"checks:read", listRunsForSuite},
	"checks/list-annotations":       {"checks:read", listAnnotations},
	"checks/rerequest-run":          {"checks:write", rerequestRun},
	"checks/create-suite":           {"checks:write", createSuite},
	"checks/get-suite":              {"checks:read", getSuite},
	"checks/rerequest-suite":        {"checks:write", rerequestSuite},
	"checks/list-suites-for-ref":    {"checks:read", listSuites},
	"checks/set-suites-preferences": {"checks:write", setSuitePreferences},

	"issues/get":                         {"issues:read|pull_requests:read", getIssue},
	"issues/create-comment":              {"issues:write|pull_requests:write", createComment},
	"issues/get-comment":                 {"issues:read|pull_requests:read", getComment},
	"issues/update-comment":              {"issues:write|pull_requests:write", updateComment},
	"issues/delete-comment":              {"issues:write|pull_requests:write", deleteComment},
	"issues/list-comments":               {"issues:read|pull_requests:read", listComments},
	"reactions/create-for-issue-comment": {"issues:write|pull_requests:write", createReaction},
	"reactions/list-for-issue-comment":   {"issues:read|pull_requests:read", listReactions},
	"reactions/delete-for-issue-comment": {"issues:write|pull_requests:write", deleteReaction},

	// A commit comment can be written with read access, but changing it or reacting to one takes write access.
	"repos/create-commit-comment":         {"contents:read", createCommitComment},
	"repos/list-comments-for-commit":      {"metadata:read", listCommitComments},
	"repos/update-commit-comment":         {"contents:write", updateCommitComment},
	"reactions/create-for-commit-comment": {"contents:write", createCommitReaction},

	"repos/create-deployment":        {"deployments:write", createDeployment},
	"repos/list-deployments":         {"deployments:read", listDeployments},
	"repos/get-deployment":           {"deployments:read", getDeployment},
	"repos/delete-deployment":        {"deployments:write", deleteDeployment},
	"repos/create-deployment-status": {"deployments:write", createDeploymentStatus},
	"repos/list-deployment-statuses": {"deployments:read", listDeploymentStatuses},

	"actions/list-repo-workflows":                {"actions:read", listWorkflows},
	"actions/get-workflow":                       {"actions:read", getWorkflow},
	"actions/create-workflow-dispatch":           {"actions:write", createWorkflowDispatch},
	"actions/list-workflow-runs":                 {"actions:read", listRunsOfWorkflow},
	"actions/list-workflow-runs-for-repo":        {"actions:read", listRunsOfRepository},
	"actions/get-workflow-run":                   {"actions:read", getWorkflowRun},
	"actions/get-workflow-run-attempt":           {"actions:read", getWorkflowRunAttempt},
	"actions/list-jobs-for-workflow-run":         {"actions:read", listJobs},
	"actions/list-jobs-for-workflow-run-attempt": {"actions:read", listJobsOfAttempt},
	"actions/get-job-for-workflow-run":           {"actions:read", getJob},
	"actions/download-job-logs-for-workflow-run": {"actions:read", redirectToLog},
	"actions/cancel-workflow-run":                {"actions:write", cancelWorkflowRun},
	"actions/re-run-workflow":                    {"actions:write", rerunWorkflow(false)},
	"actions/re-run-workflow-failed-jobs":        {"actions:write", rerunWorkflow(true)},
	"actions/get-pending-deployments-for-run":    {"actions:read", getPendingDeployments},
	"actions/review-pending-deployments-for-run": {"deployments:write", reviewPendingDeployments},
	"actions/list-workflow-run-artifacts":        {"actions:read", listArtifacts},
	"actions/get-artifact":                       {"actions:read", getArtifact},
	"actions/download-artifact":                  {"actions:read", redirectToArtifact},

	"repos/create-commit-status":         {"statuses:write", createStatus},
	"repos/list-commit-statuses-for-ref": {"statuses:read", listStatuses},
	"repos/get-combined-status-for-ref":  {"statuses:read", combinedStatus},
}

func getRateLimit(c *call) answer {
	core := c.s.budgetFor(c.caller.budgetKey()).shape()
	search := object{"limit": 30, "used": 0, "remaining": 30, "reset": core["reset"]}
	return ok(object{"resources": object{"core": core, "search": search}, "rate": core})
}
