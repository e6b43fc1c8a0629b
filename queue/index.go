package queue

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"

	"github.com/slipway-ci/slipway/jobs"
)

// A RunFilter selects runs of the list; the zero value selects all.
type RunFilter struct {
	Repository int64  // by ID; 0 for any
	Name       string // owner/name in any case, as it was when the run was created; "" for any
}

// AppendRun adds a run to the list of all runs. Doing it again for the same run changes nothing.
func (q *Queue) AppendRun(ctx context.Context, entry jobs.RunEntry) error {
	subject, err := tokens(strconv.FormatInt(entry.Repository, 10), nameToken(entry.Name), entry.ID)
	if err != nil {
		return err
	}
	entry.Seq = 0 // it is the message's own
	w, err := encode(subject, entry)
	if err != nil {
		return fmt.Errorf("list run %s: %w", entry.ID, err)
	}
	w.expect = 0
	if _, err := q.streams[indexStream].write(ctx, w); err != nil && !errors.Is(err, errMismatch) {
		return fmt.Errorf("list run %s: %w", entry.ID, err)
	}
	return nil
}

// nameToken stands for a repository's name in a subject, which can't hold all that a name may.
func nameToken(name string) string {
	h := fnv.New128a()
	h.Write([]byte(strings.ToLower(name)))
	return hex.EncodeToString(h.Sum(nil))
}

// Runs lists at most n runs that the filter selects, newest first, from those with a Seq below before; 0 begins at the
// newest. Without a filter its cost does not depend on how many runs are stored; with one, on how far apart the
// selected ones lie.
func (q *Queue) Runs(ctx context.Context, before uint64, n int, filter RunFilter) ([]jobs.RunEntry, error) {
	repository, name := "*", "*"
	if filter.Repository != 0 {
		repository = strconv.FormatInt(filter.Repository, 10)
	}
	if filter.Name != "" {
		name = nameToken(filter.Name)
	}
	var entries []jobs.RunEntry
	r := reading{to: before, filter: repository + "." + name + ".*"}
	err := backwards(ctx, q.streams[indexStream], r, n, func(m message) error {
		var entry jobs.RunEntry
		if err := decode(m, &entry); err != nil {
			return fmt.Errorf("read the list of runs: %w", err)
		}
		entry.Seq = m.seq
		entries = append(entries, entry)
		return nil
	})
	return entries, err
}

// maxWindow bounds how many sequences backwards looks at in one go.
const maxWindow = 16 << 10

// backwards hands the last n messages of a reading to each, newest first. Streams are read forwards only, so it reads
// a window before the end, then a larger one before that.
func backwards(ctx context.Context, s stream, r reading, n int, each func(message) error) error {
	state, err := s.state(ctx)
	if err != nil {
		return err
	}
	end := r.to
	if end == 0 || end > state.last+1 {
		end = state.last + 1
	}
	for window := uint64(n) + 16; n > 0 && end > state.first; window = min(window*4, maxWindow) {
		r.from, r.to = max(state.first, end-min(window, end)), end
		var found []message // the last n of the window
		for m, err := range s.read(ctx, r) {
			if err != nil {
				return err
			}
			if found = append(found, m); len(found) == 2*n {
				found = slices.Clone(found[n:])
			}
		}
		for _, m := range slices.Backward(found[max(0, len(found)-n):]) {
			if err := each(m); err != nil {
				return err
			}
			n--
		}
		end = r.from
	}
	return nil
}
