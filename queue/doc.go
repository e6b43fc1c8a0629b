// Package queue keeps everything Slipway must not forget, on NATS JetStream: deliveries, decisions, runs, results,
// leases, work hints and logs.
//
// Open connects to a JetStream server: one embedded in this process (durable on one disk, every write synced), or an
// external one. Memory is the same without a disk, for tests. All three pass one contract suite.
//
// A tour:
//
//   - config.go, layout.go: what the operator may set, and the streams with their limits
//   - stream.go: the one interface everything is built on, with jetstream.go and memory.go behind it
//   - records.go, leases.go: keyed records with create-once and compare-and-swap
//   - deliveries.go, body.go, follow.go, progress.go: webhook requests, stored once and handed to the planner
//     until decided; decided ones make room
//   - hints.go, logs.go, index.go: work hints, job logs, the list of all runs
//   - embedded.go: the server in this process
//
// What it relies on, and what it does not: a publish is acknowledged after it is on disk; a message's sequence never
// comes back; an expected sequence is checked atomically. Consumers' acknowledgements are not trusted to survive a
// crash, and the server's duplicate window is not used.
package queue
