package jobs

import (
	"fmt"
	"slices"
	"strings"
)

// A Scope is what a token lets a Request cause. A nil Scope is the operator's own command line, which may cause everything.
type Scope struct {
	// Kinds are the kinds of jobs that may run for the request; await goes without saying.
	Kinds []KindName `json:"kinds,omitempty"`
	// Commands are the pipeline's commands that the token was made for. With none it may give those that everybody with write
	// permission may give.
	Commands []string `json:"commands,omitempty"`
}

// refuseCommand says why a command of the pipeline's may not be given, or returns "".
func (s *Scope) refuseCommand(name string, policy CommandPolicy) string {
	nobody := policy.Role == "" && len(policy.Users)+len(policy.Teams) == 0
	switch {
	case s == nil:
		return ""
	case nobody:
		return fmt.Sprintf("The operator lets nobody use `/%s`.", name)
	case len(s.Commands) > 0 && !slices.Contains(s.Commands, name):
		return fmt.Sprintf("The token is not for the command `%s`, but for %s.", Cut(name, 50), strings.Join(s.Commands, ", "))
	case len(s.Commands) == 0 && !roleAtLeast(TrustFacts{Permission: "write"}, policy.Role):
		return fmt.Sprintf("The operator keeps the command `%s` for some people. A token may give it only when it was made for it, by `slipway token create --commands %s`.", name, name)
	}
	return ""
}

// refusePlan says which planned job may not run, or returns "".
func (s *Scope) refusePlan(plan Plan) string {
	if s == nil {
		return ""
	}
	for _, j := range plan.Jobs {
		if !j.Planned || j.Kind == KindAwait || slices.Contains(s.Kinds, j.Kind) {
			continue
		}
		may := []string{string(KindAwait)}
		for _, k := range s.Kinds {
			may = append(may, string(k))
		}
		return fmt.Sprintf("This would run the job `%s`, which is of the kind %s; the token may run jobs of the kinds %s.", j.Name, j.Kind, strings.Join(may, ", "))
	}
	return ""
}
