package webhook

import (
	"encoding/json"
	"fmt"

	"github.com/slipway-ci/slipway/jobs"
)

// decodeSchedule reads what Slipway delivered to itself.
func decodeSchedule(body []byte) (jobs.Event, error) {
	var s jobs.ScheduleBody
	if err := json.Unmarshal(body, &s); err != nil {
		return jobs.Event{}, fmt.Errorf("read a schedule: %w", err)
	}
	return jobs.Event{
		Kind: jobs.EventSchedule, Installation: s.Installation, Repository: s.Repository, Schedule: s.Entry, Time: s.Due,
		Sender: jobs.Actor{ID: 1, Login: "schedule", Type: "Bot"}, Ref: "refs/heads/" + s.Repository.DefaultBranch,
	}, nil
}
