// Package pipeline turns a repository's pipeline file and an event into a plan: which jobs run, with which settings,
// and why. It also holds the operator's policy: which repositories may run, and what their jobs may touch.
//
// A tour, in the order a file is read:
//
//   - document.go: the Go types of the file; decoding and the JSON Schema (schema.go) both follow them
//   - yaml.go, scalar.go, decode.go, report.go: YAML with positions and bounds, then a strict decode that reports all
//     faults at once
//   - parse.go: what holds between jobs: names, needs, circles
//   - text.go, interpolation.go: texts with `${{ }}`, evaluated once and after decoding
//   - expression.go, variables.go, functions.go, value.go: what stands in them: CEL, typed, under bounds
//   - glob.go, filter.go: GitHub's dialect of workflow filters, for branches, tags, paths and the operator's patterns
//   - trigger.go, match.go, schedule.go, command.go, plan.go: which jobs an event starts, with the reason for every job considered
//   - ask.go, rollback.go: which jobs a person's command starts in their place; args.go: what it gives them to read
//   - spec.go, dispatch.go, names.go, grant.go: a job's settings, checked against what registries, clusters and GitHub take and
//     what the operator granted
//   - workflow.go, inputs.go: the workflows that dispatch jobs name, read and held against their inputs; askdispatch.go: those that a
//     person asks for
//   - resolve.go: settings that depend on other jobs, once those have ended, and who must approve a rollout
//   - policy.go, rules.go, people.go, quarantine.go, workflowpolicy.go: the operator's blocks of config.yaml
//
// Everything here is pure: no clock, no network, no file. The same input gives the same answer. Grants are checked
// here to say early and in the right line what will be refused; they are enforced again where a credential is handed
// out.
package pipeline
