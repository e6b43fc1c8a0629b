package rollout

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ci/slipway/deploy"
	"github.com/slipway-ci/slipway/jobs"
)

// back takes every release of the steps back by Helm's history, and stops at the first that fails. The commit's files
// play no part in it, and neither does whether the commit is the newest: this is how somebody goes back in time.
func (k *kind) back(ctx context.Context, task jobs.Task, steps []step, to jobs.RollbackSpec) (jobs.Result, error) {
	var all []done
	for _, s := range steps {
		fmt.Fprintf(task.Log, "taking %s/%s back in %s (%s)\n", s.release.Namespace, s.release.Name, s.environment, s.cluster)
		outcome, err := k.Clusters[s.cluster].Rollback(ctx, deploy.Rollback{
			Namespace: s.release.Namespace, Name: s.release.Name, Revision: to.Revision, Owner: s.release.Owner, Timeout: s.release.Timeout,
		}, task.Log)
		if err != nil {
			return jobs.Result{}, k.trouble(err)
		}
		all = append(all, done{s, outcome})
		if failed(task, outcome) {
			break
		}
	}
	return sumBack(all, task.Run.Branch), nil
}

// sumBack turns what was taken back into a result. The last step is the one that failed, if any did.
func sumBack(all []done, branch string) jobs.Result {
	last := all[len(all)-1]
	result := jobs.Result{Conclusion: jobs.Success, Details: detailsBack(all, branch)}
	if last.outcome.Failure != nil {
		return fault(result, last.outcome)
	}
	var told []string
	for _, d := range all {
		told = append(told, wentBack(d, clustersOf(all, d.environment)))
	}
	result.Summary = strings.Join(told, "; ")
	result.Outputs = outputs(last)
	result.Outputs["rolled_back_to"] = int64(last.outcome.RolledBackTo)
	return result
}

// wentBack says what became of one release: "staging: shop/api went back from revision 7 to 5 (image sha256:…)".
func wentBack(d done, clusters int) string {
	where := d.environment
	if clusters > 1 {
		where += " (" + d.cluster + ")"
	}
	text := fmt.Sprintf("%s: %s/%s went back from revision %d to %d", where, d.release.Namespace, d.release.Name,
		d.outcome.RolledBackFrom, d.outcome.RolledBackTo)
	switch running := digests(d.outcome); {
	case d.outcome.Overtaken:
		text += ", and was rolled out again since"
	case len(running) == 1:
		text += fmt.Sprintf(" (image %s)", running[0])
	case len(running) > 1:
		text += fmt.Sprintf(" (images %s and %d more)", running[0], len(running)-1)
	}
	return text
}

// detailsBack is the Markdown below the sentence: a row for each release, what could be named instead, and what runs.
func detailsBack(all []done, branch string) string {
	var b strings.Builder
	b.WriteString("| release | environment | cluster | from | back to | new revision | status | took |\n|---|---|---|---|---|---|---|---|\n")
	changed := false
	for _, d := range all {
		o := d.outcome
		status := string(o.Status)
		if o.Adopted {
			status += " (by an earlier try)"
		}
		fmt.Fprintf(&b, "| %s/%s | %s | %s | %s | %s | %s | %s | %s |\n", d.release.Namespace, d.release.Name, d.environment, d.cluster,
			number(o.RolledBackFrom), number(o.RolledBackTo), number(o.Revision), status, jobs.Duration(o.Took.Round(100*time.Millisecond)))
		changed = changed || o.Status != deploy.StatusUnchanged
	}
	if changed {
		fmt.Fprintf(&b, "\nThe next push to %s that is rolled out there goes forward again: revert what was wrong before it.\n", branch)
	}
	for _, d := range all {
		if d.outcome.Failure != nil {
			b.WriteString(revisions(d.outcome.Failure.Revisions))
		}
		b.WriteString(running(d))
	}
	return b.String()
}

// number writes a revision; there is none 0.
func number(revision int) string {
	if revision == 0 {
		return ""
	}
	return fmt.Sprint(revision)
}

// revisions lists what a release could go back to, and what not.
func revisions(list []deploy.Revision) string {
	if len(list) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("\n| revision | deployed | chart | app | status | can be named |\n|---|---|---|---|---|---|\n")
	for _, r := range list {
		yes := ""
		if r.CanRunAgain {
			yes = "yes"
		}
		fmt.Fprintf(&b, "| %d | %s | %s | %s | %s | %s |\n", r.Number, r.Deployed.UTC().Format("2006-01-02 15:04 MST"),
			cell(r.Chart), cell(r.AppVersion), r.Status, yes)
	}
	return b.String()
}

// cell keeps a word that a chart chose inside of its cell.
func cell(s string) string {
	if s == "" {
		return ""
	}
	return "`" + strings.NewReplacer("`", "'", "|", "¦").Replace(s) + "`"
}

// digests lists what runs by digest, each once; by name where the node does not tell the digest.
func digests(o deploy.Outcome) []string {
	var list []string
	for _, i := range o.Images {
		name := i.Digest
		if name == "" {
			name = i.Image
		}
		if !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	return list
}

// clustersOf counts the clusters of an environment.
func clustersOf(all []done, environment string) int {
	seen := map[string]bool{}
	for _, d := range all {
		if d.environment == environment {
			seen[d.cluster] = true
		}
	}
	return len(seen)
}
