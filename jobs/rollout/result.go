package rollout

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ci/slipway/deploy"
	"github.com/slipway-ci/slipway/jobs"
)

// maxImages bounds the output that lists what runs, in bytes; Details lists more.
const maxImages = 1000

// maxNotes bounds the notes of a release that are shown, in bytes.
const maxNotes = 2000

// sum turns what was done into a result. The last step is the one that failed, if any did.
func sum(all []done) jobs.Result {
	last := all[len(all)-1]
	result := jobs.Result{Conclusion: jobs.Success, Details: details(all)}
	if last.outcome.Failure != nil {
		result = fault(result, last.outcome)
		if before := reached(all[:len(all)-1], last.environment); len(before) > 0 {
			result.Outputs = map[string]any{OutputEnvironments: strings.Join(before, ",")}
		}
		return result
	}
	var names []string
	for _, d := range all {
		names = append(names, fmt.Sprintf("%s/%s revision %d to %s", d.release.Namespace, d.release.Name, d.outcome.Revision, d.environment))
	}
	result.Summary = "rolled out " + strings.Join(names, ", ")
	result.Outputs = outputs(last)
	return result
}

// OutputEnvironments is an output of a job that failed: the environments that it rolled out to before, separated by commas.
const OutputEnvironments = "environments"

// reached are the environments of steps that were carried out, but for the one that failed.
func reached(all []done, failed string) []string {
	var names []string
	for _, d := range all {
		if d.environment != failed && !slices.Contains(names, d.environment) {
			names = append(names, d.environment)
		}
	}
	return names
}

// fault completes the result of a job that failed.
func fault(result jobs.Result, outcome deploy.Outcome) jobs.Result {
	f := outcome.Failure
	result.Conclusion, result.Tail = jobs.Failure, f.LogTail
	result.Summary = f.Sentence // also says what became of the release
	if outcome.Status == deploy.StatusUnchanged {
		result.Summary = strings.TrimSuffix(f.Sentence, ".") + "; nothing was changed."
	}
	result.Cause = fmt.Sprintf("%s %s", f.Reason, f.Object)
	return result
}

func outputs(last done) map[string]any {
	return map[string]any{
		"revision":  int64(last.outcome.Revision),
		"status":    string(last.outcome.Status),
		"namespace": last.release.Namespace,
		"release":   last.release.Name,
		"images":    jobs.Cut(strings.Join(images(last.outcome), ","), maxImages),
	}
}

// stale is the result when the commit is no longer the newest. What was rolled out before that was seen stays.
func stale(all []done, why string) jobs.Result {
	r := jobs.Result{Conclusion: jobs.Skipped, Summary: "not rolled out: " + why}
	if len(all) > 0 {
		r.Details = details(all)
	}
	return r
}

// details is the Markdown below the sentence: a row for each release, its notes, and what runs.
func details(all []done) string {
	var b strings.Builder
	b.WriteString("| release | environment | cluster | revision | status | took |\n|---|---|---|---|---|---|\n")
	for _, d := range all {
		status := string(d.outcome.Status)
		if d.outcome.Adopted {
			status += " (by an earlier try)"
		}
		fmt.Fprintf(&b, "| %s/%s | %s | %s | %d | %s | %s |\n", d.release.Namespace, d.release.Name, d.environment, d.cluster,
			d.outcome.Revision, status, jobs.Duration(d.outcome.Took.Round(100*time.Millisecond)))
	}
	for _, d := range all {
		b.WriteString(running(d))
		if notes := strings.TrimSpace(d.outcome.Notes); notes != "" && d.outcome.Failure == nil {
			// Indented, the notes are shown as they are, whatever they hold.
			fmt.Fprintf(&b, "\nNotes of %s:\n\n    %s\n", d.release.Name, strings.ReplaceAll(jobs.Cut(notes, maxNotes), "\n", "\n    "))
		}
	}
	return b.String()
}

// running lists what a release runs.
func running(d done) string {
	var b strings.Builder
	for i, image := range images(d.outcome) {
		if i == 0 {
			fmt.Fprintf(&b, "\nRunning in %s/%s:\n\n", d.release.Namespace, d.release.Name)
		}
		fmt.Fprintf(&b, "- `%s`\n", image)
	}
	return b.String()
}

// images lists what runs, each once.
func images(o deploy.Outcome) []string {
	var list []string
	seen := map[string]bool{}
	for _, i := range o.Images {
		name := i.Image
		if i.Digest != "" && !strings.Contains(name, "@") {
			name += "@" + i.Digest
		}
		if !seen[name] {
			seen[name] = true
			list = append(list, name)
		}
	}
	return list
}
