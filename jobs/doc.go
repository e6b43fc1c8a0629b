// Package jobs is the centre of Slipway: the nouns every other package speaks in, the rules of trust and of a
// run's life, and the reconcilers that carry a stored delivery to a finished, reported run.
//
// A tour, in the order of a delivery's life:
//
//   - delivery.go, event.go: what GitHub sent, and what it means in our words
//   - trust.go: what the sender of an event may cause, as one pure function
//   - decision.go: what planning concluded, with the reason for every job considered
//   - run.go, state.go: the jobs one decision started, and the only transitions their states may make
//   - kind.go, result.go: what a kind of job (build, deploy, ...) is given and what it must answer
//   - records.go: the few storage interfaces everything stands on
//   - planner.go, scheduler.go, runner.go, sweeper.go, leader.go: the reconcilers
//
// Everything after a delivery is stored is level-triggered: each reconciler reads the records as they are now and
// moves them, or the world, one step on. A crash anywhere is repaired by running the same function again.
//
// The package imports nothing but the standard library. What it needs from the outside (GitHub, the queue, the
// pipeline language) it declares as small interfaces and functions; package cmd/app introduces them.
package jobs
