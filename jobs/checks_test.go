package jobs_test

import (
	"context"
	"slices"
	"testing"

	"github.com/slipway-ci/slipway/jobs"
)

func TestJudgeChecks(t *testing.T) {
	job := func(workflow, status, conclusion string) jobs.CommitCheck {
		return jobs.CommitCheck{Name: "test", Workflow: workflow, App: "github-actions", Status: status, Conclusion: conclusion}
	}
	ended := func(conclusion string) jobs.CommitCheck { return job("CI", "completed", conclusion) }
	by := func(app, name, conclusion string) jobs.CommitCheck {
		return jobs.CommitCheck{Name: name, App: app, Status: "completed", Conclusion: conclusion}
	}
	running := job("CI", "in_progress", "")
	type list = []jobs.CommitCheck
	for name, c := range map[string]struct {
		awaited []string
		found   list
		open    bool
		failed  int
		says    string
	}{
		"nothing there":            {[]string{"test"}, nil, true, 0, "test (not reported yet)"},
		"by its own name":          {[]string{"test"}, list{ended("success")}, false, 0, "1 check succeeded"},
		"by its workflow":          {[]string{"CI / test"}, list{ended("skipped")}, false, 0, "1 check succeeded"},
		"another workflow's":       {[]string{"Lint / test"}, list{ended("success")}, true, 0, "Lint / test (not reported yet)"},
		"one of two under way":     {[]string{"test"}, list{ended("success"), running}, true, 0, "test (under way)"},
		"one of two failed":        {[]string{"test"}, list{ended("success"), ended("failure")}, false, 1, "test did not succeed"},
		"cancelled is no success":  {[]string{"test"}, list{ended("cancelled")}, false, 1, "test did not succeed"},
		"two names for one":        {[]string{"test", "CI / test"}, list{ended("neutral")}, false, 0, "1 check succeeded"},
		"failed and another to go": {[]string{"test", "lint"}, list{ended("timed_out")}, true, 1, "test did not succeed; lint (not reported yet)"},

		"a status called as a workflow's job":   {[]string{"CI / test"}, list{by("", "CI / test", "success")}, true, 0, "CI / test (not reported yet)"},
		"an App's check called so":              {[]string{"CI / test"}, list{by("jenkins", "CI / test", "success")}, false, 0, "1 check succeeded"},
		"a status beside the job that failed":   {[]string{"CI / test"}, list{by("", "CI / test", "success"), ended("failure")}, false, 1, "test did not succeed"},
		"a status of a plain name":              {[]string{"test", "/ x", "a /"}, list{by("", "test", "success"), by("", "/ x", "success"), by("", "a /", "success")}, false, 0, "3 checks succeeded"},
		"a status by request":                   {[]string{"CI / test@status"}, list{by("", "CI / test", "success")}, false, 0, "1 check succeeded"},
		"only a status by request":              {[]string{"test@status"}, list{ended("success"), by("status", "test", "success")}, true, 0, "test (as a status) (not reported yet)"},
		"an App's by request":                   {[]string{"test@Sonar"}, list{by("sonar", "test", "success"), by("", "test", "failure"), ended("failure")}, false, 0, "1 check succeeded"},
		"another App's, a status":               {[]string{"test@sonar"}, list{by("sonar-2", "test", "success"), by("", "test", "success")}, true, 0, "test (by sonar) (not reported yet)"},
		"a workflow's job by request":           {[]string{"CI / test@github-actions"}, list{ended("success"), by("sonar", "CI / test", "failure")}, false, 0, "1 check succeeded"},
		"of whomever and of one":                {[]string{"test", "test@sonar"}, list{ended("success")}, true, 0, "test (by sonar) (not reported yet)"},
		"a name with an @":                      {[]string{"deploy@v2@"}, list{by("sonar", "deploy@v2", "success")}, false, 0, "1 check succeeded"},
		"such a name without the @ behind it":   {[]string{"deploy@v2"}, list{by("sonar", "deploy@v2", "success")}, true, 0, "deploy (by v2) (not reported yet)"},
		"a name with an @ that pins nothing":    {[]string{"test (@acme/ui)"}, list{by("sonar", "test (@acme/ui)", "success")}, false, 0, "1 check succeeded"},
		"a name with an @ and an App behind it": {[]string{"deploy@v2 @sonar"}, list{by("sonar", "deploy@v2", "success"), by("", "deploy@v2", "failure")}, false, 0, "1 check succeeded"},
	} {
		v := jobs.JudgeChecks(c.awaited, c.found)
		if v.Open() != c.open || len(v.Failed) != c.failed || v.String() != c.says {
			t.Errorf("%s: open %v, %d failed, %q", name, v.Open(), len(v.Failed), v)
		}
	}
}

// checksFunc is a jobs.CommitChecks.
type checksFunc func(awaited []string) []jobs.CommitCheck

func (f checksFunc) CommitChecks(_ context.Context, _ int64, _ jobs.Repository, _ string, awaited []string) ([]jobs.CommitCheck, error) {
	return f(awaited), nil
}

// Events tell a check's name and not who is to make it.
func TestLookAtChecksWatchesNames(t *testing.T) {
	awaited := []string{"CI / test@github-actions", "lint@sonar", "deploy@v2@", "plain"}
	var watched []string
	task := jobs.Task{Watch: func(_ context.Context, _ string, names ...string) error { watched = names; return nil }}
	v, err := jobs.LookAtChecks(t.Context(), checksFunc(func(asked []string) []jobs.CommitCheck {
		if !slices.Equal(asked, awaited) || watched == nil {
			t.Errorf("asked for %q after watching %q", asked, watched)
		}
		return nil
	}), task, awaited)
	if err != nil || !slices.Equal(watched, []string{"CI / test", "lint", "deploy@v2", "plain"}) {
		t.Errorf("watches %q, %v", watched, err)
	}
	if want := "CI / test (by github-actions), lint (by sonar), deploy@v2, plain (not reported yet)"; v.String() != want {
		t.Errorf("%q, want %q", v, want)
	}
}
