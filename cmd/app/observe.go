package main

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
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
	cmd.Flags().StringVar(&since, "since", "7d", "how far to look back: 7d, 12h, or a moment such as 2026-11-23T12:00:00Z")
	cmd.Flags().StringVar(&repository, "repository", "", "only this owner/name")
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		from, err := lookBack(since, time.Now())
		if err != nil {
			return fmt.Errorf("--since %s: %w", since, err)
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

// lookBack reads how far to look back: a number of days, a duration of Go's, or a moment.
func lookBack(text string, now time.Time) (time.Time, error) {
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return now.AddDate(0, 0, -int(n)), nil
		}
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	return time.Time{}, errors.New("it must be like 7d, 12h, or a moment such as 2026-11-23T12:00:00Z")
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
