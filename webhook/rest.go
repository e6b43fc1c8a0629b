package webhook

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

type (
	payloadMergeGroup struct {
		payloadCommon
		Action     string `json:"action"`
		MergeGroup struct {
			HeadRef    string         `json:"head_ref"`
			HeadSHA    string         `json:"head_sha"`
			BaseRef    string         `json:"base_ref"`
			BaseSHA    string         `json:"base_sha"`
			HeadCommit *payloadCommit `json:"head_commit"`
		} `json:"merge_group"`
	}
	payloadRelease struct {
		payloadCommon
		Action  string `json:"action"`
		Release struct {
			TagName     string    `json:"tag_name"`
			Name        string    `json:"name"`
			Draft       bool      `json:"draft"`
			Prerelease  bool      `json:"prerelease"`
			PublishedAt time.Time `json:"published_at"`
		} `json:"release"`
	}
)

func decodeMergeGroup(body []byte) (jobs.Event, error) {
	var p payloadMergeGroup
	if err := json.Unmarshal(body, &p); err != nil {
		return jobs.Event{}, err
	}
	e := p.event(jobs.EventMergeGroup)
	g := p.MergeGroup
	e.Action, e.MergeGroup = p.Action, &jobs.MergeGroup{HeadRef: g.HeadRef, HeadSHA: g.HeadSHA, BaseRef: g.BaseRef, BaseSHA: g.BaseSHA}
	e.Ref, e.After = g.HeadRef, g.HeadSHA
	if g.HeadCommit != nil {
		e.Message = jobs.Cut(g.HeadCommit.Message, 1000)
	}
	return e, nil
}

// decodeRelease reads a release that was published. Its tag tells the commit, which GitHub is asked for.
func decodeRelease(body []byte) (jobs.Event, error) {
	var p payloadRelease
	if err := json.Unmarshal(body, &p); err != nil {
		return jobs.Event{}, err
	}
	e := p.event(jobs.EventRelease)
	e.Action, e.Time = p.Action, p.Release.PublishedAt
	if p.Action != "published" || p.Release.Draft {
		return e, notHandled("a release was %.40s; jobs hear of published ones", p.Action)
	}
	e.Ref = "refs/tags/" + p.Release.TagName
	e.Release = &jobs.Release{Tag: p.Release.TagName, Name: jobs.Cut(p.Release.Name, 200), Prerelease: p.Release.Prerelease}
	return e, nil
}

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
