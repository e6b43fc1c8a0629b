package jobs

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Reactions on a comment with commands, by GitHub's names.
const (
	ReactionSeen    = "eyes"     // accepted
	ReactionDone    = "rocket"   // done
	ReactionRefused = "confused" // refused, or it failed
)

// A Reply is what the writer of a comment with commands is shown: a reaction on the comment, and one answer for all of its
// commands. It is made from the stored decisions, and GitHub is made to show it (invariant 3).
type Reply struct {
	Installation int64      `json:"installation"`
	Repository   Repository `json:"repository"`
	Comment      Comment    `json:"comment"`
	Text         string     `json:"text,omitempty"` // Markdown; "" when the reaction says it all
	Refused      bool       `json:"refused,omitempty"`
	Awaits       []Await    `json:"awaits,omitempty"` // runs that must be over before it is done
	Created      time.Time  `json:"created"`

	// What GitHub shows.
	Seen     bool      `json:"seen,omitempty"`     // the reaction that it was accepted
	Asked    time.Time `json:"asked,omitzero"`     // when the answer was last sent without a known result
	Answered int64     `json:"answered,omitempty"` // ID of our comment
	Final    string    `json:"final,omitempty"`    // reaction shown at the end; set when nothing is left to do
	Unshown  string    `json:"unshown,omitempty"`  // why it can't be shown
}

// over reports whether nothing is left to show.
func (r Reply) over() bool { return r.Final != "" || r.Unshown != "" }

// awaitAgain is when runs that a reply awaits are looked at again.
const awaitAgain = 2 * time.Second

// An Await is a run that somebody waits for.
type Await struct {
	Run string `json:"run"`
	End bool   `json:"end,omitempty"` // any end is good, as for a run that was to be cancelled
}

// ReplyKey is the key of the Reply to a comment.
func ReplyKey(c Comment) string {
	if c.Number == 0 {
		return fmt.Sprintf("commit-comment-%d", c.ID)
	}
	return fmt.Sprintf("comment-%d", c.ID)
}

// A Replier shows replies on GitHub.
type Replier interface {
	// React adds a reaction to the comment; one that is there is fine.
	React(ctx context.Context, reply Reply, reaction string) error
	// Answer posts the reply's text as a comment of ours and returns its ID. When reply.Asked is set, an earlier call may
	// have posted it: it is looked for first. A *Later says when to try again.
	Answer(ctx context.Context, reply Reply) (id int64, err error)
}

// replies makes GitHub show what commands are answered. Only the leader does.
type replies struct {
	set     Set[Reply]
	replier Replier
	run     func(ctx context.Context, id string) (Run, error)
	now     func() time.Time
}

// step moves one reply on and reports when to look again.
func (r *replies) step(ctx context.Context, key string) (time.Duration, error) {
	reply, revision, err := r.set.Get(ctx, key)
	if errors.Is(err, ErrNotFound) || err == nil && reply.over() {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the reply %s: %w", key, err)
	}
	again, err := r.show(ctx, &reply, &revision, key)
	var never *Unreportable
	if errors.As(err, &never) {
		reply.Unshown = never.Reason
		_, err = r.set.Update(ctx, key, reply, revision)
	}
	if errors.Is(err, ErrConflict) {
		return time.Second, nil
	}
	return again, err
}

func (r *replies) show(ctx context.Context, reply *Reply, revision *uint64, key string) (time.Duration, error) {
	store := func() (err error) {
		*revision, err = r.set.Update(ctx, key, *reply, *revision)
		return err
	}
	over, good, err := r.awaited(ctx, reply.Awaits)
	if err != nil {
		return 0, err
	}
	if !reply.Seen && !reply.Refused && !over {
		if err := r.react(ctx, *reply, ReactionSeen); err != nil {
			return 0, err
		}
		reply.Seen = true
		if err := store(); err != nil {
			return 0, err
		}
	}
	if reply.Text != "" && reply.Answered == 0 {
		asked := *reply // as it was: an earlier answer may be there
		reply.Asked = r.now()
		if err := store(); err != nil { // written down before it is said
			return 0, err
		}
		if reply.Answered, err = r.replier.Answer(ctx, asked); err != nil {
			reply.Answered = 0
			var later *Later
			if errors.As(err, &later) { // nothing was sent
				reply.Asked = asked.Asked
				err = errors.Join(err, store())
			}
			return 0, err
		}
		reply.Asked = time.Time{}
		if err := store(); err != nil {
			return 0, err
		}
	}
	if !over {
		return awaitAgain, nil
	}
	final := ReactionDone
	if reply.Refused || !good {
		final = ReactionRefused
	}
	if err := r.react(ctx, *reply, final); err != nil {
		return 0, err
	}
	reply.Final = final
	return 0, store()
}

// react adds a reaction. On a commit's comment that takes a permission (contents: write) which Slipway does not ask for; the
// answer says it all there.
func (r *replies) react(ctx context.Context, reply Reply, reaction string) error {
	err := r.replier.React(ctx, reply, reaction)
	var never *Unreportable
	if reply.Comment.Number == 0 && errors.As(err, &never) {
		return nil
	}
	return err
}

// awaited tells whether all runs are over, and ended as they should.
func (r *replies) awaited(ctx context.Context, awaits []Await) (over, good bool, err error) {
	good = true
	for _, a := range awaits {
		run, err := r.run(ctx, a.Run)
		switch {
		case errors.Is(err, ErrNotFound): // no longer kept
		case err != nil:
			return false, false, err
		case !run.State.Over():
			return false, false, nil
		default:
			good = good && (a.End || run.State == RunSucceeded || run.State == RunWaits)
		}
	}
	return true, good, nil
}
