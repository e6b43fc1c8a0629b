package githubapp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/go-github/v50/github"

	"github.com/slipway-ci/slipway/jobs"
)

// ErrDenied means that the App was not granted a permission it needs. Trying again helps once someone grants it.
var ErrDenied = errors.New("the App lacks a permission")

// Unavailable means that GitHub did not answer, or only with a server error. Whether a write took effect is not known.
type Unavailable struct {
	Operation string        // GitHub's name of the operation, such as checks/create
	Status    int           // HTTP status; 0 when there was no answer
	After     time.Duration // a sensible wait before the next try; grows while the trouble lasts
	Cause     error
}

func (u *Unavailable) Error() string {
	if u.Status != 0 {
		return fmt.Sprintf("GitHub is unavailable: %s answered %d %s", u.Operation, u.Status, http.StatusText(u.Status))
	}
	return fmt.Sprintf("GitHub is unavailable: %s: %v", u.Operation, u.Cause)
}

func (u *Unavailable) Unwrap() error { return u.Cause }

// A refused error is an answer of GitHub's with a status of 4xx, without the request that led to it.
type refused struct {
	status  int
	message string
}

func (r *refused) Error() string {
	return fmt.Sprintf("GitHub answered %d %s: %s", r.status, http.StatusText(r.status), r.message)
}

// gone says why nothing can be asked there any more, as far as the answer tells; "" otherwise.
func (r *refused) gone() string {
	message := strings.ToLower(r.message)
	forbidden := r.status == http.StatusForbidden
	switch {
	case r.status == http.StatusGone, r.status == http.StatusUnavailableForLegalReasons:
		return "GitHub no longer has it: " + r.message
	case forbidden && strings.Contains(message, "archived"):
		return "the repository is archived"
	case forbidden && strings.Contains(message, "suspended"):
		return "the App's installation is suspended"
	}
	return ""
}

// Is makes a 403 without another reason an ErrDenied: "Resource not accessible by integration".
func (r *refused) Is(target error) bool {
	return target == ErrDenied && r.status == http.StatusForbidden
}

// explain says what was attempted and keeps of err what is safe to keep. go-github's errors hold the request with its
// Authorization header, and URLs may hold tokens of their own, so none of them is wrapped.
func explain(ctx context.Context, attempt string, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", attempt, ctx.Err())
	}
	return fmt.Errorf("%s: %w", attempt, bare(err))
}

// bare is err without what may hold secrets.
func bare(err error) error {
	var (
		later *jobs.Later
		down  *Unavailable
		gone  *jobs.Gone
		no    *refused
		said  *github.ErrorResponse
		at    *url.Error
	)
	switch {
	case errors.As(err, &later):
		return later
	case errors.As(err, &down):
		return down
	case errors.As(err, &no), errors.As(err, &gone):
		if errors.As(err, &at) { // comes out of our own RoundTripper: what is inside is ours
			return at.Err
		}
		return err
	case errors.As(err, &said):
		message := said.Message
		for _, one := range said.Errors {
			message = strings.TrimSpace(message + " " + strings.TrimSpace(strings.Join([]string{one.Resource, one.Field, one.Code, one.Message}, " ")))
		}
		status := 0
		if said.Response != nil {
			status = said.Response.StatusCode
		}
		no = &refused{status, jobs.Cut(message, 500)}
		if reason := no.gone(); reason != "" {
			return &jobs.Gone{Reason: reason}
		}
		return no
	case errors.As(err, &at):
		return fmt.Errorf("%s: %w", strings.ToLower(at.Op), bare(at.Err))
	}
	return err
}

// status is the HTTP status of GitHub's refusal, or 0.
func status(err error) int {
	var no *refused
	if errors.As(err, &no) {
		return no.status
	}
	return 0
}

// invalid reports whether GitHub found something wrong with what a request said.
func invalid(err error) bool {
	return status(err) == http.StatusUnprocessableEntity && !errors.Is(err, ErrDenied)
}

// mentionsPermission tells a token request refused for a permission from one refused for a repository: GitHub answers both with 422.
func mentionsPermission(err error) bool {
	var no *refused
	return errors.As(err, &no) && strings.Contains(strings.ToLower(no.message), "permission")
}

// wrap says what was attempted, of an error if there is one.
func wrap(attempt string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", attempt, err)
}

// refusal is what GitHub said when it refused.
func refusal(err error) string {
	var no *refused
	if errors.As(err, &no) {
		return no.message
	}
	return err.Error()
}

// renamed is the error for a name that belongs to another repository now, with the given ID.
func renamed(repo jobs.Repository, now int64) error {
	return &jobs.Gone{Reason: fmt.Sprintf("the name %s belongs to another repository now, with ID %d", repo.FullName(), now)}
}

// gone turns a 404 to a question about something that was there into a *jobs.Gone.
func gone(err error, what string, repo jobs.Repository) error {
	if status(err) != http.StatusNotFound {
		return err
	}
	if what != "" {
		what += " of "
	}
	return &jobs.Gone{Reason: what + repo.FullName() + " is gone, or the App no longer reaches it"}
}

// permanentRefusal reports whether GitHub would give the same answer again. A missing permission may be granted.
func permanentRefusal(err error) bool {
	var (
		gone  *jobs.Gone
		never *jobs.Unreportable
	)
	return errors.As(err, &gone) || errors.As(err, &never) || status(err) != 0 && !errors.Is(err, ErrDenied)
}

// permanentForWorkflows makes what is missing, or not permitted, final for questions that jobs ask about workflows.
func permanentForWorkflows(err error, repo jobs.Repository) error {
	return permanentForJobs(err, "look at workflows of "+repo.FullName(), actionsPermission)
}

// permanentForJobs makes a *jobs.Refusal of a missing permission and of what is gone. Other errors stay what they are. doing is to
// go on from "Slipway may not …".
func permanentForJobs(err error, doing, permission string) error {
	var gone *jobs.Gone
	switch {
	case errors.As(err, &gone):
		return &jobs.Refusal{Sentence: fmt.Sprintf("It is not possible to %s: %s.", doing, strings.TrimSuffix(gone.Reason, ".")), Cause: err}
	case errors.Is(err, ErrDenied):
		return &jobs.Refusal{Cause: err, Sentence: fmt.Sprintf("Slipway may not %s: whoever runs it must give the App the repository permission %s, "+
			"and the repository's owner must accept that.", doing, permission)}
	}
	return err
}

// permanentDispatch makes a *jobs.Refusal of what GitHub would answer again, with its reason. Other errors stay what they are.
func permanentDispatch(err error, doing, permission string) error {
	var no *refused
	if !errors.As(err, &no) || no.status == http.StatusForbidden && strings.Contains(no.message, "not accessible") {
		return permanentForJobs(err, doing, permission)
	}
	if no.status/100 != 4 || no.status == http.StatusUnauthorized {
		return err
	}
	return &jobs.Refusal{Sentence: fmt.Sprintf("GitHub refused to %s: %s.", doing, strings.TrimSuffix(no.message, ".")), Cause: err}
}

// permanentReply makes a *jobs.Unreportable of what GitHub refuses for good when a comment is answered.
func permanentReply(err error) error {
	var (
		gone  *jobs.Gone
		never *jobs.Unreportable
	)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &never):
		return never
	case errors.As(err, &gone):
		return &jobs.Unreportable{Reason: gone.Reason}
	case status(err) == http.StatusNotFound:
		return &jobs.Unreportable{Reason: "the comment, or what it was on, is gone"}
	case status(err) == http.StatusForbidden && strings.Contains(strings.ToLower(refusal(err)), "locked"):
		return &jobs.Unreportable{Reason: "the conversation is locked"}
	case errors.Is(err, ErrDenied):
		return &jobs.Unreportable{Reason: "the App may not comment there; it needs the permission Pull requests: write (" + refusal(err) + ")"}
	case invalid(err):
		return &jobs.Unreportable{Reason: "GitHub refused it: " + refusal(err)}
	}
	return err
}
