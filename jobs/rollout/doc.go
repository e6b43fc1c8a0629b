// Package rollout is the kind of job that rolls Helm releases out to the clusters of an environment, or takes them back
// when somebody asks for it. It decides what may go where, by the job's grant and, going forward, by whether its commit
// is still the newest and has passed the checks that the environment requires; how it goes there is package deploy's.
package rollout
