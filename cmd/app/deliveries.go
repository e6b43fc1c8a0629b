package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-ci/slipway/jobs"
	"github.com/slipway-ci/slipway/web"
)

func deliveriesCommand() *cobra.Command {
	list := deliveryListCommand()
	cmd := &cobra.Command{
		Use: "deliveries", Short: "List webhook deliveries and what was decided; explain, recover or replay them",
		Args: cobra.NoArgs, RunE: list.RunE,
	}
	cmd.Flags().AddFlagSet(list.Flags())
	cmd.AddCommand(list, deliveryShowCommand(), deliveryExplainCommand(), deliveryRecoverCommand(), deliveryReplayCommand())
	return cmd
}

func deliveryListCommand() *cobra.Command {
	var output, repository, outcome string
	cmd := &cobra.Command{Use: "list", Short: "List deliveries and what was decided, newest first", Args: cobra.NoArgs}
	dial := socketFlags(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	cmd.Flags().StringVar(&repository, "repository", "", "only deliveries of this owner/name")
	cmd.Flags().StringVar(&outcome, "outcome", "", "only with this outcome: run, held, fault, nothing, observe, ignored, acted, refused, noted")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := dial()
		if err != nil {
			return err
		}
		query := url.Values{"repository": {repository}, "outcome": {outcome}}
		return show(cmd, c, "/api/v1/deliveries?"+query.Encode(), output, func(w io.Writer, list web.DeliveryList) error {
			fmt.Fprintln(w, "GUID\tEVENT\tREPOSITORY\tWHAT\tOUTCOME\tRUN\tREASON")
			for _, d := range list.Deliveries {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", d.GUID, d.Event, d.Repository, web.Plain(d.What), d.Outcome, d.Run, web.Plain(d.Reason))
			}
			return nil
		})
	}
	return cmd
}

func deliveryShowCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{Use: "show GUID", Short: "Show one delivery and its stored decision as a table", Args: cobra.ExactArgs(1)}
	dial := socketFlags(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := dial()
		if err != nil {
			return err
		}
		return show(cmd, c, deliveryPath(args[0]), output, printDelivery)
	}
	return cmd
}

func deliveryExplainCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "explain GUID", Short: "Say in words what was decided about a delivery, and why", Args: cobra.ExactArgs(1)}
	dial := socketFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := dial()
		if err != nil {
			return err
		}
		return show(cmd, c, deliveryPath(args[0]), "text", func(w io.Writer, d web.Delivery) error {
			explainDelivery(w, d, "was")
			return nil
		})
	}
	return cmd
}

func deliveryPath(guid string) string { return "/api/v1/deliveries/" + url.PathEscape(guid) }

func deliveryRecoverCommand() *cobra.Command {
	var since string
	cmd := &cobra.Command{
		Use: "recover --since TIME|DURATION", Short: "Fetch deliveries that never came from GitHub's log, and act on them", Args: cobra.NoArgs,
		Long: "Fetch every delivery since a moment that is not stored here from GitHub's log, which goes back three days, and act on it: also\nafter a data folder was lost. It says `begin` from that moment, if that was not said yet. Heads of pull requests that were\nupdated since, and that nothing was decided about, follow some minutes later. What was decided stays as it was decided.",
	}
	dial := socketFlags(cmd)
	cmd.Flags().StringVar(&since, "since", "", sinceForms)
	_ = cmd.MarkFlagRequired("since")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		from, err := moment(since, time.Now())
		if err != nil {
			return err
		}
		c, err := dial()
		if err != nil {
			return err
		}
		var answer recoverAnswer
		if err := c.post(cmd.Context(), "/api/v1/deliveries/recover", recoverRequest{Since: from, By: operator()}, &answer); err != nil {
			return err
		}
		if answer.Begun {
			fmt.Fprintf(cmd.OutOrStdout(), "acting on deliveries received since %s\n", answer.Since.Format(time.RFC3339))
		}
		fmt.Fprintf(cmd.OutOrStdout(), "fetching what is missing since %s; `slipway deliveries` shows it as it comes\n", answer.Reads.Format(time.RFC3339))
		if answer.Reads.After(answer.Since) {
			fmt.Fprintln(cmd.OutOrStdout(), "GitHub's log goes back no further")
		}
		return nil
	}
	return cmd
}

func deliveryReplayCommand() *cobra.Command {
	var again bool
	var output string
	cmd := &cobra.Command{
		Use: "replay GUID", Short: "Say what would be decided about a delivery today; with --again, do it", Args: cobra.ExactArgs(1),
		Long: "Decide about a stored delivery by today's rules and pipeline, without storing or starting anything, and say what comes out. With\n--again it is run as a new cause, under a GUID of its own. Commands and buttons are never replayed: they were meant for\ntheir moment.",
	}
	dial := socketFlags(cmd)
	cmd.Flags().BoolVar(&again, "again", false, "run it again, as a new delivery")
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := dial()
		if err != nil {
			return err
		}
		if !again {
			return show(cmd, c, deliveryPath(args[0])+"/replay", output, func(w io.Writer, d web.Delivery) error {
				explainDelivery(w, d, "would be")
				return nil
			})
		}
		var answer replayAnswer
		if err := c.post(cmd.Context(), deliveryPath(args[0])+"/replay", struct{}{}, &answer); err != nil {
			return err
		}
		if output == "json" {
			return json.NewEncoder(cmd.OutOrStdout()).Encode(answer)
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s runs again as %s; `slipway deliveries explain %[2]s` tells what becomes of it\n", args[0], answer.GUID)
		return nil
	}
	return cmd
}

func printDelivery(w io.Writer, d web.Delivery) error {
	fmt.Fprintf(w, "%s  %s  %s  %s\n%s: %s\n", d.GUID, d.Event, d.Repository, web.Plain(d.What), d.Outcome, web.Plain(d.Reason))
	if d.Trust != nil {
		fmt.Fprintf(w, "trust: %s, %s\n", d.Trust.Level, web.Plain(d.Trust.Reason))
	}
	if d.Pipeline != "" {
		fmt.Fprintf(w, "pipeline: %s\n", d.Pipeline)
	}
	for _, f := range d.Faults {
		fmt.Fprintf(w, "%s:%d: %s\n", f.Path, f.Line, web.Plain(f.Message))
	}
	for _, n := range d.Notes {
		fmt.Fprintf(w, "note: %s\n", web.Plain(n))
	}
	if len(d.Jobs) > 0 {
		fmt.Fprintln(w, "\nJOB\tKIND\tPLANNED\tREASON")
	}
	for _, j := range d.Jobs {
		reason := j.Reason
		if j.Fault != "" {
			reason = j.Fault
		}
		fmt.Fprintf(w, "%s\t%s\t%t\t%s\n", j.Name, j.Kind, j.Planned, web.Plain(reason))
	}
	return nil
}

// outcomes are the outcomes as a clause after "it was" or "it would be".
var outcomes = map[jobs.Outcome]string{
	jobs.OutcomeRun:     "taken up: jobs run",
	jobs.OutcomeHeld:    "held: somebody who may must approve it first",
	jobs.OutcomeFault:   "refused: the pipeline file is wrong",
	jobs.OutcomeNothing: "left alone: nothing is to be done",
	jobs.OutcomeObserve: "only observed: nothing is started",
	jobs.OutcomeIgnored: "ignored",
	jobs.OutcomeActed:   "done as asked",
	jobs.OutcomeRefused: "refused",
	jobs.OutcomeNoted:   "noted: the job that waits for it was told",
}

// explainDelivery says in words what was, or would be, decided.
func explainDelivery(w io.Writer, d web.Delivery, was string) {
	fmt.Fprintf(w, "Delivery %s is a %s event", d.GUID, d.Event)
	if !d.Received.IsZero() {
		fmt.Fprintf(w, " of %s", d.Received.UTC().Format(time.RFC3339))
	}
	fmt.Fprintln(w, ".")
	if d.Repository != "" {
		about := "It is about " + d.Repository
		if d.What != "" {
			about += ": " + web.Plain(d.What)
		}
		if d.SHA != "" {
			about += " at " + jobs.Abbreviate(d.SHA)
		}
		if d.Actor != "" {
			about += ", by " + web.Plain(d.Actor)
		}
		fmt.Fprintln(w, about+".")
	}
	if d.Outcome == "" {
		fmt.Fprintln(w, "Nothing is decided about it yet.")
		return
	}
	fmt.Fprintf(w, "It %s %s. The reason: %s.\n", was, cmp.Or(outcomes[d.Outcome], string(d.Outcome)), strings.TrimSuffix(web.Plain(d.Reason), "."))
	if d.Run != "" && was == "was" {
		fmt.Fprintf(w, "Run %s shows it.\n", d.Run)
	}
	if d.Trust != nil {
		fmt.Fprintf(w, "Its sender is %s: %s.\n", d.Trust.Level, web.Plain(d.Trust.Reason))
	}
	if d.Pipeline != "" {
		fmt.Fprintf(w, "The pipeline is %s.\n", web.Plain(d.Pipeline))
	}
	for _, f := range d.Faults {
		fmt.Fprintf(w, "%s, line %d: %s\n", f.Path, f.Line, web.Plain(f.Message))
	}
	for _, n := range d.Notes {
		fmt.Fprintf(w, "Note: %s.\n", strings.TrimSuffix(web.Plain(n), "."))
	}
	planned := func(j web.Considered) bool { return j.Planned && j.Fault == "" }
	for _, j := range slices.Concat(filter(d.Jobs, planned), filter(d.Jobs, func(j web.Considered) bool { return !planned(j) })) {
		switch {
		case j.Fault != "":
			fmt.Fprintf(w, "Job %s (%s) is wrong: %s.\n", j.Name, j.Kind, web.Plain(j.Fault))
		case j.Planned:
			fmt.Fprintf(w, "Job %s (%s) is planned: %s.\n", j.Name, j.Kind, web.Plain(j.Reason))
		default:
			fmt.Fprintf(w, "Job %s (%s) is not planned: %s.\n", j.Name, j.Kind, web.Plain(j.Reason))
		}
	}
}

func filter[T any](all []T, keep func(T) bool) (some []T) {
	for _, one := range all {
		if keep(one) {
			some = append(some, one)
		}
	}
	return some
}
