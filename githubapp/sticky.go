package githubapp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

const (
	maxNotes    = 40      // things one comment says
	maxNoteText = 4 << 10 // bytes of one of them
	maxFaults   = 10      // faults that a comment lists; the check lists them all
	// sinceMargin is how far GitHub's clock may be behind ours when we look for a comment made since a time of ours.
	sinceMargin = 10 * time.Minute
)

// Keys of notes. Those of images and rollouts are followed by a blank and what they are about.
const (
	noteHead    = "head"    // what holds the newest commit up; its text is empty when nothing does
	noteImage   = "image"   // built from the newest commit
	noteRollout = "rollout" // what the pull request put into an environment
)

// notesOf is what a run adds to its pull request's comment. It is pure. The check says where everything stands; the comment says
// what somebody has to do something about, and what there is now that was not there before.
func notesOf(run jobs.Run, environmentURL func(jobs.RunInfo, string) string) []jobs.ReportNote {
	note := func(key, text string, at time.Time) jobs.ReportNote {
		return jobs.ReportNote{Key: key, Text: cutMarkdown(text, maxNoteText, "_…_"), SHA: run.SHA, Time: at}
	}
	var notes []jobs.ReportNote
	if run.Asked == nil { // what a person asked for does not change what the commit itself waits for
		notes = append(notes, note(noteHead, headText(run), run.Created))
	}
	if run.Trust.Level != jobs.Trusted {
		return notes
	}
	left := 0
	for _, j := range run.Jobs {
		if j.State != jobs.JobSucceeded || j.Reused {
			continue
		}
		if len(notes) >= maxNotes-1 {
			left++
			continue
		}
		if j.Kind == jobs.KindBuild && output(j, "image") != "" && output(j, "digest") != "" {
			notes = append(notes, note(noteImage+" "+j.Name, imageRow(j), j.Finished))
		}
		to := deployTargetOf(j)
		for i, environment := range to.environments {
			address := ""
			if environmentURL != nil {
				address = environmentURL(run.RunInfo, environment)
			}
			last := i == len(to.environments)-1
			notes = append(notes, note(noteRollout+" "+environment+" "+j.Name, rolloutRow(run, j, environment, address, last), j.Finished))
		}
	}
	if left > 0 {
		notes = append(notes, note(noteImage+" ~", fmt.Sprintf("| and what %s made; the checks tell | | |", plural(left, "more job")), run.Finished))
	}
	return notes
}

// headText is what a writer should know about the newest commit; "" when nothing needs anybody.
func headText(run jobs.Run) string {
	var b strings.Builder
	at := code(jobs.Abbreviate(run.SHA), false)
	waits, checks := asksFor(run)
	switch {
	case run.State == jobs.RunHeld:
		fmt.Fprintf(&b, "✋ **%s is held:** %s.\n\nSomeone with write permission can look at the changes and let exactly this commit be built, without secrets: "+
			"press **Approve** at the check `%s`, or write this line as a comment:\n\n%s", at, sentence(run.Reason), CheckName, fence([]string{"/ok-to-test " + run.SHA}))
	case run.State == jobs.RunWaits:
		fmt.Fprintf(&b, "✋ **%s: %s.**\n\nSomeone who may approve can press **Approve** at the check `%s`, or write as a comment:\n\n", at, sentence(waitsTitle(run)), CheckName)
		b.WriteString(fence(approveLines(awaited(run.Jobs))))
	case len(waits) > 0:
		fmt.Fprintf(&b, "✋ **%s waits for approval of %s.**\n\nSomeone who may approve can press **Approve** at the check %s, or write as a comment:\n\n",
			at, inline(strings.Join(waits, ", ")), strings.Join(checks, " or "))
		b.WriteString(fence(approveLines(waits)))
	case len(run.Faults) > 0:
		fmt.Fprintf(&b, "❌ **The pipeline of %s has %s:**\n\n", at, plural(len(run.Faults), "fault"))
		for i, f := range run.Faults {
			if i == maxFaults {
				fmt.Fprintf(&b, "- and %d more\n", len(run.Faults)-i)
				break
			}
			writeFault(&b, f)
		}
	}
	return b.String()
}

func imageRow(j jobs.Job) string {
	digest := output(j, "digest")
	if algorithm, hex, ok := strings.Cut(digest, ":"); ok {
		digest = algorithm + ":" + jobs.Cut(hex, 15)
	}
	tags := strings.ReplaceAll(output(j, "tags"), ",", ", ")
	if tags == "" {
		tags = "none"
	}
	return fmt.Sprintf("| %s | %s | %s |", code(output(j, "image"), true), inline(tags), code(digest, true))
}

func rolloutRow(run jobs.Run, j jobs.Job, environment, address string, last bool) string {
	release, revision := output(j, "release"), ""
	if namespace := output(j, "namespace"); namespace != "" && release != "" {
		release = namespace + "/" + release
	}
	if last { // a job tells the revision of the last environment only
		revision = output(j, "revision")
	}
	name := inline(environment)
	if isWeb(address) {
		name = linked(name, address)
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %s |", name, inline(release), inline(revision), code(jobs.Abbreviate(run.SHA), true), linked(inline(j.Name), jobURL(run, j.Name)))
}

// output is one of a job's outputs as text, or "".
func output(j jobs.Job, name string) string {
	if value, ok := j.Outputs[name]; ok {
		return jobs.Cut(valueText(value), 300)
	}
	return ""
}

// merge brings what a run adds into what a comment says. Order of arrival decides nothing: the newest run has the word about
// what holds the pull request up, images are those of its commit, and each rollout is the latest into its environment.
func merge(notes, fresh []jobs.ReportNote) []jobs.ReportNote {
	merged := slices.Clone(notes)
	for _, n := range fresh {
		i := slices.IndexFunc(merged, func(old jobs.ReportNote) bool { return old.Key == n.Key })
		switch {
		case i < 0:
			merged = append(merged, n)
		case !n.Time.Before(merged[i].Time):
			merged[i] = n
		}
	}
	head := slices.IndexFunc(merged, func(n jobs.ReportNote) bool { return n.Key == noteHead })
	merged = slices.DeleteFunc(merged, func(n jobs.ReportNote) bool {
		return head >= 0 && strings.HasPrefix(n.Key, noteImage+" ") && n.SHA != merged[head].SHA
	})
	slices.SortFunc(merged, func(a, b jobs.ReportNote) int { return strings.Compare(a.Key, b.Key) })
	for len(merged) > maxNotes { // the oldest rollouts go first
		oldest := 0
		for i, n := range merged {
			if n.Key != noteHead && (merged[oldest].Key == noteHead || n.Time.Before(merged[oldest].Time)) {
				oldest = i
			}
		}
		merged = slices.Delete(merged, oldest, oldest+1)
	}
	return merged
}

// render is the comment's Markdown; something tells whether it says anything that is worth a comment.
func render(notes []jobs.ReportNote) (text string, something bool) {
	var head, images, rollouts []string
	sha := ""
	for _, n := range notes {
		switch {
		case n.Key == noteHead:
			sha = n.SHA
			if n.Text != "" {
				head = append(head, strings.TrimRight(n.Text, "\n"))
			}
		case strings.HasPrefix(n.Key, noteImage+" "):
			sha = n.SHA
			images = append(images, n.Text)
		default:
			rollouts = append(rollouts, n.Text)
		}
	}
	parts := head
	if len(images) > 0 {
		parts = append(parts, fmt.Sprintf("**Images of %s**\n\n| Image | Tags | Digest |\n|---|---|---|\n%s", code(jobs.Abbreviate(sha), false), strings.Join(images, "\n")))
	}
	if len(rollouts) > 0 {
		parts = append(parts, "**Rolled out**\n\n| Environment | Release | Revision | Commit | Job |\n|---|---|---|---|---|\n"+strings.Join(rollouts, "\n"))
	}
	if len(parts) == 0 {
		return fmt.Sprintf("Nothing about %s needs anybody; the checks say where it stands.", code(jobs.Abbreviate(sha), false)), false
	}
	return strings.Join(parts, "\n\n"), true
}

// commentKey is the key of the record of a pull request's comment.
func commentKey(run jobs.RunInfo) string {
	return fmt.Sprintf("pull-%d-%d", run.Repository.ID, run.PullRequest)
}

// showComment keeps the one comment on the run's pull request up to date. There is none until there is something to say; when
// somebody deletes it, there is none again until there is something new.
func (r *Reporter) showComment(ctx context.Context, run jobs.Run) (time.Duration, error) {
	if run.PullRequest == 0 || r.denied(run.RunInfo, "comments") {
		return 0, nil
	}
	wait, err := r.sayComment(ctx, run)
	if err != nil {
		return r.beside(ctx, run.RunInfo, "comments", "Pull requests: write", err)
	}
	return wait, nil
}

func (r *Reporter) sayComment(ctx context.Context, run jobs.Run) (wait time.Duration, err error) {
	fresh := notesOf(run, r.environmentURL)
	key := commentKey(run.RunInfo)
	if _, _, err := r.reports.Get(ctx, key); errors.Is(err, jobs.ErrNotFound) {
		waits, _ := asksFor(run)
		if _, something := render(fresh); !something || !run.State.Over() && len(waits) == 0 {
			return 0, nil
		}
	}
	what := fmt.Sprintf("%s#%d", run.Repository.FullName(), run.PullRequest)
	e, err := r.readStored(ctx, key, jobs.ReportRecord{Run: run.ID, Kind: jobs.ReportComment, Check: what, ExternalID: key})
	if err != nil {
		return 0, err
	}
	if !run.State.Over() { // what an earlier run waited for is settled once a newer one is at work; all else can wait for the end
		fresh = slices.DeleteFunc(fresh, func(n jobs.ReportNote) bool { return n.Key != noteHead })
	}
	notes := merge(e.record.Notes, fresh)
	text, something := render(notes)
	say := digest(text)
	if e.record.Hash == say || e.record.GitHubID == 0 && !something && e.record.Asked.IsZero() {
		if digest(notes) == digest(e.record.Notes) {
			return 0, nil
		}
		e.record.Run, e.record.Notes = run.ID, notes
		return 0, e.store(ctx)
	}
	wants := demand{priority: priorityAside, write: true, content: true, reads: 1, subject: key}
	if later := r.app.heldBack(run.RunInfo, wants); later != nil { // before anything is looked for or noted
		return later.After, nil
	}
	ctx = urgency(ctx, wants.priority, wants.subject)
	mark := marker("pull-request", key)
	body := signed(text, mark)
	t := thread{run.Installation, run.Repository, run.PullRequest, ""}
	e.record.Run, e.record.Notes = run.ID, notes
	if e.record.GitHubID != 0 {
		_, err = r.app.sendComment(ctx, t, e.record.GitHubID, body)
		if status(err) == http.StatusNotFound || status(err) == http.StatusGone {
			r.log.InfoContext(ctx, "somebody deleted our comment", "pull", what)
			e.record.GitHubID, e.record.Said, err = 0, r.now(), nil
		}
	}
	if err == nil && e.record.GitHubID == 0 && something {
		wait, err = r.createComment(ctx, t, e, mark, body)
	}
	if wait > 0 || err != nil && !permanentRefusal(err) {
		return wait, err
	}
	e.record.Hash = say
	if !errors.Is(err, errTooManyComments) { // else it is to be looked for again before anything new is said
		e.record.Said, e.record.Asked = r.now(), time.Time{}
	}
	return 0, errors.Join(err, e.store(ctx))
}

// createComment makes the comment exist, once. It is looked for first when an earlier call may have made it, and when nothing is
// known about this pull request: the records may be younger than the comment.
func (r *Reporter) createComment(ctx context.Context, t thread, e *storedReport, mark, body string) (wait time.Duration, err error) {
	if asked := e.record.Asked; !asked.IsZero() || e.record.Said.IsZero() {
		var since time.Time
		if !asked.IsZero() {
			since = asked.Add(-sinceMargin)
		}
		id, err := r.app.findComment(ctx, t, mark, since)
		if err != nil {
			return 0, err
		}
		if id != 0 {
			e.record.GitHubID = id
			if err := e.store(ctx); err != nil {
				return 0, err
			}
			_, err = r.app.sendComment(ctx, t, id, body)
			return 0, err
		}
		if wait := asked.Add(settle).Sub(r.now()); wait > 0 && !asked.IsZero() {
			return wait, nil
		}
	}
	e.record.Asked = r.now()
	if err := e.store(ctx); err != nil {
		return 0, err
	}
	if e.record.GitHubID, err = r.app.sendComment(ctx, t, 0, body); err != nil {
		return 0, e.clearAsked(ctx, err)
	}
	return 0, nil
}
