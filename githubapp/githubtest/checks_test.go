package githubtest_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-github/v50/github"

	"github.com/slipway-ci/slipway/githubapp/githubtest"
)

func TestCheckRunLife(t *testing.T) {
	w := newWorld(t)
	ctx, client := t.Context(), w.client()
	run, _, err := client.Checks.CreateCheckRun(ctx, "acme", "shop", github.CreateCheckRunOptions{Name: "slipway / image", HeadSHA: w.first, ExternalID: github.String("run-1/image"),
		DetailsURL: github.String("https://slipway.example.com/runs/1"), Status: github.String("in_progress"),
		Output: &github.CheckRunOutput{Title: github.String("Building"), Summary: github.String("1 of 3")}})
	check(t, err)
	if run.GetStatus() != "in_progress" || run.GetCheckSuite().GetHeadBranch() != "main" || run.GetApp().GetID() != w.app.ID {
		t.Errorf("the run is %v", run)
	}
	var batch []*github.CheckRunAnnotation
	for line := range 50 {
		batch = append(batch, &github.CheckRunAnnotation{Path: github.String("Dockerfile"), StartLine: github.Int(line + 1), EndLine: github.Int(line + 1),
			AnnotationLevel: github.String("failure"), Message: github.String("bad")})
	}
	for range 2 {
		_, _, err = client.Checks.UpdateCheckRun(ctx, "acme", "shop", run.GetID(), github.UpdateCheckRunOptions{Name: "slipway / image",
			Output: &github.CheckRunOutput{Title: github.String("Failed"), Summary: github.String("no"), Annotations: batch}})
		check(t, err)
	}
	run, _, err = client.Checks.UpdateCheckRun(ctx, "acme", "shop", run.GetID(), github.UpdateCheckRunOptions{Name: "slipway / image", Conclusion: github.String("failure"),
		Actions: []*github.CheckRunAction{{Label: "Retry failed", Description: "Run it again", Identifier: "retry"}}})
	check(t, err)
	if run.GetStatus() != "completed" || run.CompletedAt == nil || run.GetOutput().GetAnnotationsCount() != 100 {
		t.Errorf("giving a conclusion made it %v", run)
	}
	shown := w.repo.CheckRuns(w.first)
	if len(shown) != 1 || shown[0].Conclusion != "failure" || len(shown[0].Annotations) != 100 || shown[0].Summary != "no" || shown[0].ExternalID != "run-1/image" || shown[0].Actions[0].Identifier != "retry" {
		t.Errorf("GitHub shows %+v", shown)
	}
	annotations, response, err := client.Checks.ListCheckRunAnnotations(ctx, "acme", "shop", run.GetID(), &github.ListOptions{PerPage: 40})
	check(t, err)
	if len(annotations) != 40 || response.NextPage != 2 || response.LastPage != 3 {
		t.Errorf("a page has %d annotations, next %d, last %d", len(annotations), response.NextPage, response.LastPage)
	}
	wantNames(t, w.names(), "check_run.created", "check_run.completed", "check_suite.completed")

	reader := w.CreateUser("rita")
	w.repo.SetPermission(reader, "triage")
	for name, err := range map[string]error{
		"clicked a button that isn't there":     w.repo.RequestAction(run.GetID(), "approve", w.alice),
		"clicked a button of a run that is not": w.repo.RequestAction(1, "retry", w.alice),
		"clicked without write access":          w.repo.RequestAction(run.GetID(), "retry", reader),
		"re-ran a run without write access":     w.repo.RerequestCheckRun(run.GetID(), reader),
		"re-ran a suite without write access":   w.repo.RerequestSuite(w.app, w.first, reader),
	} {
		if err == nil {
			t.Error(name)
		}
	}
	check(t, w.repo.RequestAction(run.GetID(), "retry", w.alice))
	check(t, w.repo.RerequestCheckRun(run.GetID(), w.alice))
	hooks := w.waitHooks()
	wantNames(t, w.names(), "check_run.requested_action", "check_run.rerequested")
	if field[string](t, hooks[0].body, "requested_action", "identifier") != "retry" || field[string](t, hooks[0].body, "sender", "login") != "alice" {
		t.Errorf("the click says %s", hooks[0].body)
	}
	if got, _, err := client.Checks.GetCheckRun(ctx, "acme", "shop", run.GetID()); err != nil || got.GetStatus() != "queued" || got.Conclusion != nil {
		t.Errorf("re-run, the run is %v, %v", got, err)
	}
	if shown := w.repo.CheckRuns(w.first); len(shown[0].Actions) != 0 || w.repo.RequestAction(run.GetID(), "retry", w.alice) == nil {
		t.Errorf("a run that isn't completed shows %v", shown[0].Actions)
	}
	_, _, err = client.Checks.UpdateCheckRun(ctx, "acme", "shop", run.GetID(), github.UpdateCheckRunOptions{Name: "slipway / image", Conclusion: github.String("success")})
	check(t, err)
	if shown := w.repo.CheckRuns(w.first); len(shown[0].Actions) != 1 {
		t.Errorf("completed again it shows %v", shown[0].Actions)
	}
	wantNames(t, w.names(), "check_run.completed", "check_suite.completed")
	check(t, w.repo.RerequestSuite(w.app, w.first, w.alice))
	hooks = w.waitHooks()
	wantNames(t, w.names(), "check_suite.rerequested") // and nothing about its runs
	if got := w.repo.CheckRuns(w.first)[0]; got.Status != "queued" || got.Conclusion != "" || field[any](t, hooks[0].body, "check_suite", "conclusion") != nil {
		t.Errorf("re-run, the suite's run is %+v", got)
	}
}

func TestCheckRunLists(t *testing.T) {
	w := newWorld(t)
	ctx, client := t.Context(), w.client()
	for i := range 3 {
		for _, name := range []string{"a", "b"} {
			_, _, err := client.Checks.CreateCheckRun(ctx, "acme", "shop", github.CreateCheckRunOptions{Name: name, HeadSHA: w.first, ExternalID: github.String(fmt.Sprint(i))})
			check(t, err)
		}
	}
	list, _, err := client.Checks.ListCheckRunsForRef(ctx, "acme", "shop", "main", nil)
	check(t, err)
	if list.GetTotal() != 2 || list.CheckRuns[0].GetExternalID() != "2" {
		t.Errorf("the latest are %d, first %q", list.GetTotal(), list.CheckRuns[0].GetExternalID())
	}
	list, _, err = client.Checks.ListCheckRunsForRef(ctx, "acme", "shop", w.first, &github.ListCheckRunsOptions{Filter: github.String("all"), CheckName: github.String("a"), AppID: github.Int64(w.app.ID)})
	check(t, err)
	if list.GetTotal() != 3 {
		t.Errorf("all of one name are %d", list.GetTotal())
	}
	suites, _, err := client.Checks.ListCheckSuitesForRef(ctx, "acme", "shop", w.first, nil)
	check(t, err)
	if suites.GetTotal() != 1 {
		t.Fatalf("the suites are %v", suites)
	}
	id := suites.CheckSuites[0].GetID()
	suite, _, err := client.Checks.GetCheckSuite(ctx, "acme", "shop", id)
	check(t, err)
	if suite.GetHeadSHA() != w.first || suite.GetStatus() != "in_progress" {
		t.Errorf("the suite is %v", suite)
	}
	list, _, err = client.Checks.ListCheckRunsCheckSuite(ctx, "acme", "shop", id, nil)
	check(t, err)
	if list.GetTotal() != 2 {
		t.Errorf("the suite has %d latest runs", list.GetTotal())
	}
	_, err = client.Checks.ReRequestCheckSuite(ctx, "acme", "shop", id)
	check(t, err)
	_, err = client.Checks.ReRequestCheckRun(ctx, "acme", "shop", list.CheckRuns[0].GetID())
	check(t, err)
	_, response, err := client.Checks.CreateCheckSuite(ctx, "acme", "shop", github.CreateCheckSuiteOptions{HeadSHA: w.first})
	check(t, err)
	if response.StatusCode != http.StatusOK {
		t.Errorf("a suite that exists is answered %s", response.Status)
	}
	_, _, err = client.Checks.SetCheckSuitePreferences(ctx, "acme", "shop", github.CheckSuitePreferenceOptions{AutoTriggerChecks: []*github.AutoTriggerCheck{{AppID: github.Int64(w.app.ID), Setting: github.Bool(false)}}})
	check(t, err)
	w.names()
	_, err = w.repo.Commit("main", "Quiet", map[string]string{"q": "q"}, w.alice)
	check(t, err)
	wantNames(t, w.names(), "push")
}

func TestForkChecks(t *testing.T) {
	w := newWorld(t)
	bob := w.CreateUser("bob")
	fork, err := w.Fork(w.repo, bob)
	check(t, err)
	head, err := fork.Commit("fix", "Fix", map[string]string{"f": "f"}, bob)
	check(t, err)
	_, _, err = w.client().Checks.CreateCheckRun(t.Context(), "acme", "shop", github.CreateCheckRunOptions{Name: "slipway", HeadSHA: head})
	refused(t, err, http.StatusUnprocessableEntity, "No commit found for SHA")
	_, err = w.repo.OpenPull(githubtest.PullOptions{Head: "bob:fix", User: bob})
	check(t, err)
	run, _, err := w.client().Checks.CreateCheckRun(t.Context(), "acme", "shop", github.CreateCheckRunOptions{Name: "slipway", HeadSHA: head})
	check(t, err)
	if len(run.PullRequests) != 0 || run.GetCheckSuite().HeadBranch != nil {
		t.Errorf("a fork's run has pull requests %v and the branch %v", run.PullRequests, run.GetCheckSuite().HeadBranch)
	}
}

// refused asserts that an error is GitHub's, with a status and a message.
func refused(t *testing.T, err error, status int, message string) {
	t.Helper()
	var response *http.Response
	switch e := err.(type) { //nolint:errorlint // go-github wraps none of these
	case *github.ErrorResponse:
		response = e.Response
	case *github.RateLimitError:
		response = e.Response
	}
	if response == nil || response.StatusCode != status || !strings.Contains(err.Error(), message) {
		t.Errorf("got %v, want %d %s", err, status, message)
	}
}

// What GitHub refuses is refused here; what its description already forbids is reported as well.
func TestCheckRunRules(t *testing.T) {
	text := func(n int) *string { return github.String(strings.Repeat("ä", n)) }
	output := func(change func(*github.CheckRunOutput)) *github.CheckRunOutput {
		o := &github.CheckRunOutput{Title: github.String("T"), Summary: github.String("S")}
		change(o)
		return o
	}
	annotation := func(change func(*github.CheckRunAnnotation)) *github.CheckRunOutput {
		a := &github.CheckRunAnnotation{Path: github.String("f"), StartLine: github.Int(1), EndLine: github.Int(1), AnnotationLevel: github.String("notice"), Message: github.String("m")}
		change(a)
		return output(func(o *github.CheckRunOutput) { o.Annotations = []*github.CheckRunAnnotation{a} })
	}
	for _, test := range []struct {
		name   string
		change func(*github.CreateCheckRunOptions)
		broken string // what the description says; empty when only GitHub itself refuses
	}{
		{"empty name", func(o *github.CreateCheckRunOptions) { o.Name = " " }, ""},
		{"unknown commit", func(o *github.CreateCheckRunOptions) { o.HeadSHA = strings.Repeat("a", 40) }, ""},
		{"short commit", func(o *github.CreateCheckRunOptions) { o.HeadSHA = o.HeadSHA[:7] }, ""},
		{"completed without conclusion", func(o *github.CreateCheckRunOptions) { o.Status = github.String("completed") }, ""},
		{"stale", func(o *github.CreateCheckRunOptions) { o.Conclusion = github.String("stale") }, ""},
		{"status of Actions only", func(o *github.CreateCheckRunOptions) { o.Status = github.String("waiting") }, "/status"},
		{"details elsewhere", func(o *github.CreateCheckRunOptions) { o.DetailsURL = github.String("javascript:alert(1)") }, ""},
		{"long summary", func(o *github.CreateCheckRunOptions) {
			o.Output = output(func(o *github.CheckRunOutput) { o.Summary = text(65536) })
		}, "/output/summary"},
		{"long text", func(o *github.CreateCheckRunOptions) {
			o.Output = output(func(o *github.CheckRunOutput) { o.Text = text(65536) })
		}, "/output/text"},
		{"no summary", func(o *github.CreateCheckRunOptions) {
			o.Output = output(func(o *github.CheckRunOutput) { o.Summary = nil })
		}, "/output/summary"},
		{"51 annotations", func(o *github.CreateCheckRunOptions) {
			o.Output = annotation(func(*github.CheckRunAnnotation) {})
			for range 50 {
				o.Output.Annotations = append(o.Output.Annotations, o.Output.Annotations[0])
			}
		}, "/output/annotations"},
		{"long message", func(o *github.CreateCheckRunOptions) {
			o.Output = annotation(func(a *github.CheckRunAnnotation) { a.Message = text(32769) })
		}, ""},
		{"lines backwards", func(o *github.CreateCheckRunOptions) {
			o.Output = annotation(func(a *github.CheckRunAnnotation) { a.StartLine = github.Int(2) })
		}, ""},
		{"columns over lines", func(o *github.CreateCheckRunOptions) {
			o.Output = annotation(func(a *github.CheckRunAnnotation) { a.EndLine, a.StartColumn = github.Int(2), github.Int(1) })
		}, ""},
		{"four buttons", func(o *github.CreateCheckRunOptions) {
			for range 4 {
				o.Actions = append(o.Actions, &github.CheckRunAction{Label: "l", Description: "d", Identifier: "i"})
			}
		}, "/actions"},
		{"long label", func(o *github.CreateCheckRunOptions) {
			o.Actions = []*github.CheckRunAction{{Label: strings.Repeat("l", 21), Description: "d", Identifier: "i"}}
		}, "/actions/0/label"},
		{"long description", func(o *github.CreateCheckRunOptions) {
			o.Actions = []*github.CheckRunAction{{Label: "l", Description: strings.Repeat("d", 41), Identifier: "i"}}
		}, "/actions/0/description"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			o := github.CreateCheckRunOptions{Name: "slipway", HeadSHA: w.first}
			test.change(&o)
			_, _, err := w.client().Checks.CreateCheckRun(t.Context(), "acme", "shop", o)
			refused(t, err, http.StatusUnprocessableEntity, "Validation Failed")
			if test.broken != "" {
				w.broke("checks/create request " + test.broken)
			}
			if len(w.repo.CheckRuns("")) != 0 {
				t.Error("the run was made all the same")
			}
		})
	}
	t.Run("at the limits", func(t *testing.T) {
		w := newWorld(t)
		o := github.CreateCheckRunOptions{Name: "slipway", HeadSHA: w.first, Conclusion: github.String("success"),
			Output:  annotation(func(a *github.CheckRunAnnotation) { a.Message, a.Title = text(32768), text(255) }),
			Actions: []*github.CheckRunAction{{Label: strings.Repeat("l", 20), Description: strings.Repeat("d", 40), Identifier: strings.Repeat("i", 20)}}}
		o.Output.Summary, o.Output.Text = text(65535), text(65535)
		_, _, err := w.client().Checks.CreateCheckRun(t.Context(), "acme", "shop", o)
		check(t, err)
	})
}

func TestOnlyTheNewestThousandRunsOfAName(t *testing.T) {
	w := newWorld(t)
	client := w.client()
	var oldest int64
	for i := range 1002 {
		run, _, err := client.Checks.CreateCheckRun(t.Context(), "acme", "shop", github.CreateCheckRunOptions{Name: "slipway", HeadSHA: w.first})
		check(t, err)
		if i == 1 {
			oldest = run.GetID()
		}
	}
	if left := w.repo.CheckRuns(w.first); len(left) != 1000 || left[0].ID == oldest {
		t.Errorf("%d runs are left", len(left))
	}
}

func TestForeignRun(t *testing.T) {
	w := newWorld(t)
	run, _, err := w.client().Checks.CreateCheckRun(t.Context(), "acme", "shop", github.CreateCheckRunOptions{Name: "slipway", HeadSHA: w.first})
	check(t, err)
	other, err := w.CreateApp(githubtest.AppOptions{Slug: "other"})
	check(t, err)
	_, _, err = w.tokenClient(other.Install("acme").Token()).Checks.UpdateCheckRun(t.Context(), "acme", "shop", run.GetID(), github.UpdateCheckRunOptions{Name: "mine"})
	refused(t, err, http.StatusForbidden, "Invalid app_id")
	// go-github sends an empty name when none is set, which GitHub refuses.
	_, _, err = w.client().Checks.UpdateCheckRun(t.Context(), "acme", "shop", run.GetID(), github.UpdateCheckRunOptions{Status: github.String("in_progress")})
	refused(t, err, http.StatusUnprocessableEntity, "Validation Failed")
	_, _, err = w.client().Checks.UpdateCheckRun(t.Context(), "acme", "shop", run.GetID(), github.UpdateCheckRunOptions{Name: "slipway", Status: github.String("completed")})
	refused(t, err, http.StatusUnprocessableEntity, "Validation Failed")
	if found := w.TakeViolations(); len(found) == 0 {
		t.Error("completing without a conclusion was not reported")
	}
}
