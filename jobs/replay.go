package jobs

import (
	"context"
	"fmt"
)

// ReplayGUID is the GUID under which a delivery runs again for the n-th time, from 1.
func ReplayGUID(guid string, n int) string { return formGUID(fmt.Sprintf("replay %s %d", guid, n)) }

// Replayable tells why a delivery can't be decided about anew, or returns nil: what a person asked for was meant for the moment
// in which they did.
func Replayable(d Delivery) error {
	switch d.Event {
	case "workflow_run", "workflow_job", "status":
		return &Refusal{Sentence: fmt.Sprintf("%s deliveries tell how something stood at that moment, and start nothing: they are not replayed", d.Event)}
	case "issue_comment", "commit_comment", "check_run", "check_suite", RequestDelivery:
		return &Refusal{Sentence: fmt.Sprintf("%s deliveries are what somebody asked for at that moment, and are not replayed: ask anew on GitHub; "+
			"`slipway deliveries explain` tells what was decided", d.Event)}
	}
	return nil
}

// Rehearse decides about a delivery as if it came now, by today's rules and today's pipeline, and stores nothing. What was
// decided about its commit before does not count. What can't be replayed is answered with a *Refusal.
func (p *Planner) Rehearse(ctx context.Context, d Delivery) (Decision, error) {
	if err := Replayable(d); err != nil {
		return Decision{}, err
	}
	d.Received = p.Now()
	return p.forgetful().decide(ctx, d)
}

// forgetful is a planner that knows nothing of what was decided about any ref, and is the same otherwise.
func (p *Planner) forgetful() *Planner {
	return &Planner{
		Decode: p.Decode, Pulls: p.Pulls, Commits: p.Commits, People: p.People, Repositories: p.Repositories, Actions: p.Actions, Rules: p.Rules, Pipelines: p.Pipelines, Suggest: p.Suggest,
		Bots: p.Bots, Decisions: p.Decisions, Runs: p.Runs, Archive: p.Archive, Refs: forgotten{p.Refs}, Index: p.Index, Meta: p.Meta,
		Approvals: p.Approvals, Replies: p.Replies, Causes: p.Causes, Watches: p.Watches, Workflows: p.Workflows, Timetables: p.Timetables, Decided: p.Decided, RateLimited: p.RateLimited, Now: p.Now, Log: p.Log,
	}
}

// forgotten is a set of refs that nothing is known about.
type forgotten struct{ Records[RefRecord] }

func (forgotten) Get(context.Context, string) (RefRecord, uint64, error) {
	return RefRecord{}, 0, ErrNotFound
}

// handle is Handle, for deliveries that are run again on purpose, too: what stands on their commit already does not stop them.
// A panic is an error: the delivery comes again, and the leader goes on.
func (p *Planner) handle(ctx context.Context, d Delivery) error {
	return guarded(func() error {
		if d.ReplayOf == "" {
			return p.Handle(ctx, d)
		}
		if _, err := p.settle(ctx, d.GUID, func() (Decision, error) { return p.forgetful().decide(ctx, d) }); err != nil {
			return err
		}
		return p.Handle(ctx, d)
	})
}
