package web

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/slipway-ci/slipway/jobs"
)

// Observed is the answer of /api/v1/observed: what would have run, had the server not only observed.
type Observed struct {
	Since time.Time `json:"since"`
	// Oldest is when the oldest delivery came that was looked at; absent when there was none.
	Oldest     time.Time `json:"oldest,omitzero"`
	Deliveries int       `json:"deliveries"` // looked at, whatever was decided about them
	// Cut is set when there were more deliveries since then than are looked at: only the newest were.
	Cut          bool                 `json:"cut,omitempty"`
	Repositories []ObservedRepository `json:"repositories"` // by name
}

// ObservedRepository is what would have happened in one repository.
type ObservedRepository struct {
	Repository   string         `json:"repository"`
	Runs         int            `json:"runs"`         // that would have started
	Held         int            `json:"held"`         // that would have waited for someone's approval
	Faults       int            `json:"faults"`       // pipeline files that can't be used
	Jobs         map[string]int `json:"jobs"`         // of those runs: name to how often
	Images       []string       `json:"images"`       // they would have built, sorted
	Environments []string       `json:"environments"` // they would have rolled out to, sorted
	// Cut is set when more names of jobs, images or environments came up than are listed.
	Cut bool `json:"cut,omitempty"`
}

const (
	maxObserved      = 20_000 // deliveries that one report looks at
	maxObservedNames = 100    // of each repository's jobs, images and environments
	observedPage     = 200
	observedUsually  = 7 * 24 * time.Hour
)

func (a api) observed(c echo.Context) error {
	since, repository := a.o.Now().Add(-observedUsually), c.QueryParam("repository")
	if err := a.mayRead(c, repository); err != nil {
		return err
	}
	if text := c.QueryParam("since"); text != "" {
		var err error
		if since, err = time.Parse(time.RFC3339, text); err != nil {
			return refuse(http.StatusBadRequest, "since is a moment such as 2026-11-23T12:00:00Z.")
		}
	}
	if err := checkRepository(repository); err != nil {
		return err
	}
	if !a.operator {
		if !a.observing.TryLock() {
			return refuse(http.StatusServiceUnavailable, "Such a report is being made for someone else, and there is one at a time. Try again in a moment.")
		}
		defer a.observing.Unlock()
	}
	report, err := a.observedSince(c.Request().Context(), since.UTC(), repository)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, report)
}

// observedSince goes through the stored deliveries from the newest back to since, and at most maxObserved of them.
func (s *Server) observedSince(ctx context.Context, since time.Time, repository string) (Observed, error) {
	report := Observed{Since: since, Repositories: []ObservedRepository{}}
	found := map[string]*tally{}
	for before := ""; ; {
		list, next, err := s.o.Deliveries.Deliveries(ctx, before, observedPage)
		if err != nil {
			return report, fmt.Errorf("list deliveries: %w", err)
		}
		end := slices.IndexFunc(list, func(d jobs.Delivery) bool { return d.Received.Before(since) })
		if end >= 0 {
			list, next = list[:end], ""
		}
		decisions := make([]*jobs.Decision, len(list))
		err = each(ctx, len(list), func(ctx context.Context, i int) (err error) {
			decisions[i], err = s.decision(ctx, list[i].GUID)
			return err
		})
		if err != nil {
			return report, err
		}
		for i, d := range decisions {
			report.Deliveries++
			report.Oldest = list[i].Received
			if d == nil || d.Outcome != jobs.OutcomeObserve || repository != "" && d.Run.Repository.FullName() != repository {
				continue
			}
			name := d.Run.Repository.FullName()
			if found[name] == nil {
				found[name] = &tally{jobs: map[string]int{}, images: map[string]bool{}, environments: map[string]bool{}}
			}
			found[name].add(d)
		}
		if next == "" {
			break
		}
		if report.Deliveries >= maxObserved {
			report.Cut = true
			break
		}
		before = next
	}
	for name, t := range found {
		report.Repositories = append(report.Repositories, t.shape(name))
	}
	slices.SortFunc(report.Repositories, func(a, b ObservedRepository) int { return cmp.Compare(a.Repository, b.Repository) })
	return report, nil
}

// A tally counts what was observed in one repository.
type tally struct {
	runs, held, faults   int
	jobs                 map[string]int
	images, environments map[string]bool
	cut                  bool
}

// add counts a decision as what it would have been.
func (t *tally) add(d *jobs.Decision) {
	switch {
	case d.Plan.Faulty():
		t.faults++
		return
	case d.Run.Trust.Level != jobs.Trusted:
		t.held++
		return
	}
	t.runs++
	for _, j := range d.Plan.Jobs {
		if !j.Planned {
			continue
		}
		if t.fits(len(t.jobs), t.jobs[j.Name] > 0) {
			t.jobs[j.Name]++
		}
		spec := j.Spec
		if spec == nil {
			spec = j.Template // images and environments seldom depend on other jobs; what does is shown as written
		}
		// A spec of the other kind, or one that can't be read, names none.
		var names struct {
			Image        string   `json:"image"`
			Environments []string `json:"environments"`
		}
		_ = json.Unmarshal(spec, &names)
		if names.Image != "" && t.fits(len(t.images), t.images[names.Image]) {
			t.images[names.Image] = true
		}
		for _, e := range names.Environments {
			if t.fits(len(t.environments), t.environments[e]) {
				t.environments[e] = true
			}
		}
	}
}

// fits tells whether a name can still be kept, and notes when it can't.
func (t *tally) fits(have int, known bool) bool {
	if known || have < maxObservedNames {
		return true
	}
	t.cut = true
	return false
}

func (t *tally) shape(name string) ObservedRepository {
	sorted := func(names map[string]bool) []string { // an empty list, not null
		return append([]string{}, slices.Sorted(maps.Keys(names))...)
	}
	return ObservedRepository{
		Repository: name, Runs: t.runs, Held: t.held, Faults: t.faults, Jobs: t.jobs,
		Images: sorted(t.images), Environments: sorted(t.environments), Cut: t.cut,
	}
}
