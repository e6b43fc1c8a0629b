package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/user"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-ci/slipway/jobs"
	"github.com/slipway-ci/slipway/web"
)

// A client asks a running server through its admin socket.
type client struct{ http http.Client }

// socketFlags adds the flags that say which server is meant.
func socketFlags(cmd *cobra.Command) (dial func() (*client, error)) {
	config := cmd.Flags().String("config", "config.yaml", "the server's configuration, which names its admin socket")
	socket := cmd.Flags().String("socket", "", "the server's admin socket, instead of the one in --config")
	return func() (*client, error) {
		path := *socket
		if path == "" {
			c, err := consultConfig(*config)
			if err != nil {
				return nil, fmt.Errorf("%w (or name the server's socket with --socket)", err)
			}
			path = c.Server.AdminSocket
		}
		return newClient(path), nil
	}
}

// newClient asks the server on an admin socket.
func newClient(socket string) *client {
	return &client{http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
			if err != nil {
				return nil, fmt.Errorf("no server answers on %s; is `slipway serve` running there: %w", socket, err)
			}
			return conn, nil
		},
	}}}
}

// A refused request is one that the server answered with a problem.
type refused struct {
	status   int // of HTTP
	sentence string
}

func (r *refused) Error() string { return r.sentence }

// do sends a request and returns the answer's body, which the caller closes. A problem becomes an error, a *refused.
func (c *client) do(ctx context.Context, method, path string, body []byte) (io.ReadCloser, error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://localhost"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if len(body) > 0 {
		r.Header.Set("Content-Type", "application/json")
	}
	answer, err := c.http.Do(r)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return nil, err
	}
	if answer.StatusCode < 300 {
		return answer.Body, nil
	}
	defer answer.Body.Close()
	var p web.Problem
	if err := json.NewDecoder(io.LimitReader(answer.Body, 64<<10)).Decode(&p); err != nil || p.Title == "" {
		p.Title = "the server answered " + answer.Status
	}
	return nil, &refused{answer.StatusCode, cmp.Or(p.Detail, p.Title)}
}

// get asks for something and reads the answer.
func (c *client) get(ctx context.Context, path string, answer any) error {
	body, err := c.do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer body.Close()
	return readAnswer(body, answer)
}

// post sends a request and reads the answer.
func (c *client) post(ctx context.Context, path string, request, answer any) error {
	data, err := json.Marshal(request)
	if err != nil {
		return err
	}
	body, err := c.do(ctx, http.MethodPost, path, data)
	if err != nil {
		return err
	}
	defer body.Close()
	return readAnswer(body, answer)
}

func readAnswer(body io.Reader, answer any) error {
	if err := json.NewDecoder(body).Decode(answer); err != nil {
		return fmt.Errorf("read the server's answer: %w", err)
	}
	return nil
}

// show prints an answer: as it came with -o json, else through the given function.
func show[T any](cmd *cobra.Command, c *client, path, output string, text func(w io.Writer, answer T) error) error {
	if err := checkOutput(output); err != nil {
		return err
	}
	body, err := c.do(cmd.Context(), http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer body.Close()
	if output == "json" {
		_, err := io.Copy(cmd.OutOrStdout(), body)
		return err
	}
	var answer T
	if err := readAnswer(body, &answer); err != nil {
		return err
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	if err := text(w, answer); err != nil {
		return err
	}
	return w.Flush()
}

// checkOutput looks at an -o.
func checkOutput(output string) error {
	if output != "text" && output != "json" {
		return fmt.Errorf("-o %s: it must be text or json", output)
	}
	return nil
}

func runsCommand() *cobra.Command {
	var output, repository, state string
	cmd := &cobra.Command{Use: "runs [ID]", Short: "List runs, or show one", Args: cobra.MaximumNArgs(1)}
	dial := socketFlags(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	cmd.Flags().StringVar(&repository, "repository", "", "only runs of this owner/name")
	cmd.Flags().StringVar(&state, "state", "", "only runs in this state: active, succeeded, failed, cancelled, held, nothing")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := dial()
		if err != nil {
			return err
		}
		if len(args) == 1 {
			return show(cmd, c, "/api/v1/runs/"+url.PathEscape(args[0]), output, printRun)
		}
		query := url.Values{"repository": {repository}, "state": {state}}
		return show(cmd, c, "/api/v1/runs?"+query.Encode(), output, func(w io.Writer, list web.RunList) error {
			fmt.Fprintln(w, "ID\tSTATE\tREPOSITORY\tWHAT\tCOMMIT\tSECONDS\tSENTENCE")
			for _, r := range list.Runs {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%.1f\t%s\n", r.ID, r.State, r.Repository, web.Plain(r.What), jobs.Abbreviate(r.SHA), r.Seconds, web.Plain(r.Sentence))
			}
			return nil
		})
	}
	return cmd
}

func printRun(w io.Writer, r web.Run) error {
	fmt.Fprintf(w, "%s  %s  %s  %s  %s\n%s\n\n", r.ID, r.State, r.Repository, web.Plain(r.What), r.SHA, web.Plain(r.Sentence))
	fmt.Fprintln(w, "JOB\tKIND\tSTATE\tATTEMPT\tSECONDS\tSUMMARY")
	for _, j := range r.Jobs {
		summary := j.Summary
		if summary == "" {
			summary = j.Waiting
		}
		if len(j.Awaits) > 0 {
			summary += " (/approve " + strings.Join(j.Awaits, ", ") + ")"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%.1f\t%s\n", j.Name, j.Kind, j.State, j.Attempt, j.Seconds, web.Plain(summary))
		if j.Cause != "" {
			fmt.Fprintf(w, "\t\t\t\t\tcause: %s\n", web.Plain(j.Cause))
		}
	}
	for _, f := range r.Faults {
		fmt.Fprintf(w, "%s:%d: %s\n", f.Path, f.Line, web.Plain(f.Message))
	}
	return nil
}

func logsCommand() *cobra.Command {
	var attempt int
	var follow bool
	cmd := &cobra.Command{Use: "logs RUN JOB", Short: "Print a job's log", Args: cobra.ExactArgs(2)}
	dial := socketFlags(cmd)
	cmd.Flags().IntVar(&attempt, "attempt", 0, "which attempt; default the newest")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what comes, until the job is over")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := dial()
		if err != nil {
			return err
		}
		query := url.Values{}
		if attempt > 0 {
			query.Set("attempt", strconv.Itoa(attempt))
		}
		if follow {
			query.Set("follow", "true")
		}
		body, err := c.do(cmd.Context(), http.MethodGet, fmt.Sprintf("/api/v1/runs/%s/jobs/%s/log?%s", url.PathEscape(args[0]), url.PathEscape(args[1]), query.Encode()), nil)
		if err != nil {
			return err
		}
		defer body.Close()
		_, err = io.Copy(cmd.OutOrStdout(), body)
		return err
	}
	return cmd
}

// operator is who runs this command, as far as the machine knows.
func operator() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "uid " + strconv.Itoa(os.Getuid())
}

func beginCommand() *cobra.Command {
	var since string
	cmd := &cobra.Command{
		Use: "begin", Short: "Say since when a server on a new data folder may act", Args: cobra.NoArgs,
		Long: "A server on a new data folder, be it the first or one that replaces a lost one, decides about every delivery but starts\nnothing, until this command says from which moment on it may. Deliveries from before stay as they were decided.",
	}
	dial := socketFlags(cmd)
	cmd.Flags().StringVar(&since, "since", "now", sinceForms)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		from, err := moment(since, time.Now())
		if err != nil {
			return err
		}
		c, err := dial()
		if err != nil {
			return err
		}
		var start jobs.Start
		if err := c.post(cmd.Context(), "/api/v1/begin", beginRequest{Since: from, By: operator()}, &start); err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "acting on deliveries received since %s\n", start.Since.Format(time.RFC3339))
		return nil
	}
	return cmd
}
