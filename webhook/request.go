package webhook

import (
	"encoding/json"
	"fmt"

	"github.com/slipway-ci/slipway/jobs"
)

// maxWhat bounds the line that says what was asked for, in bytes.
const maxWhat = 500

// decodeRequest reads what was asked for by the API or on the command line. Where the repository lies and who may act there is
// found out by planning.
func decodeRequest(body []byte) (jobs.Event, error) {
	var b jobs.RequestBody
	if err := json.Unmarshal(body, &b); err != nil {
		return jobs.Event{}, fmt.Errorf("read a request: %w", err)
	}
	b.What = jobs.Cut(b.What, maxWhat)
	e := jobs.Event{
		Kind: jobs.EventRequest, Request: &b.Request, Time: b.Time,
		Sender: jobs.Actor{Login: jobs.Cut(b.By, 100), Type: "Bot"},
	}
	return e, b.Check()
}
