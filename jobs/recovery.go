package jobs

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// A DeliveryLog is GitHub's own record of what it tried to deliver to the App.
type DeliveryLog interface {
	// Page returns a page of attempts, newest first: the first for the cursor "", then the one that the page before named
	// as next, which is "" on the last.
	Page(ctx context.Context, cursor string) (page []LoggedAttempt, next string, err error)
	// Fetch returns what an attempt carried, checked as by the webhook handler. A *Gone says that it is not to be had, or not ours.
	Fetch(ctx context.Context, attempt LoggedAttempt) (Delivery, error)
}

// A LoggedAttempt is one attempt to deliver a webhook. Attempts at the same delivery share its GUID.
type LoggedAttempt struct {
	ID            int64 // of the attempt
	GUID          string
	Event, Action string
	At            time.Time // by GitHub's clock
}

// Installations tells where the App is installed.
type Installations interface {
	Installations(ctx context.Context) ([]Installation, error)
}

// An Installation is the App on one account.
type Installation struct {
	ID      int64
	Created time.Time
}

// An Acceptor makes a delivery durable. created is false when its GUID is stored already.
type Acceptor interface {
	Accept(ctx context.Context, d Delivery) (created bool, err error)
}

// A DeliveryReader returns a stored delivery, or ErrNotFound.
type DeliveryReader interface {
	Delivery(ctx context.Context, guid string) (Delivery, error)
}

// RecoveredEvents are the events that are fetched from GitHub's delivery log, each with the actions that matter, or none when all
// do. The rest starts nothing, such as the echoes of our own checks, or comes beside a push, such as create and delete; its
// payloads are not worth a call each.
func RecoveredEvents() map[string][]string {
	return map[string][]string{
		"push": nil, "release": nil, "merge_group": nil,
		"pull_request": {
			"opened", "reopened", "synchronize", "edited", "closed", "ready_for_review", "converted_to_draft", "labeled", "unlabeled",
		},
		"issue_comment": {"created"}, "commit_comment": {"created"},
		"check_run": {"rerequested", "requested_action"}, "check_suite": {"rerequested"},
		"installation": nil, "installation_repositories": nil,
	}
}

// A LogWatermark is how far GitHub's delivery log was read: what was delivered between From and Through, and matters, is stored. What
// came before From is never fetched unless the operator asks for it.
type LogWatermark struct {
	From    time.Time `json:"from"`
	Through time.Time `json:"through"`
	// Asked is when the operator last asked for older deliveries, as far as From answers to it.
	Asked time.Time `json:"asked,omitzero"`
}

// A RecoverRequest asks, for the operator, to have everything since a moment fetched, also what GitHub believes delivered.
type RecoverRequest struct {
	Since time.Time `json:"since"`
	By    string    `json:"by"`
	At    time.Time `json:"at"`
}

// Keys of the records above, in the same place as StartKey.
const (
	LogWatermarkKey = "delivery-log"
	RecoverKey      = "recover"
)

// A Recovery finds what webhooks did not bring: it reads GitHub's delivery log back to a watermark and stores what is missing, and it
// compares what refs are at with what was decided. Only the leader recovers. What it stores goes the way of every delivery.
//
// Nothing is fetched before the operator has said since when this server may act, but for a server without webhooks, which
// takes what comes from its first start on and observes.
type Recovery struct {
	DeliveryLog   DeliveryLog
	Installations Installations
	Heads         Heads
	Rules         interface{ Mode(repo Repository) Mode }
	Accept        Acceptor
	Stored        DeliveryReader
	Decisions     Records[Decision]
	Refs          Records[RefRecord]
	Meta          Set[Start]
	Watermarks    Records[LogWatermark]
	Requests      Records[RecoverRequest]
	Seen          Records[SeenHeads]

	Intake bool          // the log is how all deliveries come: there are no webhooks
	Every  time.Duration // between two readings of the log
	Settle time.Duration // how long a head must be without a decision before it is taken for missed; 0 means 10 min

	Recovered func(from string)       // told of each delivery stored: from "log" or from "heads"; may be nil
	HighWater func(through time.Time) // told how far the log is read; may be nil
	Now       func() time.Time
	Log       *slog.Logger

	further  time.Time            // when a reading last went further back
	pending  map[int64]*unsettled // by repository ID
	compared map[int64]time.Time  // when an installation's repositories were last compared
	answered time.Time            // time of the last recover request that Reconcile acted on
}

// Run recovers until ctx is done: at once, after a while over and over, and when the operator says begin or recover.
func (r *Recovery) Run(ctx context.Context) {
	// Who leads anew knows nothing of what another leader did meanwhile.
	r.further, r.answered, r.compared, r.pending = time.Time{}, time.Time{}, nil, nil
	log, heads := make(chan struct{}, 1), make(chan struct{}, 1)
	var wg sync.WaitGroup
	wg.Go(func() { r.listen(ctx, log, heads) })
	wg.Go(func() {
		rounds(ctx, log, func(failures int) (time.Duration, int) {
			err := r.ReadLog(ctx)
			if err == nil || ctx.Err() != nil {
				return r.Every, 0
			}
			failures++
			wait := backoff(failures, min(r.Every, 5*time.Second), max(r.Every, 5*time.Second))
			if later := (*Later)(nil); errors.As(err, &later) {
				wait = max(wait, later.After)
			}
			r.Log.WarnContext(ctx, "GitHub's delivery log could not be read; trying again", "in", wait, "error", err)
			return wait, failures
		})
	})
	wg.Go(func() {
		rounds(ctx, heads, func(int) (time.Duration, int) { return r.Reconcile(ctx), 0 })
	})
	wg.Wait()
}

// rounds calls do at once, then when it said, or when asked, until ctx is done.
func rounds(ctx context.Context, asked <-chan struct{}, do func(failures int) (time.Duration, int)) {
	failures := 0
	for ctx.Err() == nil {
		var wait time.Duration
		wait, failures = do(failures)
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-asked:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// listen passes on that the operator said begin or recover, which may have been on another replica.
func (r *Recovery) listen(ctx context.Context, each ...chan<- struct{}) {
	for ctx.Err() == nil {
		changes, err := r.Meta.Watch(ctx)
		if err != nil {
			r.Log.WarnContext(ctx, "can't watch for begin and recover; they are noticed at the next scheduled read", "error", err)
			pause(ctx, 10*time.Second)
			continue
		}
		tell := func() {
			for _, c := range each {
				select {
				case c <- struct{}{}:
				default: // told already
				}
			}
		}
		tell() // what was said before the watch began
		for key := range changes {
			if key == StartKey || key == RecoverKey {
				tell()
			}
		}
		pause(ctx, 100*time.Millisecond)
	}
}
