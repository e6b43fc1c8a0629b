package dispatch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/slipway-ci/slipway/jobs"
)

// maxOrders bounds the orders that are remembered; a job is given no more.
const maxOrders = 40

// reviews finds out which environments the workflow run waits to be let into, and lets it in where somebody ordered that.
func (s *session) reviews(ctx context.Context, run jobs.WorkflowRun) error {
	waiting := run.Status == "waiting" || slices.ContainsFunc(run.Jobs, func(j jobs.WorkflowJob) bool { return j.Status == "waiting" })
	var orders []jobs.Order
	for _, o := range s.task.Orders {
		if o.Do == jobs.OrderApprove && !slices.Contains(s.rec.Orders, o.Cause) {
			orders = append(orders, o)
		}
	}
	switch {
	case !waiting && len(orders) == 0 && len(s.rec.Waits) == 0 && s.rec.Answer == "":
		return nil
	case waiting && len(orders) == 0 && s.rec.Reviewed == s.rec.Print:
		return nil
	}
	var waits []Wait
	if waiting || len(s.rec.Waits) > 0 { // news of several jobs come in any order: that nothing waits any more is GitHub's to say
		pending, err := s.Reviews.PendingDeployments(ctx, s.rec.Installation, s.rec.Repository, s.rec.ID)
		if err != nil {
			return fmt.Errorf("ask what workflow run %d waits for: %w", s.rec.ID, err)
		}
		for _, p := range pending {
			w := Wait{ID: p.ID, Name: p.Name, Since: s.Now()}
			if at := slices.IndexFunc(s.rec.Waits, func(known Wait) bool { return known.ID == p.ID }); at >= 0 {
				w.Since = s.rec.Waits[at].Since
			}
			waits = append(waits, w)
		}
	}
	s.rec.Waits, s.rec.Reviewed = waits, s.rec.Print
	if len(waits) == 0 {
		s.rec.Answer = ""
	}
	if err := s.save(ctx); err != nil {
		return err
	}
	for _, o := range orders {
		if err := s.approve(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

// approve carries an order out: once, and only for the environments it names, as far as they were shown when it was given.
func (s *session) approve(job context.Context, o jobs.Order) error {
	ctx, cancel := context.WithTimeout(job, sending)
	defer cancel()
	written := s.Now()
	before := s.rec
	var meant []Wait
	for _, w := range s.rec.Waits {
		if slices.Contains(o.Names, w.Name) && !w.Since.After(o.Time) {
			meant = append(meant, w)
		}
	}
	s.rec.Orders = append(slices.Clone(s.rec.Orders), o.Cause)
	s.rec.Orders = s.rec.Orders[max(len(s.rec.Orders)-maxOrders, 0):]
	if len(meant) == 0 {
		fmt.Fprintf(s.task.Log, "%s approved %s, and nothing waits for it any more\n", o.By.Login, strings.Join(o.Names, ", "))
		return s.save(ctx)
	}
	names := make([]string, len(meant))
	for i, w := range meant {
		names[i] = w.Name
	}
	s.rec.Answer = fmt.Sprintf("the approval of %s by %s was sent to GitHub, and it is not known whether it was taken; look there", strings.Join(names, ", "), o.By.Login)
	if err := s.save(ctx); err != nil {
		return err
	}
	var refused []string
	for _, w := range meant {
		err := s.prompt(written)
		if err == nil {
			comment := fmt.Sprintf("Approved by @%s through Slipway", o.By.Login)
			err = s.Reviews.ApproveDeployments(ctx, s.rec.Installation, s.rec.Repository, s.rec.ID, []int64{w.ID}, comment)
		}
		var refusal *jobs.Refusal
		switch {
		case err == nil:
			fmt.Fprintf(s.task.Log, "%s was approved for %s\n", w.Name, o.By.Login)
			s.rec.Waits = slices.DeleteFunc(slices.Clone(s.rec.Waits), func(known Wait) bool { return known.ID == w.ID })
		case unclear(ctx, err):
			fmt.Fprintln(s.task.Log, s.rec.Answer)
			return job.Err()
		case errors.As(err, &refusal):
			refused = append(refused, fmt.Sprintf("GitHub does not let the App approve %s: %s; approve it there", w.Name, strings.TrimSuffix(refusal.Sentence, ".")))
			fmt.Fprintf(s.task.Log, "%s: %s\n", refused[len(refused)-1], s.rec.URL)
		default: // surely not done: the order stands for what is left of it
			s.rec.Orders, s.rec.Answer = before.Orders, before.Answer
			return errors.Join(err, s.save(context.WithoutCancel(job)))
		}
	}
	s.rec.Answer = strings.Join(refused, "; ")
	return s.save(job)
}
