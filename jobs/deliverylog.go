package jobs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

const (
	// LogKept is how far back GitHub's delivery log goes (docs.github.com, "Redelivering webhooks").
	LogKept = 72 * time.Hour
	// Each read overlaps the last by logOverlap, since clocks differ and GitHub lists attempts late; once every furtherEach by
	// logFurther.
	logOverlap  = 2 * time.Minute
	logFurther  = 10 * time.Minute
	furtherEach = 5 * time.Minute
	maxMissing  = 5_000 // deliveries known to be missing and held in memory, without payloads
	maxLogPages = 10_000
)

// ReadLog reads GitHub's delivery log once, from its end back to the watermark, and stores what is missing, oldest first. When that
// is more than can be held at once it goes on until it is not.
func (r *Recovery) ReadLog(ctx context.Context) error {
	for {
		more, err := r.readOnce(ctx)
		if err != nil || !more {
			return err
		}
	}
}

// A reading is one look at the log: from its end back to floor.
type reading struct {
	floor     time.Time
	watermark LogWatermark // as it is to be when all is stored, but for Through
	known     bool         // there is a watermark
	further   bool         // it goes further back than usual
}

func (r *Recovery) readOnce(ctx context.Context) (more bool, err error) {
	now := r.Now()
	this, ok, err := r.plan(ctx, now)
	if err != nil || !ok {
		return false, err
	}
	if this.known {
		r.highWater(this.watermark.Through)
	}
	missing, cut, err := r.missing(ctx, this.floor)
	if err != nil {
		return false, err
	}
	stored, failed := 0, error(nil)
	for _, attempt := range missing {
		created, err := r.fetch(ctx, attempt)
		var later *Later
		if err != nil && (ctx.Err() != nil || errors.As(err, &later)) {
			return false, err
		}
		if err != nil { // one that can't be had must not keep back the others
			r.Log.WarnContext(ctx, "a delivery in GitHub's log could not be fetched; it is tried again", "delivery", attempt.GUID, "event", attempt.Event, "error", err)
			if failed == nil {
				failed, now = err, attempt.At.Add(-time.Second)
			}
		}
		if created {
			stored++
		}
	}
	if stored > 0 {
		r.Log.InfoContext(ctx, "deliveries were fetched from GitHub's log", "deliveries", stored, "since", this.floor.UTC())
	}
	this.watermark.Through = now
	if cut && failed == nil {
		this.watermark.Through = missing[len(missing)-1].At
	}
	if err := r.setWatermark(ctx, this.watermark); err != nil {
		return false, err
	}
	if this.further {
		r.further = now
	}
	r.highWater(this.watermark.Through)
	return cut && failed == nil, failed
}

func (r *Recovery) highWater(through time.Time) {
	if r.HighWater != nil {
		r.HighWater(through)
	}
}

// plan says how far back to read; ok is false when nothing may be read yet.
func (r *Recovery) plan(ctx context.Context, now time.Time) (this reading, ok bool, err error) {
	start, _, err := r.Meta.Get(ctx, StartKey)
	begun := err == nil
	switch {
	case err != nil && !errors.Is(err, ErrNotFound):
		return this, false, fmt.Errorf("read since when to act: %w", err)
	case !begun && !r.Intake:
		return this, false, nil
	}
	this.watermark, _, err = r.Watermarks.Get(ctx, LogWatermarkKey)
	this.known = err == nil
	switch {
	case this.known:
		back := logOverlap
		if this.further = now.Sub(r.further) >= furtherEach; this.further {
			back = logFurther
		}
		this.floor = latest(this.watermark.From, this.watermark.Through.Add(-back))
	case !errors.Is(err, ErrNotFound):
		return this, false, fmt.Errorf("read how far GitHub's delivery log was read: %w", err)
	default:
		since := now.Truncate(time.Second) // the log has whole seconds
		if begun {
			since = start.Since
		}
		if since, err = r.installed(ctx, since); err != nil {
			return this, false, err
		}
		this.floor, this.watermark.From = since, since
	}
	request, _, err := r.Requests.Get(ctx, RecoverKey)
	switch {
	case errors.Is(err, ErrNotFound):
	case err != nil:
		return this, false, fmt.Errorf("read what the operator asked to recover: %w", err)
	case request.At.After(this.watermark.Asked):
		this.watermark.Asked = request.At
		this.watermark.From, this.floor = earliest(this.watermark.From, request.Since), earliest(this.floor, request.Since)
	}
	this.floor = latest(this.floor, now.Add(-LogKept))
	return this, true, nil
}

// installed is since, or when the App was first installed anywhere if that was later: nothing came before.
func (r *Recovery) installed(ctx context.Context, since time.Time) (time.Time, error) {
	list, err := r.Installations.Installations(ctx)
	if err != nil {
		return since, fmt.Errorf("ask where the App is installed: %w", err)
	}
	if len(list) == 0 {
		return since, nil
	}
	first := list[0].Created
	for _, i := range list {
		first = earliest(first, i.Created)
	}
	return latest(since, first), nil
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// missing lists the deliveries since floor that matter and are not stored, one attempt of each, oldest first. When there are
// more than can be held the newest are left for the next time, and cut is set.
//
// Whether GitHub believes that an attempt came through does not count: what answers with 200 on the way may not be us.
func (r *Recovery) missing(ctx context.Context, floor time.Time) (missing []LoggedAttempt, cut bool, err error) {
	events := RecoveredEvents()
	lacking := map[string]bool{} // GUIDs of found
	var found []LoggedAttempt    // newest first
	for cursor, pages := "", 0; pages == 0 || cursor != ""; pages++ {
		if pages == maxLogPages {
			return nil, false, fmt.Errorf("GitHub's delivery log has more than %d pages since %s", maxLogPages, floor.UTC().Format(time.RFC3339))
		}
		var page []LoggedAttempt
		err := r.patiently(ctx, func() (err error) {
			page, cursor, err = r.DeliveryLog.Page(ctx, cursor)
			return err
		})
		if err != nil {
			return nil, false, err
		}
		if len(page) == 0 || page[len(page)-1].At.Before(floor) {
			cursor = ""
		}
		for _, a := range page {
			actions, matters := events[a.Event]
			if a.At.Before(floor) || !matters || len(actions) > 0 && !slices.Contains(actions, a.Action) || !ValidGUID(a.GUID) {
				continue
			}
			if !lacking[a.GUID] {
				stored, err := r.stored(ctx, a.GUID)
				if err != nil {
					return nil, false, err
				}
				if stored {
					continue
				}
				lacking[a.GUID] = true
			}
			found = append(found, a)
		}
		if len(found) >= 2*maxMissing {
			cut = true
			for _, a := range found[:len(found)-maxMissing] {
				delete(lacking, a.GUID)
			}
			found = slices.Clone(found[len(found)-maxMissing:])
		}
	}
	// Of the attempts at one delivery the first says when it came.
	for _, a := range slices.Backward(found) {
		if lacking[a.GUID] {
			missing = append(missing, a)
			delete(lacking, a.GUID)
		}
	}
	return missing, cut && len(missing) > 0, nil
}

// stored tells whether a delivery is here: decided, which outlives its payload, or not yet.
func (r *Recovery) stored(ctx context.Context, guid string) (bool, error) {
	_, _, err := r.Decisions.Get(ctx, guid)
	if errors.Is(err, ErrNotFound) {
		_, err = r.Stored.Delivery(ctx, guid)
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		return false, fmt.Errorf("look for delivery %s: %w", guid, err)
	}
	return err == nil, nil
}

// fetch gets one delivery from the log and stores it.
func (r *Recovery) fetch(ctx context.Context, attempt LoggedAttempt) (created bool, err error) {
	var d Delivery
	err = r.patiently(ctx, func() (err error) {
		d, err = r.DeliveryLog.Fetch(ctx, attempt)
		return err
	})
	if gone := (*Gone)(nil); errors.As(err, &gone) {
		r.Log.WarnContext(ctx, "a delivery in GitHub's log can't be fetched", "delivery", attempt.GUID, "event", attempt.Event, "reason", gone.Reason)
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return r.accept(ctx, d, "log")
}

// accept stores a delivery as the webhook does.
func (r *Recovery) accept(ctx context.Context, d Delivery, from string) (created bool, err error) {
	if created, err = r.Accept.Accept(ctx, d); err != nil {
		return false, fmt.Errorf("store delivery %s: %w", d.GUID, err)
	}
	if created && r.Recovered != nil {
		r.Recovered(from)
	}
	return created, nil
}

// patiently asks again when GitHub wanted to be asked later.
func (r *Recovery) patiently(ctx context.Context, ask func() error) error {
	for {
		err := ask()
		later := (*Later)(nil)
		if !errors.As(err, &later) {
			return err
		}
		r.Log.DebugContext(ctx, "recovering waits", "in", later.After, "reason", later.Reason)
		if !pause(ctx, max(later.After, time.Second)) {
			return ctx.Err()
		}
	}
}

func (r *Recovery) setWatermark(ctx context.Context, watermark LogWatermark) error {
	_, err := Upsert(ctx, r.Watermarks, LogWatermarkKey, func(stored *LogWatermark) error {
		*stored = watermark
		return nil
	})
	if err != nil {
		return fmt.Errorf("note how far GitHub's delivery log was read: %w", err)
	}
	return nil
}
