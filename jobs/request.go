package jobs

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// A Request is what a machine asked for by the API, or somebody on the server's command line. Whether its token covers the
// repository and what is asked for was decided by the API; what it would start is held against Scope by planning. Exactly one of
// Build, Deploy, Dispatch and Command is set.
type Request struct {
	Repository string `json:"repository"`      // owner/name
	Ref        string `json:"ref,omitempty"`   // branch, or a full SHA of the default branch; "" for the default branch's head
	By         string `json:"by"`              // such as "token nightly" or "operator root"
	What       string `json:"what"`            // in one line, as people would have written it
	Scope      *Scope `json:"scope,omitempty"` // of the token; nil for the operator

	Build    *RequestBuild   `json:"build,omitempty"`
	Deploy   *RequestDeploy  `json:"deploy,omitempty"`
	Dispatch *AskDispatch    `json:"dispatch,omitempty"`
	Command  *RequestCommand `json:"command,omitempty"`
}

// RequestBuild asks for build jobs, by name; none for those that pull requests and pushes of branches start.
type RequestBuild struct {
	Jobs []string `json:"jobs,omitempty"`
}

// RequestDeploy asks for a rollout.
type RequestDeploy struct {
	Environment string `json:"environment"`
	Release     string `json:"release,omitempty"` // "" for all that the pipeline rolls out there
}

// RequestCommand asks for a command that the pipeline declares.
type RequestCommand struct {
	Name string            `json:"name"`
	Args map[string]string `json:"args,omitempty"`
}

// RequestDelivery is the name of the event of the delivery that is made of a Request, its body. It can't come from outside: the
// webhook handler refuses names with a dot. The run that it starts has the ID RunID(GUID).
const RequestDelivery = "slipway.request"

// A RepositoryFinder finds repositories by their name.
type RepositoryFinder interface {
	// Repository finds a repository that the App is installed on, or answers a *Refusal.
	Repository(ctx context.Context, fullName string) (installation int64, repo Repository, err error)
}

// request decides about a request.
func (p *Planner) request(ctx context.Context, e Event, d Delivery, decision Decision) (Decision, error) {
	i := &interaction{p: p, e: e, key: d.GUID, decision: decision}
	i.decision.Command = e.Request.What
	if age := p.Now().Sub(d.Received); age > CommandLife {
		return i.refuse("This was asked for %s ago; what is asked for is carried out within %s.", Duration(age.Round(time.Minute)), Duration(CommandLife))
	}
	observing, err := p.observing(ctx, e.Repository, d)
	if err != nil {
		return decision, err
	}
	if observing != "" {
		return i.refuse("Nothing is started: %s.", observing)
	}
	ref := e.Request.Ref
	if ref == "" {
		ref = e.Repository.DefaultBranch
	}
	if reason, err := i.targetRef(ctx, ref); err != nil {
		return i.decision, err
	} else if reason != "" {
		return i.refuse("%s", reason)
	}
	decision, err = i.carryOut(ctx, *e.Request)
	if err != nil || decision.Run.ID == "" {
		return decision, err
	}
	if reason := e.Request.Scope.refusePlan(decision.Plan); reason != "" {
		return i.refuse("%s", reason)
	}
	return decision, nil
}

// carryOut plans what a request asks for.
func (i *interaction) carryOut(ctx context.Context, r Request) (Decision, error) {
	switch {
	case r.Build != nil:
		return i.start(ctx, Ask{Build: true, Jobs: r.Build.Jobs})
	case r.Deploy != nil:
		return i.start(ctx, Ask{Deploy: &DeployTarget{Environment: r.Deploy.Environment, Release: r.Deploy.Release}})
	case r.Dispatch != nil:
		return i.start(ctx, Ask{Dispatch: r.Dispatch})
	case r.Command != nil:
		return i.runDeclared(ctx, *r.Command, r.Scope)
	}
	return i.refuse("The request asks for nothing.")
}

// runDeclared carries out a command of the pipeline's.
func (i *interaction) runDeclared(ctx context.Context, c RequestCommand, scope *Scope) (Decision, error) {
	declared, other, err := i.lookUp(ctx, c.Name)
	switch {
	case err != nil:
		return i.decision, err
	case declared == nil && other != "":
		return i.refuse("There is no command `%s`; did you mean `%s`?", Cut(c.Name, 50), other)
	case declared == nil:
		return i.refuse("There is no command `%s` in the pipeline.", Cut(c.Name, 50))
	}
	if reason := scope.refuseCommand(c.Name, i.p.Rules.Command(c.Name)); reason != "" {
		return i.refuse("%s", reason)
	}
	args, fault := Bind(declared.Args, Command{Name: c.Name, Named: c.Args})
	if fault != "" {
		return i.refuse("%s", fault)
	}
	return i.start(ctx, Ask{Command: c.Name, Args: args})
}

// placeRequest fills in the repository that a request names.
func (p *Planner) placeRequest(ctx context.Context, e *Event) error {
	var err error
	if e.Installation, e.Repository, err = p.Repositories.Repository(ctx, e.Request.Repository); err != nil {
		return fmt.Errorf("find %s: %w", e.Request.Repository, err)
	}
	if name := e.Repository.FullName(); !strings.EqualFold(name, e.Request.Repository) { // who may ask was decided by the name
		return &Refusal{Sentence: fmt.Sprintf("%s is called %s by now: ask for that", Cut(e.Request.Repository, 200), name)}
	}
	return nil
}
