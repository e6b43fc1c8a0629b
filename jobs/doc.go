// Package jobs is the centre of Slipway: the nouns every other package speaks in, the rules of trust and of a
// run's life, and the reconcilers that carry a stored delivery to a finished, reported run.
//
// A tour, by question:
//
//   - What came in? delivery.go, event.go: what GitHub sent, and what it means in our words. request.go, requestbody.go: what the
//     API or the command line asked for, which is stored as a delivery, too. scope.go: what a token of the API may ask for.
//   - What may its sender cause? trust.go, as one pure function.
//   - What is to be done about it? planner.go: one decision for each delivery, and who comes to it. planevent.go: events of the
//     repository. decision.go: what was concluded, with the reason for every job considered. materialise.go: making it exist.
//     replay.go: deciding once more, in earnest or for show.
//   - What did a person ask for? commands.go: comments with slash commands. click.go: buttons and re-runs. interaction.go: what
//     commands, clicks and requests share. target.go: which commit is meant. ask.go: what it narrows planning to. command.go,
//     arguments.go: a command and the values it takes. commandpolicy.go: which commands there are and who may give them.
//     commandanswers.go, reply.go: what the person is shown.
//   - Who approved what? approval.go. What is done again? retry.go.
//   - What is newest? refs.go: of a branch or pull request. commitruns.go: which runs stand on a commit. commitcheck.go: which of
//     them its required check speaks for.
//   - What comes by the clock? schedule.go.
//   - What did webhooks not bring? recovery.go, with deliverylog.go: reading GitHub's delivery log, and heads.go: comparing what
//     refs are at with what was decided.
//   - What is a run? run.go, state.go: its jobs, and the only transitions their states may make.
//   - What is a job given, and what must it answer? kind.go, spec.go, result.go, tag.go.
//   - Who works? leader.go and its loop.go. scheduler.go: which jobs are ready. runner.go, settle.go, logs.go: claiming one,
//     storing what becomes of it, its log. sweeper.go: jobs whose worker is gone.
//   - What does a job wait for outside? watch.go: which jobs are woken by which news. workflow.go: workflow runs. checks.go: other
//     Apps' checks.
//   - What does it stand on? records.go: the few storage interfaces. follow.go: keeping up with a set of records. ratelimits.go:
//     what may still be asked of GitHub. text.go: words for people, and masks.
//
// Everything after a delivery is stored is level-triggered: each reconciler reads the records as they are now and
// moves them, or the world, one step on. A crash anywhere is repaired by running the same function again.
//
// The package imports nothing but the standard library. What it needs from the outside (GitHub, the queue, the
// pipeline language) it declares as small interfaces and functions; package cmd/app introduces them.
package jobs
