package jobs

import "time"

// A RateLimitState is what one installation may still ask of GitHub, as far as this replica knows: from what GitHub said
// with its answers, and from what was sent.
type RateLimitState struct {
	Installation int64     `json:"installation"`      // 0: the App speaking for itself
	Account      string    `json:"account,omitempty"` // login it is installed on, as far as known
	Limit        int       `json:"limit"`             // calls an hour; 0 until GitHub said so
	Remaining    int       `json:"remaining"`         // of them, until Reset
	Reset        time.Time `json:"reset,omitzero"`
	// What is left by GitHub's secondary limits, as they are kept here: below GitHub's own figures, and refilled steadily.
	Points       int `json:"points"`        // of this minute; reading takes one, writing five
	MinuteWrites int `json:"minute_writes"` // comments, checks and the like that may be created now
	HourWrites   int `json:"hour_writes"`   // the same, by the limit for an hour
	Running      int `json:"running"`       // calls without an answer yet

	// What is held back, and why.
	HeldUntil time.Time `json:"held_until,omitzero"` // zero when nothing is
	Reason    string    `json:"reason,omitempty"`    // a clause for people
	Waiting   int       `json:"waiting"`             // calls that were held back and not made since; at most 1,000
}

// Limited reports whether anything is held back.
func (e RateLimitState) Limited() bool { return !e.HeldUntil.IsZero() }
