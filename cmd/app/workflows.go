package main

import (
	"cmp"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-ci/slipway/jobs"
	"github.com/slipway-ci/slipway/web"
)

func workflowsCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{Use: "workflows OWNER/NAME", Short: "List the GitHub Actions workflows of a repository", Args: cobra.ExactArgs(1)}
	dial := socketFlags(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := dial()
		if err != nil {
			return err
		}
		query := url.Values{"repository": args}
		return show(cmd, c, "/api/v1/workflows?"+query.Encode(), output, func(w io.Writer, list workflowList) error {
			fmt.Fprintln(w, "NAME\tSTATE\tID\tPATH")
			for _, f := range list.Workflows {
				fmt.Fprintf(w, "%s\t%s\t%d\t%s\n", web.Plain(f.Name), f.State, f.ID, web.Plain(f.Path))
			}
			return nil
		})
	}
	return cmd
}

func workflowRunsCommand() *cobra.Command {
	var output, workflow, branch string
	var limit int
	cmd := &cobra.Command{Use: "workflow-runs OWNER/NAME", Short: "List runs of a repository's GitHub Actions workflows, newest first", Args: cobra.ExactArgs(1)}
	dial := socketFlags(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	cmd.Flags().StringVar(&workflow, "workflow", "", "only of this workflow: file name or ID")
	cmd.Flags().StringVar(&branch, "branch", "", "only on this branch or tag")
	cmd.Flags().IntVar(&limit, "limit", 20, "at most so many; each hundred costs a call to GitHub")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if limit < 1 || limit > maxWorkflowRuns {
			return fmt.Errorf("--limit %d: it must be from 1 to %d", limit, maxWorkflowRuns)
		}
		c, err := dial()
		if err != nil {
			return err
		}
		query := url.Values{"repository": args, "workflow": {workflow}, "branch": {branch}, "limit": {strconv.Itoa(limit)}}
		return show(cmd, c, "/api/v1/workflow-runs?"+query.Encode(), output, func(w io.Writer, list workflowRunList) error {
			now := time.Now()
			fmt.Fprintln(w, "STATUS\tNAME\tWORKFLOW\tBRANCH\tEVENT\tID\tELAPSED\tAGE")
			for _, r := range list.Runs {
				end := now
				if r.Over() {
					end = r.Updated
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\n", stands(r.Status, r.Conclusion), web.Plain(jobs.Cut(cmp.Or(r.Title, r.Name), 60)),
					web.Plain(r.Name), web.Plain(r.Branch), r.Event, r.ID, elapsed(r.Created, end), elapsed(r.Created, now))
			}
			return nil
		})
	}
	return cmd
}

// stands is how something of GitHub's stands, in one word.
func stands(status, conclusion string) string {
	if status == "completed" {
		return cmp.Or(conclusion, status)
	}
	return status
}

// elapsed is a length of time as gh prints it: its one or two largest units.
func elapsed(from, to time.Time) string {
	d := max(to.Sub(from), 0).Round(time.Second)
	switch {
	case from.IsZero():
		return "-"
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd", int(d.Hours())/24)
}
