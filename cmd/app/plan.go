package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/slipway-ci/slipway/jobs"
	"github.com/slipway-ci/slipway/jobs/build"
	"github.com/slipway-ci/slipway/pipeline"
	"github.com/slipway-ci/slipway/webhook"
)

type planFlags struct {
	event, payload, file, config, as, base, output string
}

func planCommand() *cobra.Command {
	var f planFlags
	cmd := &cobra.Command{
		Use: "plan", Short: "Say what an event would start, and why", Args: cobra.NoArgs,
		Long: `Say what an event would start, and why, without a server and without changing anything. The event is a webhook payload
(--event, --payload) or what the working copy would cause (--as, --base). Without --config the operator's grants are not
known and not checked. GitHub is not asked: a pull request within one repository counts as sent by a writer.`,
		Example: "  slipway plan --event push --payload push.json\n  slipway plan --as pull_request --base origin/main",
	}
	flags := cmd.Flags()
	flags.StringVar(&f.event, "event", "", "the webhook event's name, such as push")
	flags.StringVar(&f.payload, "payload", "", "a file with the event's payload")
	flags.StringVar(&f.file, "pipeline", "", "the pipeline file; default: .slipway.yaml of the working copy")
	flags.StringVar(&f.config, "config", "", "a server's configuration, for its grants")
	flags.StringVar(&f.as, "as", "", "push or pull_request: what the working copy's HEAD would cause")
	flags.StringVar(&f.base, "base", "", "with --as: the commit to compare with, such as origin/main")
	flags.StringVarP(&f.output, "output", "o", "text", "text or json")
	cmd.MarkFlagsRequiredTogether("event", "payload")
	cmd.MarkFlagsMutuallyExclusive("payload", "as")
	cmd.MarkFlagsOneRequired("payload", "as")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if f.output != "text" && f.output != "json" {
			return fmt.Errorf("-o %s: it must be text or json", f.output)
		}
		e, dir, err := f.read(cmd)
		if err != nil {
			return err
		}
		in, notes, err := f.input(e, dir)
		if err != nil {
			return err
		}
		in.Workflows = workflowsOf(in, dir, f.as != "")
		plan := pipeline.Plan(in)
		plan.Notes = append(notes, plan.Notes...)
		if f.output == "json" {
			out := json.NewEncoder(cmd.OutOrStdout())
			out.SetIndent("", "  ")
			return out.Encode(plan)
		}
		return printPlan(cmd.OutOrStdout(), in.Run, plan)
	}
	return cmd
}

// read finds out what the event is; dir is where the repository's files lie.
func (f planFlags) read(cmd *cobra.Command) (e jobs.Event, dir string, err error) {
	if f.as != "" {
		return fromWorkingCopy(cmd.Context(), f.as, f.base)
	}
	body, err := os.ReadFile(f.payload)
	if err != nil {
		return e, "", err
	}
	e, err = webhook.Decoder{}.Decode(jobs.Delivery{GUID: "offline-plan", Event: f.event, Body: body})
	if err != nil {
		return e, "", fmt.Errorf("%s: %w", f.payload, err)
	}
	if e.Kind == jobs.EventPush && e.After == "" {
		return e, "", errors.New("the payload is about a deleted ref, which starts nothing")
	}
	return e, ".", nil
}

func (f planFlags) input(e jobs.Event, dir string) (in jobs.PlanInput, notes []string, err error) {
	run := jobs.Describe(e)
	run.ID = jobs.RunID(e.Delivery)
	facts := jobs.TrustFacts{}
	if e.PullRequest != nil && e.PullRequest.HeadRepo == e.Repository.ID {
		facts = jobs.TrustFacts{Permission: "write", PermissionOf: e.Sender.ID}
	}
	in = jobs.PlanInput{Event: e, Run: run, Path: jobs.PipelinePath, SHA: run.SHA, Changes: e.Changes}
	file := f.file
	if file == "" {
		file = filepath.Join(dir, jobs.PipelinePath)
	}
	in.File, err = readPipeline(file)
	switch {
	case err == nil:
		in.HasFile = true
	case f.file != "" || !errors.Is(err, fs.ErrNotExist):
		return in, nil, err
	}
	if _, err := os.Stat(filepath.Join(dir, "Dockerfile")); err == nil {
		in.HasDockerfile = true
	}
	bots := []string(nil)
	if f.config != "" {
		c, err := LoadConfig(f.config)
		if err != nil {
			return in, nil, err
		}
		rules, err := pipeline.Compile(c.policy(), c.clusterNames())
		if err != nil {
			return in, nil, err
		}
		bots, in.DefaultImage = rules.Bots(), rules.DefaultImage(e.Repository)
		in.Trust = jobs.DecideTrust(e, facts, bots)
		in.Run.Trust = in.Trust
		in.Grant = rules.Grant(in.Run)
		return in, nil, nil
	}
	in.Trust = jobs.DecideTrust(e, facts, bots)
	in.Run.Trust = in.Trust
	in.DefaultImage = "registry.example.com/" + strings.ToLower(e.Repository.FullName())
	in.NoGrants = true
	return in, []string{"without --config the operator's grants are not known and not checked"}, nil
}

func printPlan(w io.Writer, run jobs.RunInfo, plan jobs.Plan) error {
	fmt.Fprintf(w, "%s (%s)\n", plan.Pipeline, run.Trust.Reason)
	if plan.SkipReason != "" {
		fmt.Fprintf(w, "nothing runs: %s\n", plan.SkipReason)
	}
	for _, n := range plan.Notes {
		fmt.Fprintf(w, "note: %s\n", n)
	}
	for _, fault := range plan.Faults {
		fmt.Fprintf(w, "%s%s\n", place(fault), fault.Message)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if len(plan.Jobs) > 0 {
		fmt.Fprintln(t, "\nJOB\tKIND\tRUNS\tWHY")
	}
	for _, j := range plan.Jobs {
		runs, why := "no", j.Reason
		switch {
		case j.Fault != "":
			runs, why = "fails", j.Fault
		case j.Planned && run.Trust.Level != jobs.Trusted:
			runs = "held"
		case j.Planned:
			runs = "yes"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", j.Name, j.Kind, runs, why)
		fmt.Fprintf(t, "%s", planned(run, j))
	}
	return t.Flush()
}

// planned adds what a build would push, which only its tags tell.
func planned(run jobs.RunInfo, j jobs.PlannedJob) string {
	var spec jobs.BuildSpec
	if !j.Planned || j.Kind != jobs.KindBuild || json.Unmarshal(j.Spec, &spec) != nil || spec.Image == "" {
		return ""
	}
	immutable, moving, err := build.Tags(run, spec.Tags)
	if err != nil {
		return fmt.Sprintf("\t\t\t%v\n", err)
	}
	out := ""
	for _, tag := range append(immutable, moving...) {
		out += fmt.Sprintf("\t\t\t%s:%s\n", spec.Image, tag)
	}
	return out
}
