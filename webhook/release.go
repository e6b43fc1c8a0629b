package webhook

import (
	"encoding/json"
	"time"

	"github.com/slipway-ci/slipway/jobs"
)

type payloadRelease struct {
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
