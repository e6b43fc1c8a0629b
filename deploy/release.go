package deploy

import (
	"fmt"
	"os"
	"time"

	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	"k8s.io/apimachinery/pkg/util/validation"
)

// Release says what to roll out: a chart with its values, where it goes, and for whom.
type Release struct {
	// Namespace the release lives in. Created when it is absent. Unless
	// AllowClusterScoped is set, nothing outside it is read or written.
	Namespace string
	// Name of the Helm release, at most 53 characters, a DNS label.
	Name string
	// Source is the unpacked repository. Chart and ValuesFiles are opened below
	// it only; a path or a symbolic link that leads out is refused.
	Source *os.Root
	// Chart is the chart's folder (or packed .tgz) as a slash-separated path in Source.
	Chart string
	// ValuesFiles are merged over the chart's values in this order, later ones win.
	ValuesFiles []string
	// Set is merged over the values files. A key is a path of names joined by
	// dots ("image.digest"); a dot that belongs to a name is written `\.`. A value
	// keeps its type and is never parsed: a string stays one string whatever is in it.
	Set map[string]any
	// Owner is written into the record of the release and decides who may change it.
	Owner Owner
	// Timeout bounds hooks and the wait for readiness together. Rolling back after a
	// failure gets the same time again. Zero means DefaultTimeout.
	Timeout time.Duration
	// AllowClusterScoped lets the chart carry objects outside Namespace: cluster-scoped
	// kinds, custom resource definitions, other namespaces.
	AllowClusterScoped bool
}

// DefaultTimeout is how long a rollout may take when Release.Timeout is zero.
const DefaultTimeout = 5 * time.Minute

// Owner is whose release it is and which piece of work deploys it. Repository ID, Run,
// Job and Attempt together name that work: a second Rollout with the same four adopts
// the revision the first one deployed instead of deploying again.
type Owner struct {
	Repository   string // "acme/shop", for messages
	RepositoryID int64  // GitHub's numeric ID: what ownership is compared by
	Run          string
	Job          string
	Attempt      int
	SHA          string // the commit deployed
}

// Outcome is how a rollout ended. Failure is nil when the release is deployed and ready.
type Outcome struct {
	// Revision is the Helm revision this rollout deployed or adopted; with a Failure
	// the one that failed, or 0 when nothing was recorded.
	Revision int
	Status   Status
	// Notes is the chart's rendered NOTES.txt, at most 16 KiB.
	Notes string
	// Images are what the release's pods run now, at most 100.
	Images []RunningImage
	// Adopted says that the revision had been deployed by an earlier call for the same work.
	Adopted bool
	// RolledBack says that the release is back on RolledBackTo, applied and ready.
	RolledBack     bool
	RolledBackFrom int // of a Rollback: the newest revision before it
	RolledBackTo   int
	// Overtaken says of an adopted Rollback that a newer revision was recorded since; Images is empty then.
	Overtaken bool
	Failure   *Failure
	Took      time.Duration
}

// Status is what a rollout left in the cluster.
type Status string

// The states a rollout can leave.
const (
	StatusDeployed    Status = "deployed"    // the new revision runs and is ready
	StatusUnchanged   Status = "unchanged"   // refused before anything was applied
	StatusRolledBack  Status = "rolled-back" // the new revision failed, the one before runs again
	StatusUninstalled Status = "uninstalled" // the first installation failed and was removed
	StatusFailed      Status = "failed"      // it failed, and not all of what it did was undone
)

// RunningImage is one container image of a running pod of the release.
type RunningImage struct {
	Object    string // "Deployment tks/shop"
	Container string
	Image     string // as the pod asks for it
	Digest    string // "sha256:…" as the node resolved it; empty when the runtime does not say
}

// Failure is why a rollout failed when the cause lies in what was rolled out: the
// chart, its values, the image, the workload. It is final: the same input fails again.
type Failure struct {
	// Object is what failed, as "Deployment tks/shop"; empty when it is the chart itself.
	Object string
	Reason Reason
	// Sentence tells a developer what happened, where, and what to do.
	Sentence string
	// LogTail are the failing container's last lines, at most 20 of at most 200 characters.
	LogTail []string
	// Revisions are the release's newest ones, at most 10, newest first, when there is none to roll back to.
	Revisions []Revision
}

// Reason is a short, stable name of a failure's cause. Reasons that Kubernetes gives
// to containers (CrashLoopBackOff, OOMKilled, ImagePullBackOff, …) are passed on as they are.
type Reason string

// The reasons there are besides those that Kubernetes gives to containers.
const (
	ReasonReleaseInvalid   Reason = "ReleaseInvalid"   // name, namespace or paths can't be used
	ReasonChartInvalid     Reason = "ChartInvalid"     // the chart can't be loaded
	ReasonValuesInvalid    Reason = "ValuesInvalid"    // a values file or set key can't be used
	ReasonRenderFailed     Reason = "RenderFailed"     // templates don't render, or to no valid objects
	ReasonOutsideNamespace Reason = "OutsideNamespace" // objects or lookups outside the granted namespace
	ReasonForeignRelease   Reason = "ForeignRelease"   // the release belongs to another repository
	ReasonReleasePending   Reason = "ReleasePending"   // someone else is changing the release
	ReasonApplyRefused     Reason = "ApplyRefused"     // the API server refused an object
	ReasonHookFailed       Reason = "HookFailed"
	ReasonNotReady         Reason = "NotReady" // not ready in time, nothing more precise is known
	ReasonUnschedulable    Reason = "Unschedulable"
	ReasonUnhealthy        Reason = "Unhealthy"  // running, but the readiness probe fails
	ReasonExited           Reason = "Exited"     // a container ended with an error
	ReasonNoRevision       Reason = "NoRevision" // there is no revision to roll back to
	ReasonOvertaken        Reason = "Overtaken"  // others changed the release since the rollback was begun
)

// LeaseHeldError is returned by Rollout and Rollback when someone else is changing the same
// release. The caller tries again at Until.
type LeaseHeldError struct {
	Lease  string // "tks/slipway-shop"
	Holder string
	Until  time.Time // when it runs out unless its holder renews it
}

func (e *LeaseHeldError) Error() string {
	return fmt.Sprintf("lease %s is held by %s until %s", e.Lease, e.Holder, e.Until.UTC().Format(time.RFC3339))
}

func (r Release) validate() *Failure {
	if errs := validation.IsDNS1123Label(r.Namespace); len(errs) > 0 {
		return fail(ReasonReleaseInvalid, "The namespace %q is not a name Kubernetes accepts: use lower case letters, digits and hyphens, at most 63.", clip(r.Namespace, 80))
	}
	if err := chartutil.ValidateReleaseName(r.Name); err != nil {
		return fail(ReasonReleaseInvalid, "The release name %q is not a name Helm accepts: use lower case letters, digits and hyphens, at most 53.", clip(r.Name, 80))
	}
	return nil
}

func (r Release) timeout() time.Duration {
	if r.Timeout <= 0 {
		return DefaultTimeout
	}
	return r.Timeout
}

func fail(reason Reason, format string, args ...any) *Failure {
	return &Failure{Reason: reason, Sentence: fmt.Sprintf(format, args...)}
}
