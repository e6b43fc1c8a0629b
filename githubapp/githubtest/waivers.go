package githubtest

import (
	"regexp"
	"slices"
	"strings"
)

// waiver excuses one fault that GitHub's description has in itself.
type waiver struct {
	operation string // operationId, or event.action of a webhook; a bar parts alternatives
	where     string // request, response or webhook
	pointer   string // regular expression that the whole JSON pointer or parameter name must match
	reason    string
}

// waivers is the whole list. A test fails when one of them excuses nothing any more.
var waivers = []waiver{
	{"apps/list-installations", "response", `/\d+/account/(name|slug|created_at|updated_at)`,
		"the account has to be a user and an enterprise at once (allOf); apps/get-installation says anyOf, which is meant"},
	{"pulls/get", "response", `/head/repo`, "head.repo is null once the fork is deleted; only the schemas of some webhooks allow it"},
	{"pulls/list", "response", `/\d+/head/repo`, "as for pulls/get"},
	{"repos/list-pull-requests-associated-with-commit", "response", `/\d+/head/repo`, "as for pulls/get"},
	{"pull_request.closed|pull_request.edited|pull_request.converted_to_draft|pull_request.ready_for_review|pull_request.enqueued|pull_request.dequeued", "webhook",
		`/pull_request/head/repo`, "as for pulls/get; pull_request.labeled, unlabeled and others do allow null"},
	{"check_suite.rerequested", "webhook", `/check_suite/app/events/\d+`, "the names of events allowed here lack merge_group and other newer ones, unlike those of check_suite.requested"},
	{"actions/list-workflow-runs|actions/list-workflow-runs-for-repo", "request", `created`,
		"the type says date-time, the documentation a date-time range in the syntax of GitHub's search, such as >=2026-01-31T12:00:00Z"},
	{"meta.deleted", "webhook", `/hook/events/\d+`, "as for check_suite.rerequested"},
}

// waiverFor returns the index of the waiver that excuses a violation, or -1.
func waiverFor(v Violation) int {
	for i, w := range waivers {
		if slices.Contains(strings.Split(w.operation, "|"), v.Operation) && w.where == v.Where && regexp.MustCompile("^(?:"+w.pointer+")$").MatchString(v.Pointer) {
			return i
		}
	}
	return -1
}

// UnusedWaivers returns the waivers that have excused nothing on this server, as "operation where pointer".
func (s *Server) UnusedWaivers() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var unused []string
	for i, w := range waivers {
		if s.waived[i] == 0 {
			unused = append(unused, w.operation+" "+w.where+" "+w.pointer)
		}
	}
	return unused
}
