package main

// keepOperations are the operationIds of the REST API that Slipway calls or is going to call.
var keepOperations = []string{
	"meta/root", "rate-limit/get", "users/get-by-username", "orgs/get-membership-for-user", "teams/get-membership-for-user-in-org",

	"apps/get-authenticated", "apps/list-installations", "apps/get-installation", "apps/get-repo-installation",
	"apps/get-org-installation", "apps/get-user-installation", "apps/create-installation-access-token",
	"apps/revoke-installation-access-token", "apps/list-repos-accessible-to-installation",
	"apps/list-webhook-deliveries", "apps/get-webhook-delivery", "apps/redeliver-webhook-delivery",
	"apps/get-webhook-config-for-app", "apps/update-webhook-config-for-app", "apps/create-from-manifest",

	"repos/get", "repos/get-content", "repos/get-commit", "repos/list-commits", "repos/compare-commits-with-basehead",
	"repos/list-branches", "repos/get-branch", "repos/list-tags", "repos/list-branches-for-head-commit",
	"repos/download-tarball-archive", "repos/download-zipball-archive",
	"repos/get-collaborator-permission-level", "repos/list-pull-requests-associated-with-commit",
	"repos/create-deployment", "repos/list-deployments", "repos/get-deployment", "repos/delete-deployment",
	"repos/create-deployment-status", "repos/list-deployment-statuses",
	"repos/get-all-environments", "repos/get-environment",
	"repos/create-commit-status", "repos/list-commit-statuses-for-ref", "repos/get-combined-status-for-ref",
	"repos/create-commit-comment", "repos/list-comments-for-commit", "repos/update-commit-comment",
	"repos/list-releases", "repos/get-release-by-tag", "repos/get-latest-release",

	"git/get-ref", "git/list-matching-refs", "git/get-commit", "git/get-tree", "git/get-blob", "git/get-tag",

	"pulls/get", "pulls/list", "pulls/list-files", "pulls/list-commits",

	"checks/create", "checks/update", "checks/get", "checks/list-for-ref", "checks/list-for-suite", "checks/list-annotations",
	"checks/rerequest-run", "checks/create-suite", "checks/get-suite", "checks/rerequest-suite",
	"checks/set-suites-preferences", "checks/list-suites-for-ref",

	"issues/get", "issues/create-comment", "issues/get-comment", "issues/update-comment", "issues/delete-comment", "issues/list-comments",
	"reactions/create-for-issue-comment", "reactions/list-for-issue-comment", "reactions/delete-for-issue-comment",
	"reactions/create-for-commit-comment",

	"actions/create-workflow-dispatch", "actions/list-repo-workflows", "actions/get-workflow", "actions/list-workflow-runs",
	"actions/list-workflow-runs-for-repo", "actions/get-workflow-run", "actions/get-workflow-run-attempt",
	"actions/list-jobs-for-workflow-run", "actions/list-jobs-for-workflow-run-attempt", "actions/get-job-for-workflow-run",
	"actions/download-job-logs-for-workflow-run", "actions/cancel-workflow-run", "actions/re-run-workflow",
	"actions/re-run-workflow-failed-jobs", "actions/get-pending-deployments-for-run", "actions/review-pending-deployments-for-run",
	"actions/list-workflow-run-artifacts", "actions/get-artifact", "actions/download-artifact",
}

// keepWebhooks are the names, or the beginnings of names up to a hyphen, of the webhooks that are kept.
var keepWebhooks = []string{
	"ping", "push", "create", "delete", "status", "release", "merge-group",
	"pull-request-opened", "pull-request-synchronize", "pull-request-reopened", "pull-request-ready-for-review",
	"pull-request-converted-to-draft", "pull-request-closed", "pull-request-edited", "pull-request-labeled", "pull-request-unlabeled",
	"pull-request-enqueued", "pull-request-dequeued",
	"issue-comment", "commit-comment",
	"check-run", "check-suite",
	"deployment-created", "deployment-status", "deployment-review",
	"workflow-dispatch", "workflow-run", "workflow-job",
	"installation", "installation-repositories", "installation-target", "meta",
	"repository-renamed", "repository-transferred", "repository-edited", "repository-archived", "repository-unarchived", "repository-deleted",
}
