package githubapp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

var _ jobs.Replier = (*App)(nil)

// React adds a reaction of ours to the comment; one that is there already is fine. When GitHub never will take it, as for a
// deleted comment, the error is a *jobs.Unreportable.
//
// Reactions on a commit's comment take the right to write files, which Slipway asks nobody for. Without it there is none: the
// answer says all.
func (a *App) React(ctx context.Context, reply jobs.Reply, reaction string) error {
	attempt := "react to a comment on " + reply.Repository.FullName()
	c, err := a.client(reply.Installation, reply.Repository)
	if err != nil {
		return fmt.Errorf("%s: %w", attempt, err)
	}
	owner, name, id := reply.Repository.Owner, reply.Repository.Name, reply.Comment.ID
	if reply.Comment.Number == 0 {
		_, _, err = c.Reactions.CreateCommentReaction(operation(ctx, "reactions/create-for-commit-comment"), owner, name, id, reaction)
	} else {
		_, _, err = c.Reactions.CreateIssueCommentReaction(operation(ctx, "reactions/create-for-issue-comment"), owner, name, id, reaction)
	}
	if err == nil {
		return nil
	}
	err = explain(ctx, attempt, err)
	if reply.Comment.Number == 0 && errors.Is(err, ErrDenied) {
		a.log.DebugContext(ctx, "no reaction on a commit's comment", "repository", reply.Repository.FullName(), "error", err)
		return nil
	}
	if status(err) == http.StatusNotFound {
		if gone := a.reachable(ctx, c, reply.Repository); gone != nil {
			return permanentReply(wrap(attempt, gone))
		}
	}
	return permanentReply(err)
}

// Answer posts the reply's text as a comment of ours and returns its ID: on the pull request, or on the commit when the comment
// is there. When reply.Asked is set, an earlier call may have posted it: it is looked for first. When GitHub may not list it yet,
// or wants no calls now, the error holds a *jobs.Later; when GitHub never will take it, a *jobs.Unreportable.
func (a *App) Answer(ctx context.Context, reply jobs.Reply) (int64, error) {
	t := thread{reply.Installation, reply.Repository, reply.Comment.Number, reply.Comment.SHA}
	if t.number == 0 && !ValidSHA(t.sha) {
		return 0, &jobs.Unreportable{Reason: "the comment is on no commit"}
	}
	mark := marker("reply", jobs.ReplyKey(reply.Comment))
	if !reply.Asked.IsZero() {
		// By GitHub's clock, as that of what was changed since: an answer is not older than what it answers, but for a clock
		// that was set back.
		id, err := a.findComment(ctx, t, mark, reply.Comment.Created.Add(-time.Minute))
		if id != 0 || err != nil {
			return id, permanentReply(err)
		}
		if a.now().Before(reply.Asked.Add(settle)) {
			// The whole time from now, since the caller notes this call, too, as one that may have posted it.
			return 0, &jobs.Later{After: settle, Reason: "GitHub may not list our answer yet"}
		}
	}
	id, err := a.sendComment(ctx, t, 0, signed(reply.Text, mark))
	return id, permanentReply(err)
}
