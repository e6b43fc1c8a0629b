package deploy

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"strconv"
	"strings"

	release "helm.sh/helm/v4/pkg/release/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// Labels on the Secret in which Helm records a revision.
const (
	labelPrefix       = "slipway-ci.github.io/"
	labelRepositoryID = labelPrefix + "repository-id"
	labelRepository   = labelPrefix + "repository" // for people: the ID is what is compared
	labelRun          = labelPrefix + "run"
	labelJob          = labelPrefix + "job"
	labelAttempt      = labelPrefix + "attempt"
	labelSHA          = labelPrefix + "sha"
	// The number of the revision. Helm copies labels into the next revision, also when somebody
	// upgrades by hand: only where this is the revision's own number did Slipway record it.
	labelRevision = labelPrefix + "revision"
	// The number of a revision that Rollback recorded. Where it is another number, Helm copied it; a failed
	// rollout that is rolled back by itself does not set it.
	labelRollback = labelPrefix + "rollback"
)

func (o Owner) labels() map[string]string {
	return map[string]string{
		managedBy:         "slipway",
		labelRepositoryID: strconv.FormatInt(o.RepositoryID, 10),
		labelRepository:   labelName(o.Repository),
		labelRun:          labelValue(o.Run),
		labelJob:          labelValue(o.Job),
		labelAttempt:      strconv.Itoa(o.Attempt),
		labelSHA:          labelValue(o.SHA),
	}
}

// labelValue makes any text a label value: as it is when Kubernetes accepts it, else a hash.
func labelValue(s string) string {
	if len(validation.IsValidLabelValue(s)) == 0 {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	return "sha256-" + hex.EncodeToString(sum[:16])
}

// labelName is a repository's full name as a label that people recognise: "acme_shop".
func labelName(repository string) string {
	return labelValue(strings.ReplaceAll(repository, "/", "_"))
}

// stamp labels a revision, before it is recorded, as ours and as the repository's. One made
// by a rollback keeps, as Helm copied them, the labels of the work that it makes run again.
func (o Owner) stamp(rel *release.Release) {
	labels := maps.Clone(rel.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	if rel.Info.RollbackRevision == 0 {
		maps.Copy(labels, o.labels())
	} else {
		labels[managedBy] = "slipway"
		labels[labelRepositoryID] = strconv.FormatInt(o.RepositoryID, 10)
		labels[labelRepository] = labelName(o.Repository)
	}
	labels[labelRevision] = strconv.Itoa(rel.Version)
	rel.Labels = labels
}

// stampRollback labels a revision as recorded by a Rollback for this work. The commit stays that of what runs again.
func (o Owner) stampRollback(rel *release.Release) {
	o.stamp(rel)
	own := o.labels()
	for _, key := range []string{labelRun, labelJob, labelAttempt} {
		rel.Labels[key] = own[key]
	}
	rel.Labels[labelRollback] = rel.Labels[labelRevision]
}

// requestedRollback says whether a Rollback for this attempt of this work recorded the revision.
func (o Owner) requestedRollback(rel *release.Release) bool {
	return o.sameWork(rel) && rel.Labels[labelRollback] == strconv.Itoa(rel.Version) && rel.Labels[labelAttempt] == strconv.Itoa(o.Attempt)
}

// stamped says whether Slipway recorded this revision, not somebody with Helm by hand.
func stamped(rel *release.Release) bool {
	return rel.Labels[labelRevision] == strconv.Itoa(rel.Version)
}

// sameWork says whether the revision was recorded for this run and job.
func (o Owner) sameWork(rel *release.Release) bool {
	return stamped(rel) && rel.Labels[labelRun] == labelValue(o.Run) && rel.Labels[labelJob] == labelValue(o.Job) &&
		rel.Labels[labelRepositoryID] == strconv.FormatInt(o.RepositoryID, 10)
}
