package githubapp

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/githubapp/githubtest"
	"github.com/slipway-ci/slipway/jobs"
)

func TestRepository(t *testing.T) {
	w := newWorld(t)
	ask := func(name string) (int64, jobs.Repository, error) {
		t.Helper()
		installation, repo, err := w.app.Repository(t.Context(), name)
		clean(t, err)
		return installation, repo, err
	}
	want := described(w.repo)
	want.Private = true
	for _, name := range []string{"acme/shop", "Acme/SHOP"} {
		if installation, repo, err := ask(name); err != nil || installation != w.inst.ID || repo != want {
			t.Errorf("%s: got %d, %+v, %v", name, installation, repo, err)
		}
	}
	if n := w.CountRequests(nil); n != 3 {
		t.Errorf("%d calls, want 3", n)
	}
	w.clock.advance(locationLife + time.Second)
	_, _, err := ask("acme/shop")
	ok(t, err)
	if n := w.CountRequests(nil); n != 6 {
		t.Errorf("%d calls once the answer is old, want 6", n)
	}

	for _, name := range []string{"", "acme", "/", "acme/", "/shop", "acme/shop/x", "../shop", "acme/..", "acme/sh op", "acme/shop?x", "acme/shop#x", "acme/%2e%2e", strings.Repeat("a", 200) + "/b"} {
		_, _, err := ask(name)
		refusedWith(t, name, err, "OWNER/NAME")
	}
	if n := w.CountRequests(nil); n != 6 {
		t.Error("GitHub was asked about what is no name")
	}
	w.another("other/app", githubtest.RepositoryOptions{})
	for _, name := range []string{"acme/nothing", "other/app"} {
		_, _, err := ask(name)
		refusedWith(t, name, err, "not installed on "+name)
	}
	w.Fail(githubtest.Failure{Operation: "apps/get-repo-installation", Status: 502})
	var away *Unavailable
	if _, _, err := ask("acme/away"); !errors.As(err, &away) {
		t.Errorf("GitHub is away: got %v", err)
	}
	// What ended meanwhile is no longer found once the answer is old.
	w.clock.advance(locationLife + time.Second)
	w.inst.Suspend(true)
	_, _, err = ask("acme/shop")
	refusedWith(t, "suspended", err, "suspended")
	w.inst.Suspend(false)
	ok(t, w.DeleteRepository(w.repo))
	_, _, err = ask("acme/shop")
	refusedWith(t, "deleted", err, "not installed on acme/shop")
}

func TestWorkflowFile(t *testing.T) {
	w := newYard(t)
	next := strings.Replace(helloWorkflow, "name: Hello\n", "name: Next\n", 1)
	w.commit("next", map[string]string{".github/workflows/hello.yaml": next, ".github/workflows/big.yaml": strings.Repeat("#", 2<<20), ".github/workflows/dir.yaml/x": "y"})
	tools, _ := w.another("acme/tools", githubtest.RepositoryOptions{Private: true})
	_, err := tools.Commit("main", "Add", map[string]string{".github/workflows/deploy.yaml": helloWorkflow}, w.alice)
	ok(t, err)
	list, err := w.app.Workflows(t.Context(), w.inst.ID, described(w.repo))
	ok(t, err)
	if len(list) != 1 || list[0].Name != "Hello" || list[0].Path != ".github/workflows/hello.yaml" || list[0].State != "active" || list[0].ID == 0 || list[0].URL == "" {
		t.Fatalf("the workflows are %+v", list)
	}
	number := itoa(list[0].ID)
	read := func(ref jobs.WorkflowRef) (jobs.WorkflowFile, error) {
		t.Helper()
		file, err := w.app.WorkflowFile(t.Context(), w.inst.ID, described(w.repo), ref)
		clean(t, err)
		if file.WorkflowRef != ref {
			t.Errorf("%+v: got that of %+v", ref, file.WorkflowRef)
		}
		return file, err
	}
	for _, test := range []struct {
		ref                    jobs.WorkflowRef
		path, content, problem string
	}{
		{jobs.WorkflowRef{Workflow: "hello.yaml"}, "hello.yaml", helloWorkflow, ""},
		{jobs.WorkflowRef{Workflow: "hello.yaml", Ref: "next"}, "hello.yaml", next, ""},
		{jobs.WorkflowRef{Workflow: number, Ref: "next"}, "hello.yaml", next, ""},
		{jobs.WorkflowRef{Workflow: ".github/workflows/hello.yaml", Repository: "ACME/shop"}, "hello.yaml", helloWorkflow, ""},
		{jobs.WorkflowRef{Workflow: "deploy.yaml", Repository: "acme/tools"}, "deploy.yaml", helloWorkflow, ""},
		{jobs.WorkflowRef{Workflow: "other.yaml"}, "other.yaml", "", "acme/shop has no .github/workflows/other.yaml on the default branch"},
		{jobs.WorkflowRef{Workflow: "other.yaml", Ref: "next"}, "other.yaml", "", "acme/shop has no .github/workflows/other.yaml at next"},
		{jobs.WorkflowRef{Workflow: "hello.yaml", Ref: "nowhere"}, "hello.yaml", "", "there is no branch or tag nowhere in acme/shop"},
		{jobs.WorkflowRef{Workflow: "big.yaml", Ref: "next"}, "big.yaml", "", "larger than 1 MB"},
		{jobs.WorkflowRef{Workflow: "dir.yaml", Ref: "next"}, "dir.yaml", "", "not a regular file"},
		{jobs.WorkflowRef{Workflow: "99"}, "", "", "acme/shop has no workflow with the ID 99"},
		{jobs.WorkflowRef{Workflow: "../x.yaml"}, "", "", "neither the name of a file in .github/workflows nor a workflow's ID"},
		{jobs.WorkflowRef{Workflow: "hello.yaml", Repository: "acme/nothing"}, "", "", "not installed on acme/nothing"},
		{jobs.WorkflowRef{Workflow: "hello.yaml", Repository: "a b"}, "", "", "OWNER/NAME"},
	} {
		file, err := read(test.ref)
		ok(t, err)
		path := ""
		if test.path != "" {
			path = ".github/workflows/" + test.path
		}
		if string(file.Content) != test.content || file.Path != path || (test.problem == "") != (file.Problem == "") || !strings.Contains(file.Problem, test.problem) {
			t.Errorf("%+v: got %s with %d bytes, problem %q", test.ref, file.Path, len(file.Content), file.Problem)
		}
	}
	var away *Unavailable
	w.Fail(githubtest.Failure{Operation: "repos/get-content", Status: 503})
	if file, err := read(jobs.WorkflowRef{Workflow: "hello.yaml"}); !errors.As(err, &away) || file.Problem != "" {
		t.Errorf("GitHub is away: got %q, %v", file.Problem, err)
	}
	w.granted("actions", "read")
	file, err := read(jobs.WorkflowRef{Workflow: "hello.yaml"})
	if err != nil || !strings.Contains(file.Problem, "Actions: read and write") {
		t.Errorf("without permission: got %q, %v", file.Problem, err)
	}
	_, err = w.app.Workflows(t.Context(), w.inst.ID, described(w.repo))
	refusedWith(t, "without permission", err, "Actions: read and write")
	// The run's own repository being gone is an error; another's is the file's problem.
	w.granted("actions", "write")
	ok(t, w.DeleteRepository(w.repo))
	var gone *jobs.Gone
	if _, err := read(jobs.WorkflowRef{Workflow: "hello.yaml"}); !errors.As(err, &gone) {
		t.Errorf("our own repository is gone: got %v", err)
	}
}
