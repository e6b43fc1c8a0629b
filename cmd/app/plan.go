package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
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
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := f.check(); err != nil {
			return err
		}
		e, dir, guesses, err := f.read(cmd)
		if err != nil {
			return err
		}
		in, notes, err := f.input(e, dir)
		if err != nil {
			return err
		}
		in.Workflows = workflowsOf(in, dir, f.as != "")
		plan := pipeline.Plan(in)
		plan.Notes = slices.Concat(guesses, notes, plan.Notes)
		if err := f.print(cmd.OutOrStdout(), in.Run, plan); err != nil {
			return err
		}
		if n := len(plan.Faults); n > 0 {
			return fmt.Errorf("%d faults: %s can't be used as it is", n, in.Path)
		}
		return nil
	}
	return cmd
}

// check looks at how the flags go together.
func (f planFlags) check() error {
	switch {
	case f.as == "" && (f.event == "" || f.payload == ""):
		return errors.New("name an event: --event NAME --payload FILE, or --as push|pull_request --base REF")
	case f.as != "" && f.event+f.payload != "":
		return errors.New("name one event: either --event NAME --payload FILE, or --as push|pull_request --base REF")
	}
	return checkOutput(f.output)
}

// read finds out what the event is; dir is where the repository's files lie, and guesses what had to be guessed.
func (f planFlags) read(cmd *cobra.Command) (e jobs.Event, dir string, guesses []string, err error) {
	if f.as != "" {
		return fromWorkingCopy(cmd.Context(), f.as, f.base)
	}
	body, err := os.ReadFile(f.payload)
	if err != nil {
		return e, "", nil, err
	}
	e, err = webhook.Decoder{}.Decode(jobs.Delivery{GUID: "offline-plan", Event: f.event, Body: body})
	if err != nil {
		return e, "", nil, fmt.Errorf("%s: %w", f.payload, err)
	}
	if e.Kind == jobs.EventPush && e.After == "" {
		return e, "", nil, errors.New("the payload is about a deleted ref, which starts nothing")
	}
	return e, ".", nil, nil
}

func (f planFlags) input(e jobs.Event, dir string) (in jobs.PlanInput, notes []string, err error) {
	run := jobs.Describe(e)
	run.ID = jobs.RunID(e.Delivery)
	facts := jobs.TrustFacts{}
	if e.PullRequest != nil && e.PullRequest.HeadRepo == e.Repository.ID {
		facts = jobs.TrustFacts{Permission: "write", PermissionOf: e.Sender.ID}
	}
	in = jobs.PlanInput{Event: e, Run: run, Path: cmp.Or(f.file, jobs.PipelinePath), SHA: run.SHA, Changes: e.Changes}
	file := cmp.Or(f.file, filepath.Join(dir, jobs.PipelinePath))
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
		c, err := consultConfig(f.config)
		if err != nil {
			return in, nil, err
		}
		rules, err := pipeline.Compile(c.policy(), c.clusterNames())
		if err != nil {
			return in, nil, fmt.Errorf("%s: %w", f.config, err)
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

// A printedPlan is a plan as -o json prints it.
type printedPlan struct {
	jobs.Plan
	Trust jobs.Trust   `json:"trust"`
	Jobs  []printedJob `json:"jobs"`
}

type printedJob struct {
	jobs.PlannedJob
	Tags []string `json:"tags,omitempty"` // what a build pushes, as IMAGE:TAG
}

func (f planFlags) print(w io.Writer, run jobs.RunInfo, plan jobs.Plan) error {
	if f.output == "text" {
		return printPlan(w, run, plan)
	}
	printed := printedPlan{Plan: plan, Trust: run.Trust, Jobs: []printedJob{}}
	for _, j := range plan.Jobs {
		tags, err := pushed(run, j)
		if err != nil && j.Fault == "" {
			j.Fault = err.Error()
		}
		printed.Jobs = append(printed.Jobs, printedJob{j, tags})
	}
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	return out.Encode(printed)
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
		tags, err := pushed(run, j)
		if err != nil {
			tags = []string{err.Error()}
		}
		for _, tag := range tags {
			fmt.Fprintf(t, "\t\t\t%s\n", tag)
		}
	}
	return t.Flush()
}

// pushed is what a build would push, which only its tags tell.
func pushed(run jobs.RunInfo, j jobs.PlannedJob) (list []string, err error) {
	var spec jobs.BuildSpec
	if !j.Planned || j.Kind != jobs.KindBuild || json.Unmarshal(j.Spec, &spec) != nil || spec.Image == "" {
		return nil, nil
	}
	if run.SHA == "" && run.Tag != "" {
		run.SHA = strings.Repeat("0", 40) // a Git tag's images are named after the tag alone
	}
	immutable, moving, err := build.Tags(run, spec.Tags)
	if err != nil {
		return nil, err
	}
	for _, tag := range slices.Concat(immutable, moving) {
		list = append(list, spec.Image+":"+tag)
	}
	return list, nil
}
