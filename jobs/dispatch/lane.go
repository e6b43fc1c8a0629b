package dispatch

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

// A Lane names the job that holds something nobody else may have at the same time: the turn to dispatch a workflow on a ref, or a
// workflow run.
type Lane struct {
	Run   string    `json:"run"` // of ours
	Job   string    `json:"job"`
	Since time.Time `json:"since"`
}

// How long a job waits before it asks again whether it is its turn: the longer, the longer the other has had it.
const (
	laneWait     = 5 * time.Second
	laneWaitMost = 15 * time.Second
)

func laneKey(repository int64, workflow, branch string) string {
	return fmt.Sprintf("lane.%d.%s", repository, digest(strings.ToLower(workflow), branch))
}

func claimKey(repository, run int64) string { return fmt.Sprintf("claim.%d.%d", repository, run) }

func (s *session) mine(l Lane) bool { return l.Run == s.task.Run.ID && l.Job == s.task.Job }

func (s *session) me() Lane { return Lane{Run: s.task.Run.ID, Job: s.task.Job, Since: s.Now()} }

// enter takes the turn to dispatch. Without it, it could not be told which of two workflow runs is whose.
func (s *session) enter(ctx context.Context) error {
	key := laneKey(s.rec.Repository.ID, s.rec.Workflow, s.rec.branch())
	me := s.me()
	lane, revision, err := s.Lanes.Get(ctx, key)
	switch {
	case errors.Is(err, jobs.ErrNotFound):
		_, err = s.Lanes.Create(ctx, key, me)
	case err != nil:
	case !s.mine(lane):
		free, looked := s.left(ctx, lane)
		if looked != nil {
			return looked
		}
		if !free {
			after := min(laneWait+max(me.Since.Sub(lane.Since), 0)/6, laneWaitMost)
			return &jobs.Later{After: after, Reason: fmt.Sprintf("%s of run %s dispatches %s on %s; one goes after the other until its workflow run is known",
				lane.Job, lane.Run, s.rec.Workflow, s.rec.branch())}
		}
		_, err = s.Lanes.Update(ctx, key, me, revision)
	default: // ours, but we sent nothing: the time counts from now
		_, err = s.Lanes.Update(ctx, key, me, revision)
	}
	if errors.Is(err, jobs.ErrExists) || errors.Is(err, jobs.ErrConflict) {
		return &jobs.Later{After: laneWait, Reason: fmt.Sprintf("another job dispatches %s on %s", s.rec.Workflow, s.rec.branch())}
	}
	if err != nil {
		return fmt.Errorf("wait for the turn to dispatch %s: %w", s.rec.Workflow, err)
	}
	s.turn = me.Since
	return nil
}

// left reports whether a lane's holder has no need of it any more. One that is not heard of for long may come back, but whatever it
// sent was started within its time, and nobody takes that for his own.
func (s *session) left(ctx context.Context, lane Lane) (bool, error) {
	if s.Now().Sub(lane.Since) > 2*(s.Search+s.Skew) {
		return true, nil
	}
	holder, _, err := s.Records.Get(ctx, recordKey(lane.Run, lane.Job))
	if errors.Is(err, jobs.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look how far %s of run %s has come: %w", lane.Job, lane.Run, err)
	}
	return holder.settled(), nil
}

// leave gives the turn to the next.
func (s *session) leave(ctx context.Context) error {
	key := laneKey(s.rec.Repository.ID, s.rec.Workflow, s.rec.branch())
	lane, revision, err := s.Lanes.Get(ctx, key)
	if err == nil && s.mine(lane) {
		err = s.Lanes.Delete(ctx, key, revision)
	}
	if err != nil && !errors.Is(err, jobs.ErrNotFound) && !errors.Is(err, jobs.ErrConflict) {
		return fmt.Errorf("give the turn to dispatch %s to the next: %w", s.rec.Workflow, err)
	}
	return nil
}

// owner tells whose a workflow run is.
func (s *session) owner(ctx context.Context, id int64) (owner Lane, revision uint64, err error) {
	owner, revision, err = s.Lanes.Get(ctx, claimKey(s.rec.Repository.ID, id))
	if errors.Is(err, jobs.ErrNotFound) {
		return Lane{}, 0, nil
	}
	if err != nil {
		return owner, 0, fmt.Errorf("look who follows workflow run %d: %w", id, err)
	}
	return owner, revision, nil
}

// claim makes a workflow run this job's, unless it is another's. from is the run of ours whose claim it may take over, or "".
func (s *session) claim(ctx context.Context, id int64, from string) (bool, error) {
	key := claimKey(s.rec.Repository.ID, id)
	_, err := s.Lanes.Create(ctx, key, s.me())
	if errors.Is(err, jobs.ErrExists) {
		owner, revision, looked := s.owner(ctx, id)
		switch {
		case looked != nil:
			return false, looked
		case s.mine(owner):
			return true, nil
		case from == "" || owner.Run != from || owner.Job != s.task.Job:
			return false, nil
		}
		_, err = s.Lanes.Update(ctx, key, s.me(), revision)
	}
	if errors.Is(err, jobs.ErrConflict) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("claim workflow run %d: %w", id, err)
	}
	return true, nil
}
