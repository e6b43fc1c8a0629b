package web

import (
	"bytes"
	"context"
	"errors"
	"html/template"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/slipway-ci/slipway/jobs"
)

// What a run's page shows of the logs of jobs that run.
const (
	tailLines = 15
	maxTails  = 20 // jobs
)

// tail is the end of a running job's log on its run's page.
type tail struct {
	ID   string
	Rows template.HTML
}

func tailID(key jobs.LogKey) string { return "tail-" + key.Job + "-" + strconv.Itoa(key.Attempt) }

// tailed are the logs whose last lines a run's page shows. A job whose work goes on elsewhere has none: the page shows how
// that stands instead.
func tailed(r Run) (keys []jobs.LogKey) {
	for _, j := range r.Jobs {
		if j.State == jobs.JobRunning && !j.Underway && !j.Started.IsZero() && len(keys) < maxTails {
			keys = append(keys, jobs.LogKey{Run: r.ID, Job: j.Name, Attempt: j.Attempt})
		}
	}
	return keys
}

// tails reads the last lines of all jobs that run, by the job's name. A log that can't be read is logged and shown
// without lines: it says less than where the run stands.
func (s *Server) tails(ctx context.Context, r Run) map[string]*tail {
	keys := tailed(r)
	found := make([]*tail, len(keys))
	_ = each(ctx, len(keys), func(ctx context.Context, i int) error {
		end, err := s.readTail(ctx, keys[i], logPath(r.ID, keys[i].Job, 0), tailLines)
		if err != nil && !errors.Is(err, context.Canceled) {
			s.o.Log.Warn("show the last lines of a job", "error", err)
		}
		found[i] = &tail{tailID(keys[i]), end.Rows}
		return nil
	})
	byJob := make(map[string]*tail, len(keys))
	for i, t := range found {
		byJob[keys[i].Job] = t
	}
	return byJob
}

// tailEvent is the data of event "tail" on a run's page: all rows that the list with the ID shows now.
type tailEvent struct {
	ID   string `json:"id"`
	HTML string `json:"html"`
}

// A tailer sends the last lines of a run's jobs while they run.
type tailer struct {
	*Server
	st      *stream
	group   *errgroup.Group
	running map[jobs.LogKey]context.CancelFunc
}

// end stops following all jobs but these.
func (t *tailer) end(keys []jobs.LogKey) {
	for key, stop := range t.running {
		if !slices.Contains(keys, key) {
			stop()
			delete(t.running, key)
		}
	}
}

// begin follows these jobs, those it does not follow yet from now on.
func (t *tailer) begin(ctx context.Context, keys []jobs.LogKey) {
	for _, key := range keys {
		if t.running[key] != nil {
			continue
		}
		jobCtx, stop := context.WithCancel(ctx)
		t.running[key] = stop
		t.group.Go(func() error {
			defer stop()
			if err := t.send(jobCtx, key); jobCtx.Err() == nil {
				return err
			}
			return nil
		})
	}
}

// send sends the last lines whenever there are new ones, until the log ends. It is all of them every time: they are few,
// and a page that missed some, as after a broken connection, is right again.
func (t *tailer) send(ctx context.Context, key jobs.LogKey) error {
	page := logPath(key.Run, key.Job, 0)
	var rows []string
	return t.followLog(ctx, key, tailLines, func() error { return nil }, func(p logPart) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		for i := max(0, len(p.lines)-tailLines); i < len(p.lines); i++ {
			var b bytes.Buffer
			writeRow(&b, page, p.first+i, p.lines[i])
			rows = append(rows, b.String())
		}
		rows = rows[max(0, len(rows)-tailLines):]
		return t.st.send("tail", "", tailEvent{tailID(key), strings.Join(rows, "")})
	})
}
