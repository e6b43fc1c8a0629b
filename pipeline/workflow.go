package pipeline

import "github.com/slipway-ci/slipway/jobs"

// Workflows are the workflow files that a plan depends on.
func Workflows(jobs.PlanInput) []jobs.WorkflowRef { return nil }
