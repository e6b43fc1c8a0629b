// Package build is the kind of job that turns a folder of a commit into a container image: built by BuildKit, pushed
// by digest, tagged by policy.
//
// A tour, in the order of one build:
//
//   - config.go: what the operator says; build.go: the Kind, and one build from task to result
//   - recipe.go, tags.go: what is to be built and how it will be named, decided purely from spec, run and grant
//   - files.go: the commit's files as BuildKit sees them; there is no Git token, no secret and no SSH agent among them
//   - pool.go: which BuildKit builds it, and when
//   - solve.go, progress.go: the request, and its steps as log lines
//   - auth.go, policy.go, registry.go: credentials, narrowed to the granted names
//   - publish.go: reading back what was pushed, and moving tags forward only
//   - failure.go: the line between their trouble (a Result) and ours (an error that is retried)
//
// # What a second call does
//
// A job is carried out again after a crash or a lost claim. Nothing of the first call needs to be found again:
// BuildKit answers every finished step from its cache, with SOURCE_DATE_EPOCH and all file times set to the commit's
// time, so the platform manifest has the same digest; pushing what the registry already has is a no-op; and tags are
// set to that manifest's index, which is the same act when done twice. Where BuildKit lost its cache, layers are still
// rewritten to the commit's time, so that steps which are deterministic themselves give the same digest.
//
// Only the index around the platform manifest differs from call to call, since provenance records when the build
// ran. That is why rollouts use the platform manifest's digest (output "digest").
//
// A BuildKit that was killed may come back with a damaged snapshot store; it is asked to clean up, and the job comes
// again (pool.go).
//
// # What a Dockerfile can reach
//
// The build's files, base images, and whatever network the operator gives BuildKit's workers: RUN and ADD fetch from
// there, not from this process. No entitlement is granted (no host network, no privileged step). The frontend is
// always the one built into BuildKit; a "# syntax=" line that names another one is refused, and none is downloaded.
package build
