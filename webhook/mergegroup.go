package webhook

import (
	"encoding/json"

	"github.com/slipway-ci/slipway/jobs"
)

type payloadMergeGroup struct {
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
		e.Message = jobs.Cut(g.HeadCommit.Message, jobs.MaxMessage)
	}
	return e, nil
}
