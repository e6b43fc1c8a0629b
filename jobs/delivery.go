package jobs

import (
	"regexp"
	"time"
)

// MaxBody is the largest webhook body in bytes. GitHub sends no payload above 25 MB
// (docs.github.com, "Webhook events and payloads": payload cap).
const MaxBody = 25 << 20

// A Delivery is one webhook request as received. It is stored once under its GUID and never changed.
type Delivery struct {
	GUID     string    `json:"guid"`      // X-GitHub-Delivery; a redelivery carries the same one
	Event    string    `json:"event"`     // X-GitHub-Event, such as "push"
	HookID   int64     `json:"hook_id"`   // X-GitHub-Hook-ID
	TargetID int64     `json:"target_id"` // X-GitHub-Hook-Installation-Target-ID: the App's ID
	Received time.Time `json:"received"`
	// ReplayOf is the GUID of the delivery that an operator asked to run again under this one's GUID.
	ReplayOf string `json:"replay_of,omitempty"`
	Body     []byte `json:"-"` // raw JSON, at most MaxBody bytes; stored beside the other fields
}

var guidForm = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z-]{7,63}$`)

// ValidGUID reports whether s has the form of a delivery's GUID: 8 to 64 letters, digits and dashes. GitHub sends
// UUIDs; anything that could not be a record's key is refused by the webhook handler.
func ValidGUID(s string) bool { return guidForm.MatchString(s) }
