package pipeline_test

import (
	"fmt"
	"time"

	"github.com/slipway-ci/slipway/jobs"
	"github.com/slipway-ci/slipway/pipeline"
)

func ExamplePlan() {
	file := `
jobs:
  image:
    paths: ["src/**", Dockerfile]
    build: {}
  docs:
    paths: ["docs/**"]
    build: {image: registry.example.com/acme/shop/docs}
`
	repository := jobs.Repository{ID: 1, Owner: "acme", Name: "shop", DefaultBranch: "main"}
	trust := jobs.Trust{Level: jobs.Trusted}
	plan := pipeline.Plan(jobs.PlanInput{
		Event:   jobs.Event{Kind: jobs.EventPush, Repository: repository, Ref: "refs/heads/main", After: "3f2c9d1e5a77"},
		Run:     jobs.RunInfo{Repository: repository, Event: jobs.EventPush, Ref: "refs/heads/main", Branch: "main", SHA: "3f2c9d1e5a77", Trust: trust},
		Trust:   trust,
		Changes: jobs.Changes{Known: true, Files: []string{"src/main.go"}},
		File:    []byte(file), HasFile: true, Path: ".slipway.yaml", SHA: "3f2c9d1e5a77",
		Grant:        jobs.Grant{Push: []jobs.PushGrant{{Registry: "registry.example.com", Names: []string{"acme/shop", "acme/shop/**"}}}},
		DefaultImage: "registry.example.com/acme/shop",
	})
	for _, j := range plan.Jobs {
		fmt.Println(j.Name, j.Planned, string(j.Spec))
	}
	// Output:
	// image true {"image":"registry.example.com/acme/shop","context":".","dockerfile":"Dockerfile"}
	// docs false
}

func ExampleValidate() {
	for _, f := range pipeline.Validate([]byte("jobs:\n  image:\n    biuld: {}\n"), ".slipway.yaml") {
		fmt.Printf("%s:%d:%d: %s\n", f.Path, f.Line, f.Column, f.Message)
	}
	// Output:
	// .slipway.yaml:3:5: jobs.image: there is no "biuld" (did you mean build?); it knows on, paths, needs, if, build, deploy, dispatch, await
}

func ExampleMatchAny() {
	ok, pattern := pipeline.MatchAny([]string{"release/**", "!release/old"}, "release/2")
	fmt.Println(ok, pattern)
	ok, pattern = pipeline.MatchAny([]string{"release/**", "!release/old"}, "release/old")
	fmt.Println(ok, pattern)
	// Output:
	// true release/**
	// false !release/old
}

func ExampleRules_Grant() {
	rules, err := pipeline.Compile(pipeline.Policy{
		Registries: map[string]pipeline.RegistryPolicy{"registry.example.com": {}},
	}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	grant := rules.Grant(jobs.RunInfo{
		Repository: jobs.Repository{Owner: "Acme", Name: "Shop", DefaultBranch: "main"},
		Trust:      jobs.Trust{Level: jobs.Trusted},
	})
	fmt.Println(grant.Push)
	// Output:
	// [{registry.example.com [acme/shop acme/shop/**]}]
}

func ExampleCommands() {
	file := `
jobs:
  greet:
    on: {command: {name: greet, description: say hello, args: {greeting: {default: Hello}, times: {type: number, required: true}}}}
    build: {args: {GREETING: "${{ args.greeting }}"}}
`
	for _, c := range pipeline.Commands([]byte(file), ".slipway.yaml") {
		fmt.Println(jobs.Usage(c.Name, c.Args), "-", c.Description)
	}
	// Output: /greet [greeting=Hello] <times> - say hello
}

func ExampleSchedules() {
	file := `
jobs:
  nightly:
    on: {schedule: [{cron: "0 3 * * mon-fri", timezone: Asia/Seoul}]}
    build: {}
`
	for _, s := range pipeline.Schedules([]byte(file), ".slipway.yaml") {
		friday := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
		fmt.Println(s, "comes at", s.Next(friday).Format(time.RFC3339))
	}
	// Output: 0 3 * * mon-fri Asia/Seoul comes at 2026-11-23T03:00:00+09:00
}

func ExampleRules_Command() {
	rules, err := pipeline.Compile(pipeline.Policy{
		Commands: map[string]pipeline.CommandPolicy{"deploy": {Role: "maintain", Teams: []string{"acme/sre"}}},
	}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(rules.Command("deploy"))
	fmt.Println(rules.Command("build"))
	// Output:
	// {maintain [] [acme/sre]}
	// {write [] []}
}

func ExampleCheckInputs() {
	w, _ := pipeline.ReadWorkflow([]byte(`
on:
  workflow_dispatch:
    inputs:
      greeting: {description: what to say, required: true}
      times: {type: number, default: 1}
`))
	prepared, _ := pipeline.CheckInputs(w, map[string]any{"greeting": "Welcome", "times": 3})
	fmt.Println(prepared)
	_, fault := pipeline.CheckInputs(w, map[string]any{"greting": "Welcome"})
	fmt.Println(fault)
	fmt.Println(w.Usage("hello.yaml"))
	// Output:
	// map[greeting:Welcome times:3]
	// the workflow has no input "greting" (did you mean greeting?)
	// Usage: `/dispatch hello.yaml greeting=<string> [times=<number>]`
	//
	// - `greeting`: what to say (string, required)
	// - `times`: number, default `1`
}
