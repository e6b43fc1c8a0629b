package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-ci/slipway/jobs"
	"github.com/slipway-ci/slipway/web"
)

// Exit codes of `slipway dispatch`.
const (
	exitFailed      = 1 // the run did not succeed
	exitRefused     = 2 // nothing was started, or the command line is wrong
	exitTimedOut    = 3 // the run goes on
	exitInterrupted = 130
)

// Times of `slipway dispatch`.
const (
	lookEvery      = 500 * time.Millisecond
	decideLongest  = 30 * time.Second // for the leader to decide, when the run's end is not waited for
	waitedAtMost   = 24 * time.Hour
	usualExitNotes = "Exit codes: 0 success; 1 the run failed, was cancelled or waits for an approval; 2 refused, or a wrong command line; 3 not over in time."
)

func dispatchCommand() *cobra.Command {
	var d dispatching
	var fields []string
	cmd := &cobra.Command{
		Use: "dispatch OWNER/NAME WORKFLOW", Short: "Start a GitHub Actions workflow and follow it",
		Long: `Start a workflow as a run of one job: its inputs are checked before anything starts, and the workflow is followed to its end.
Without --wait the command ends when the run has begun. ` + usualExitNotes,
		Example: "  slipway dispatch acme/shop hello.yaml -f greeting=Welcome -f name=Slipway --wait",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return &exit{exitRefused, errors.New("name a repository and a workflow: slipway dispatch OWNER/NAME WORKFLOW [-f input=value]")}
			}
			return nil
		},
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &exit{exitRefused, err} })
	dial := socketFlags(cmd)
	cmd.Flags().StringArrayVarP(&fields, "field", "f", nil, "an input of the workflow, as key=value")
	cmd.Flags().StringVar(&d.ref, "ref", "", "branch or tag to start it on; default: the default branch")
	cmd.Flags().BoolVar(&d.wait, "wait", false, "show how the run goes, until it is over")
	cmd.Flags().DurationVar(&d.timeout, "timeout", waitedAtMost, "with --wait: how long; the run goes on after")
	cmd.Flags().StringVarP(&d.output, "output", "o", "text", "text or json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		request := web.OperatorRequest{By: operator()}
		request.Repository, request.Dispatch = args[0], &web.DispatchRequest{Workflow: args[1], Ref: d.ref}
		inputs, err := inputsOf(fields)
		if err = errors.Join(err, checkOutput(d.output)); err != nil {
			return &exit{exitRefused, err}
		}
		for name, value := range inputs {
			request.Dispatch.Set(name, value)
		}
		if d.client, err = dial(); err != nil {
			return err
		}
		d.out = cmd.OutOrStdout()
		return d.run(cmd.Context(), request)
	}
	return cmd
}

// inputsOf reads key=value pairs.
func inputsOf(fields []string) (map[string]string, error) {
	inputs := map[string]string{}
	for _, field := range fields {
		name, value, ok := strings.Cut(field, "=")
		if _, twice := inputs[name]; !ok || name == "" || twice {
			return nil, fmt.Errorf("-f %s: write each input once, as key=value", field)
		}
		inputs[name] = value
	}
	return inputs, nil
}

// A dispatching is one call of the command.
type dispatching struct {
	client      *client
	out         io.Writer
	ref, output string
	wait        bool
	timeout     time.Duration

	id    string
	shown map[string]string // what was printed last, by job
}

func (d *dispatching) run(ctx context.Context, request web.OperatorRequest) error {
	var accepted web.RunAccepted
	if err := d.ask(ctx, request, &accepted); err != nil {
		return err
	}
	d.id, d.shown = accepted.ID, map[string]string{}
	if d.output == "text" {
		fmt.Fprintf(d.out, "run %s  %s\n", accepted.ID, accepted.URL)
	}
	patience := decideLongest
	if d.wait {
		patience = d.timeout
	}
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	status, err := d.follow(waiting)
	switch {
	case ctx.Err() != nil:
		return &exit{exitInterrupted, fmt.Errorf("no longer watching; the run goes on: slipway runs %s", d.id)}
	case waiting.Err() != nil && err != nil:
		return &exit{exitTimedOut, fmt.Errorf("run %s is %s after %s and goes on: slipway runs %s", d.id, cmp.Or(string(status.State), "not decided about"), patience, d.id)}
	case err != nil:
		return err
	}
	return d.end(status)
}

// ask hands the request in. What the server refuses is the caller's.
func (d *dispatching) ask(ctx context.Context, request web.OperatorRequest, accepted *web.RunAccepted) error {
	err := d.client.post(ctx, "/api/v1/requests", request, accepted)
	if problem := (*refused)(nil); errors.As(err, &problem) && problem.status == http.StatusBadRequest {
		return &exit{exitRefused, err}
	}
	return err
}

// follow looks at the run until it is over, or without --wait until it is decided about, and prints what changes.
func (d *dispatching) follow(ctx context.Context) (status web.RunStatus, err error) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		now := web.RunStatus{}
		if err := d.client.get(ctx, "/api/v1/runs/"+d.id, &now); err != nil {
			return status, err
		}
		status = now
		if d.wait && d.output == "text" {
			d.progress(ctx, status)
		}
		if status.Over || !d.wait && status.State != web.StateAccepted {
			return status, nil
		}
		select {
		case <-ctx.Done():
			return status, ctx.Err()
		case <-tick.C:
		}
	}
}

// progress prints how the jobs stand, and those of the workflows that they follow, where that changed.
func (d *dispatching) progress(ctx context.Context, status web.RunStatus) {
	for _, j := range status.Jobs {
		if id, ok := j.Outputs["run_id"].(float64); ok {
			var known jobs.WorkflowRun
			path := fmt.Sprintf("/api/v1/runs/%s/workflow-runs/%d", url.PathEscape(status.ID), int64(id))
			if d.client.get(ctx, path, &known) == nil { // what is not known is not shown
				for _, w := range known.Jobs {
					d.say(fmt.Sprintf("%s/%d", j.Name, w.ID), fmt.Sprintf("  %s: %s", w.Name, stands(w.Status, w.Conclusion)))
				}
			}
		}
		line := fmt.Sprintf("%s: %s", j.Name, j.State)
		if note := cmp.Or(j.Summary, j.Waiting); note != "" {
			line += ", " + note
		}
		d.say(j.Name, line)
	}
}

func (d *dispatching) say(key, line string) {
	if d.shown[key] != line {
		d.shown[key] = line
		fmt.Fprintln(d.out, web.Plain(line))
	}
}

// end prints the outcome and turns it into an exit code.
func (d *dispatching) end(status web.RunStatus) error {
	if d.output == "json" {
		if err := json.NewEncoder(d.out).Encode(status); err != nil {
			return err
		}
	}
	switch {
	case status.State == web.StateRefused:
		return &exit{exitRefused, errors.New(plainLines(status.Sentence))}
	case !status.Over:
		return nil
	case status.Conclusion != "success" && status.Conclusion != "neutral":
		return &exit{exitFailed, fmt.Errorf("run %s: %s", status.ID, plainLines(status.Sentence))}
	case d.output == "text":
		fmt.Fprintln(d.out, plainLines(status.Sentence))
	}
	return nil
}

// plainLines makes a text of several lines safe for a terminal.
func plainLines(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = web.Plain(lines[i])
	}
	return strings.Join(lines, "\n")
}
