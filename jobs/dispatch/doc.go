// Package dispatch is the kind of job that starts a GitHub Actions workflow and follows it to its end: exactly one workflow run for
// each attempt of the job, or a plain word that it is not known whether there is one.
//
// GitHub is told to start something by a request that can't be repeated without harm, and whose answer may be lost. So everything is
// written down before it is asked for, in the job's Record, and each call of Run goes on from there:
//
//	planned    who is asked for what, with which inputs (prepare, in plan.go)
//	in a lane  one dispatch of a workflow on a ref at a time, until its workflow run is known (lane.go)
//	sent       the request may have reached GitHub (start.go); without an answer it is looked for, never repeated (find.go)
//	claimed    the workflow run is this job's and nobody else's (lane.go)
//	followed   by news from deliveries first, by looking from time to time second (follow.go)
//	ended      the workflow run's outcome is the job's (end.go)
//
// A repeated job runs the failed jobs of its earlier workflow run again instead of starting a new one (earlier.go).
package dispatch
