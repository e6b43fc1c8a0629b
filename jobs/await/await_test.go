package await_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/jobs"
	"github.com/slipway-ci/slipway/jobs/await"
)

const sha = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

// github answers with the checks it is given. It is asked only after news were asked for.
type github struct {
	t       *testing.T
	watched *[]string
	checks  []jobs.CommitCheck
	err     error
}

func (g github) CommitChecks(_ context.Context, installation int64, repo jobs.Repository, at string, awaited []string) ([]jobs.CommitCheck, error) {
	if at != sha || installation != 3 || repo.ID != 5 {
		g.t.Errorf("asked for %s of %d by %d", at, repo.ID, installation)
	}
	if !slices.Equal(*g.watched, awaited) {
		g.t.Errorf("asked for %q before news about them were asked for: %q", awaited, *g.watched)
	}
	return g.checks, g.err
}

func check(name, status, conclusion string) jobs.CommitCheck {
	return jobs.CommitCheck{Name: name, Status: status, Conclusion: conclusion, URL: "https://github.example/" + name}
}

func ofCI(name, status, conclusion string) jobs.CommitCheck {
	c := check(name, status, conclusion)
	c.Workflow, c.App = "CI", "github-actions"
	return c
}

// run lets an await job look once, so long after it began.
func run(t *testing.T, spec string, waited time.Duration, checks []jobs.CommitCheck, err error) (jobs.Result, error) {
	t.Helper()
	began := time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	var watched []string
	kind := await.New(await.Options{Checks: github{t, &watched, checks, err}, Now: func() time.Time { return began.Add(waited) }})
	return kind.Run(t.Context(), jobs.Task{
		Run: jobs.RunInfo{ID: "r-1", Installation: 3, Repository: jobs.Repository{ID: 5, Owner: "acme", Name: "shop"}, SHA: sha, Trust: jobs.Trust{Level: jobs.Approved}},
		Job: "tests", Spec: json.RawMessage(spec), Log: t.Output(), Began: began,
		Watch: func(_ context.Context, topic string, names ...string) error {
			if want := jobs.CommitTopic(5, sha); topic != want {
				t.Errorf("watches %q, want %q", topic, want)
			}
			watched = names
			return nil
		},
	})
}

func TestAwait(t *testing.T) {
	for name, c := range map[string]struct {
		checks []jobs.CommitCheck
		waited time.Duration
		want   jobs.Conclusion // "" to wait on
		says   string          // within the summary or reason
		shows  string          // within the details
	}{
		"nothing there yet": {nil, 0, "", "CI / test, lint (not reported yet)", "| ⏳ | CI / test | not reported yet |"},
		"under way": {[]jobs.CommitCheck{ofCI("test", "in_progress", ""), check("lint", "completed", "success")}, 0, "",
			"test (under way)", "| ⏳ | [CI / test](https://github.example/test) | in progress |"},
		"one missing": {[]jobs.CommitCheck{ofCI("test", "completed", "success")}, 0, "", "lint (not reported yet)", "| ✅ |"},
		"all passed": {[]jobs.CommitCheck{ofCI("test", "completed", "success"), check("lint", "completed", "skipped")}, 0, jobs.Success,
			"2 checks succeeded on aaaaaaaaaaaa", "| ✅ | [lint](https://github.example/lint) | skipped |"},
		"one failed": {[]jobs.CommitCheck{ofCI("test", "completed", "timed_out"), check("lint", "completed", "success")}, 0, jobs.Failure,
			"CI / test ended as timed out (https://github.example/test)", "| ❌ |"},
		"one failed while another is missing": {[]jobs.CommitCheck{ofCI("test", "completed", "failure")}, 0, jobs.Failure, "CI / test ended as failure", "not reported yet"},
		"one failed while another of the name is under way": {[]jobs.CommitCheck{ofCI("test", "completed", "failure"), ofCI("test", "queued", ""), check("lint", "completed", "success")},
			0, "", "test did not succeed; test (under way)", "| ❌ |"},
		"two of a name, one failed": {[]jobs.CommitCheck{ofCI("test", "completed", "success"), ofCI("test", "completed", "action_required"), check("lint", "completed", "success")},
			0, jobs.Failure, "CI / test ended as action required", ""},
		"of another workflow": {[]jobs.CommitCheck{{Name: "test", Workflow: "Nightly", App: "github-actions", Status: "completed", Conclusion: "success"}, check("lint", "completed", "success")},
			0, "", "CI / test (not reported yet)", ""},
		"too late":                  {[]jobs.CommitCheck{check("lint", "in_progress", "")}, time.Hour, jobs.TimedOut, "waited 1h: lint (under way); CI / test (not reported yet)", ""},
		"passed at the last moment": {[]jobs.CommitCheck{ofCI("test", "completed", "success"), check("lint", "completed", "success")}, time.Hour, jobs.Success, "succeeded", ""},
		"a name that would draw":    {[]jobs.CommitCheck{{Name: "lint", Status: "in_progress"}, {Name: "test", Workflow: "CI", App: "github-actions", Status: "a|b*@acme\nx"}}, 0, "", "under way", "a\\|b\\*@\u200bacme x"},
	} {
		t.Run(name, func(t *testing.T) {
			result, err := run(t, `{"checks": ["CI / test", "lint"]}`, c.waited, c.checks, nil)
			var later *jobs.Later
			if c.want == "" {
				if !errors.As(err, &later) || later.Progress == nil {
					t.Fatalf("%+v, %v, want to wait on", result, err)
				}
				result = *later.Progress
				result.Summary = later.Reason
			} else if err != nil {
				t.Fatal(err)
			}
			if result.Conclusion != c.want || !strings.Contains(result.Summary, c.says) || !strings.Contains(result.Details, c.shows) {
				t.Errorf("%s: %q, want %s: %q\n%s", result.Conclusion, result.Summary, c.want, c.says, result.Details)
			}
		})
	}
}

func TestAwaitTellsHowLongItWaited(t *testing.T) {
	for timeout, want := range map[string]string{"30s": "waited 30s: ", "1m30s": "waited 1m30s: ", "10m": "waited 10m: ", "1h": "waited 1h: "} {
		result, err := run(t, fmt.Sprintf(`{"checks": ["lint"], "timeout": %q}`, timeout), time.Hour, nil, nil)
		if err != nil || result.Conclusion != jobs.TimedOut || !strings.HasPrefix(result.Summary, want) {
			t.Errorf("%s: %+v, %v", timeout, result, err)
		}
	}
}

func TestAwaitLooksSeldomer(t *testing.T) {
	for waited, want := range map[time.Duration]time.Duration{
		0: 5 * time.Minute, 10 * time.Minute: 10 * time.Minute, 5 * time.Hour: 30 * time.Minute, 24*time.Hour - time.Minute: time.Minute,
	} {
		_, err := run(t, `{"checks": ["lint"], "timeout": "24h"}`, waited, nil, nil)
		var later *jobs.Later
		if !errors.As(err, &later) || later.After != want {
			t.Errorf("after %s: %v, want to wait %s", waited, err, want)
		}
	}
}

func TestAwaitPassesTroubleOn(t *testing.T) {
	limit := &jobs.Later{After: time.Minute, Reason: "GitHub's limit"}
	if _, err := run(t, `{"checks": ["lint"]}`, 0, nil, limit); !errors.Is(err, limit) {
		t.Errorf("got %v", err)
	}
}

func TestAwaitRefuses(t *testing.T) {
	many, _ := json.Marshal(jobs.AwaitSpec{Checks: slices.Repeat([]string{"x"}, 51)})
	for spec, want := range map[string]string{
		`{"checks": []}`:                           "names 0 checks",
		string(many):                               "names 51 checks",
		`{"checks": ["lint"], "timeout": "25h"}`:   "at most 24h",
		`{"checks": ["lint"], "timeout": "never"}`: "at most 24h",
		`{"checks": ["lint"], "tiemout": "1h"}`:    "can't be read",
		`{"checks": "lint"}`:                       "can't be read",
	} {
		_, err := run(t, spec, 0, nil, nil)
		var refusal *jobs.Refusal
		if !errors.As(err, &refusal) || !strings.Contains(refusal.Sentence, want) {
			t.Errorf("%.60s: got %v, want a refusal with %q", spec, err, want)
		}
	}
}
