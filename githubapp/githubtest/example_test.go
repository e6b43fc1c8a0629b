package githubtest_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"

	"github.com/slipway-ci/slipway/githubapp/githubtest"
)

// A push reaches the App as a signed webhook.
func Example() {
	app := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		fmt.Println(r.Header.Get("X-GitHub-Event"))
	}))
	defer app.Close()
	dir, err := os.MkdirTemp("", "githubtest")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)

	github, err := githubtest.Start(githubtest.Options{Dir: dir})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer github.Close()
	slipway, err := github.CreateApp(githubtest.AppOptions{Slug: "slipway", WebhookURL: app.URL, WebhookSecret: "secret"})
	if err != nil {
		fmt.Println(err)
		return
	}
	shop, err := github.CreateRepository("acme/shop", githubtest.RepositoryOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	slipway.Install("acme")
	alice := github.CreateUser("alice")
	shop.SetPermission(alice, "write")
	if _, err := shop.Commit("main", "First", map[string]string{"README.md": "# Shop\n"}, alice); err != nil {
		fmt.Println(err)
		return
	}
	if err := github.WaitIdle(context.Background()); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("violations:", len(github.Violations()))
	// Output:
	// installation
	// create
	// push
	// check_suite
	// violations: 0
}

// A workflow that somebody dispatches is played: its steps run in an interpreter that starts no programs.
func ExampleServer_RunWorkflows() {
	dir, err := os.MkdirTemp("", "githubtest")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	github, err := githubtest.Start(githubtest.Options{Dir: dir})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer github.Close()
	shop, err := github.CreateRepository("acme/shop", githubtest.RepositoryOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	alice := github.CreateUser("alice")
	shop.SetPermission(alice, "write")
	hello := `on: {workflow_dispatch: {inputs: {name: {required: true}}}}
run-name: Greet ${{ inputs.name }}
jobs:
  hello:
    steps:
      - {run: "echo \"Hello, $NAME!\" > said.txt", env: {NAME: "${{ inputs.name }}"}}
      - {name: Look, run: test -s said.txt}
`
	if _, err := shop.Commit("main", "Greet", map[string]string{".github/workflows/hello.yaml": hello}, alice); err != nil {
		fmt.Println(err)
		return
	}
	github.RunWorkflows(&githubtest.WorkflowScript{})
	run, err := shop.DispatchWorkflow("hello.yaml", "main", map[string]string{"name": "Bob"}, alice)
	if err != nil {
		fmt.Println(err)
		return
	}
	conclusion, err := run.Wait(context.Background())
	fmt.Println(run.Title(), conclusion, err)
	for _, step := range run.Jobs()[0].Steps {
		fmt.Println("-", step.Name, step.Conclusion)
	}
	// Output:
	// Greet Bob success <nil>
	// - Set up job success
	// - Run echo "Hello, $NAME!" > said.txt success
	// - Look success
	// - Complete job success
}
