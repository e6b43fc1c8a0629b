package main

import (
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-ci/slipway/web"
)

func observeCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "observe", Short: "Look at what a server that observes would have done", Args: cobra.NoArgs}
	cmd.AddCommand(observeReportCommand())
	return cmd
}

func observeReportCommand() *cobra.Command {
	var since, repository, output string
	cmd := &cobra.Command{
		Use: "report", Short: "Say what would have run, per repository", Args: cobra.NoArgs,
		Long: `Say what would have run, had the running server not only observed, from its stored decisions: how many runs with which
jobs, images and environments, how many would have been held for an approval, and how many had a faulty pipeline file.`,
	}
	dial := socketFlags(cmd)
	cmd.Flags().StringVar(&since, "since", "7d", "how far to look back: "+sinceForms)
	cmd.Flags().StringVar(&repository, "repository", "", "only this owner/name")
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		from, err := moment(since, time.Now())
		if err != nil {
			return err
		}
		c, err := dial()
		if err != nil {
			return err
		}
		query := url.Values{"since": {from.UTC().Format(time.RFC3339)}}
		if repository != "" {
			query.Set("repository", repository)
		}
		return show(cmd, c, "/api/v1/observed?"+query.Encode(), output, printObserved)
	}
	return cmd
}

func printObserved(w io.Writer, r web.Observed) error {
	if len(r.Repositories) == 0 {
		fmt.Fprintf(w, "Nothing was merely observed since %s; %d deliveries were looked at.\n", r.Since.Format(time.RFC3339), r.Deliveries)
	} else {
		fmt.Fprintln(w, "REPOSITORY\tRUNS\tHELD\tFAULTS\tJOBS\tIMAGES\tENVIRONMENTS")
	}
	for _, o := range r.Repositories {
		var jobs []string
		for name, times := range o.Jobs {
			jobs = append(jobs, fmt.Sprintf("%s×%d", name, times))
		}
		slices.Sort(jobs)
		more := ""
		if o.Cut {
			more = " and more"
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%s%s\t%s\t%s\n", o.Repository, o.Runs, o.Held, o.Faults,
			listed(jobs), more, listed(o.Images), listed(o.Environments))
	}
	if r.Cut {
		fmt.Fprintf(w, "cut: only the newest %d deliveries were looked at, back to %s\n", r.Deliveries, r.Oldest.Format(time.RFC3339))
	}
	return nil
}

func listed(names []string) string {
	if len(names) == 0 {
		return "-"
	}
	return web.Plain(strings.Join(names, ", "))
}
