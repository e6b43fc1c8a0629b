package githubtest

import "slices"

// Apps returns all Apps by ID.
func (s *Server) Apps() []*App {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sortedApps()
}

// Installations returns where the App is installed, oldest first.
func (a *App) Installations() []*Installation {
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	return slices.Clone(a.installations)
}

// Secret is what the App's webhooks are signed with.
func (a *App) Secret() string {
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	return a.webhookSecret
}

// SetHookForm changes what the App's settings say about its webhook: content type json or form, and whether the receiver's
// certificate goes unchecked. Webhooks are sent as JSON all the same.
func (a *App) SetHookForm(contentType string, insecure bool) {
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	a.contentType, a.insecureSSL = contentType, "0"
	if insecure {
		a.insecureSSL = "1"
	}
}

// eventNeeds are the permissions without which events can't be subscribed to, from the page "Webhook events and payloads".
var eventNeeds = map[string]string{
	"check_run": "checks", "check_suite": "checks", "commit_comment": "contents", "create": "contents", "delete": "contents", "deployment": "deployments",
	"deployment_status": "deployments", "issue_comment": "issues", "issues": "issues", "merge_group": "merge_queues", "pull_request": "pull_requests",
	"push": "contents", "release": "contents", "repository": "metadata", "status": "statuses", "workflow_job": "actions", "workflow_run": "actions",
}
