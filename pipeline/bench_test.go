package pipeline

import (
	"fmt"
	"strings"
	"testing"

	"github.com/slipway-ci/slipway/jobs"
)

const typicalFile = `
on: {pull_request: {}, push: {branches: [$default]}}
jobs:
  api:
    paths: ["services/api/**", "libs/**"]
    build: {image: "registry.example.com/${{ repository.full_name }}/api", context: services/api, args: {REVISION: "${{ run.sha }}"}}
  web:
    paths: ["services/web/**", "libs/**"]
    build: {image: "registry.example.com/${{ repository.full_name }}/web", context: services/web}
  release:
    on: {push: {branches: [$default]}}
    needs: [api, web]
    deploy:
      environments: [staging]
      helm:
        - chart: charts/shop
          set: {api.digest: "${{ needs.api.outputs.digest }}", web.digest: "${{ needs.web.outputs.digest }}", replicas: 3}
`

// hundredJobs is the largest file there can be, in a chain of tens.
func hundredJobs() string {
	var b strings.Builder
	b.WriteString("jobs:\n")
	for i := range MaxJobs {
		fmt.Fprintf(&b, "  job%d:\n    paths: [\"services/s%d/**\", \"libs/**\"]\n", i, i)
		needs := ""
		if i%10 > 0 {
			fmt.Fprintf(&b, "    needs: [job%d]\n", i-1)
			needs = fmt.Sprintf(", FROM: \"${{ needs.job%d.outputs.digest }}\"", i-1)
		}
		fmt.Fprintf(&b, "    build: {image: registry.example.com/acme/shop/s%d, args: {REVISION: \"${{ run.sha }}\"%s}}\n", i, needs)
	}
	return b.String()
}

func BenchmarkPlan(b *testing.B) {
	for _, bench := range []struct {
		name, text string
		files      int
	}{{"typical", typicalFile, 20}, {"100jobs", hundredJobs(), 20}, {"100jobs3000files", hundredJobs(), 3000}} {
		b.Run(bench.name, func(b *testing.B) {
			e := event{Push: "main"}
			for i := range bench.files {
				e.Changed = append(e.Changed, fmt.Sprintf("docs/section-%d/page.md", i))
			}
			e.Changed = append(e.Changed, "libs/a.go")
			in, _ := e.input(b, map[string][]byte{".slipway.yaml": []byte(bench.text)})
			if plan := Plan(in); len(plan.Faults) > 0 || !plan.Selected() {
				b.Fatal(show(plan))
			}
			b.ReportAllocs()
			for b.Loop() {
				Plan(in)
			}
		})
	}
}

func BenchmarkNeedsChanges(b *testing.B) {
	in, _ := event{Push: "main"}.input(b, map[string][]byte{".slipway.yaml": []byte(typicalFile)})
	b.ReportAllocs()
	for b.Loop() {
		NeedsChanges(in)
	}
}

func BenchmarkResolve(b *testing.B) {
	in, rules := event{Push: "main"}.input(b, map[string][]byte{".slipway.yaml": []byte(typicalFile)})
	run := jobs.Run{RunInfo: in.Run}
	for _, j := range Plan(in).Jobs {
		run.Jobs = append(run.Jobs, jobs.Job{Name: j.Name, Kind: j.Kind, Needs: j.Needs, Spec: j.Spec, Template: j.Template,
			State: jobs.JobSucceeded, Outputs: map[string]any{"digest": "sha256:aa"}})
	}
	grant := rules.Grant(in.Run)
	b.ReportAllocs()
	for b.Loop() {
		if r, err := Resolve(run, run.Jobs[2], grant); err != nil || r.Spec == nil {
			b.Fatal(r, err)
		}
	}
}

func BenchmarkMatch(b *testing.B) {
	for _, pattern := range []string{"services/api/main.go", "services/**", "**/*src/**/*.go", strings.Repeat("*a", 100)} {
		b.Run(shorten(pattern), func(b *testing.B) {
			name := strings.Repeat("services/asrc/", 10) + "main.go"
			b.ReportAllocs()
			for b.Loop() {
				Match(pattern, name)
			}
		})
	}
}
