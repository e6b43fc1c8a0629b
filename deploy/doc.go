// Package deploy rolls Helm charts out onto Kubernetes clusters.
//
// It works on its own: it knows neither GitHub nor runs and jobs, only a chart in a
// folder, a cluster, and whose work it is. Open a Cluster once, then call Rollout and
// Rollback as often as needed:
//
//	cluster, err := deploy.OpenCluster(deploy.ClusterConfig{Name: "staging", KubeconfigFile: "staging.kubeconfig"}, log)
//	outcome, err := cluster.Rollout(ctx, deploy.Release{ … }, jobLog)
//	outcome, err = cluster.Rollback(ctx, deploy.Rollback{ … }, jobLog)
//
// # Error or Failure
//
// An error is our trouble, and worth another try: the API server is away or overloaded,
// our credentials are not accepted, the record of the release can't be written, the
// lease is held or lost, the context ended. A Failure in the Outcome is theirs, and final:
// the chart does not render, an object is refused, a hook fails, an image crashes. Any
// failure while the API server was away counts as ours. Other doubtful cases (an error
// that does not come from a request) count as theirs.
//
// # One at a time
//
// A Lease in the release's namespace, named slipway-<release>, lets one rollout at a time
// change a release. Kubernetes doesn't check leases, so the transport does: once the lease
// is lost or not renewed, writes are refused before they leave the process. The holder's
// own work may take its lease over at once after a crash; others wait until it ran out.
//
// # Calling again is safe
//
// Helm's record of a release carries labels that say which repository, run, job and
// attempt deployed it. From that record alone, Rollout decides what to do: the same work
// already deployed is adopted; a revision that an interrupted rollout left pending is
// marked failed and the rollout goes on; a release of another repository, or one that
// somebody is changing by hand, is refused. A release without an owner is taken over.
//
// # When a rollout fails
//
// An upgrade that fails is rolled back to the newest revision that ran, with the chart's
// rollback hooks, and waited for. A first installation that fails is uninstalled without
// leaving a history, so that the next one starts clean, with its pre-install hooks. What is
// wrong is found before that: pods and warnings are watched while the rollout runs.
//
// # Rolling back
//
// Rollback makes an earlier revision run again, from Helm's record alone: the one that ran
// before the present one, or one that is named. Revisions that never ran can't be chosen. A
// revision recorded by a rollback counts as the one it rolled back to, so two rollbacks in
// a row go back two revisions. A rollback that was interrupted is deleted from the record
// and carried out again under the same number; one that was carried out is adopted, also
// when others have deployed since. When the revision does not become ready, the release is
// left there: where to go from there is for people to choose.
//
// # What a chart may touch
//
// A chart is code from a repository that runs with our credentials. It is read through
// an os.Root; its objects, hooks included, must lie in the release's namespace; requests
// (also those of a template's lookup function) outside that namespace are refused in the
// transport. Release.AllowClusterScoped lifts this. Nothing is downloaded: dependencies
// must be vendored in charts/. Set values are data: they are never parsed.
package deploy
