package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-ci/slipway/githubapp"
	"github.com/slipway-ci/slipway/jobs"
	"github.com/slipway-ci/slipway/jobs/build"
	"github.com/slipway-ci/slipway/web"
)

// A verdict is how one thing stands.
type verdict string

const (
	allRight verdict = "ok"
	warning  verdict = "warn" // works, or is not known to be wrong
	failure  verdict = "fail" // must be put right
)

// A finding is one line of the doctor's report.
type finding struct {
	Check   string  `json:"check"`
	Verdict verdict `json:"verdict"`
	Message string  `json:"message"`
	Remedy  string  `json:"remedy,omitempty"` // what to do; with all but ok
}

// diagnosis is the report as -o json prints it.
type diagnosis struct {
	OK       bool      `json:"ok"` // nothing failed
	Findings []finding `json:"findings"`
}

// examTime bounds each check; they run at the same time.
const examTime = 20 * time.Second

func doctorCommand() *cobra.Command {
	var file, output string
	cmd := &cobra.Command{
		Use: "doctor", Short: "Check a server's configuration and all it works with, and say what to fix", Args: cobra.NoArgs,
		Long: `Check what a server needs: its files, the GitHub App with its permissions, events, webhook, installations and last
deliveries, the clock, queue, BuildKit, registries and clusters. Nothing is changed anywhere. The server may be running
or not. The exit code is 1 when something must be fixed.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkOutput(output); err != nil {
				return err
			}
			found := examine(cmd.Context(), file)
			if err := printDiagnosis(cmd.OutOrStdout(), output, found); err != nil {
				return err
			}
			failed := 0
			for _, f := range found {
				if f.Verdict == failure {
					failed++
				}
			}
			if failed > 0 {
				return fmt.Errorf("%d of %d findings must be fixed", failed, len(found))
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&file, "config", "config.yaml", "the server's configuration")
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	return cmd
}

func printDiagnosis(out io.Writer, output string, found []finding) error {
	if output == "json" {
		d := diagnosis{OK: true, Findings: found}
		for _, f := range found {
			d.OK = d.OK && f.Verdict != failure
		}
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		return e.Encode(d)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, f := range found {
		text := f.Message
		if f.Remedy != "" {
			text += "; fix: " + f.Remedy
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", f.Verdict, f.Check, text)
	}
	return w.Flush()
}

// An exam is what the checks look at. What could not be opened is nil, and the error says why.
type exam struct {
	c         Config
	transport *http.Transport
	app       *githubapp.App
	appErr    error
	builds    *build.Kind
	buildsErr error
}

// A check looks at one thing and says what it found: at least one finding, and several when there is more than one thing
// to say.
type check struct {
	name string
	look func(context.Context) []finding
}

// examine makes every check there is, even when others fail, and returns what they found, in a fixed order.
func examine(ctx context.Context, file string) []finding {
	c, faults, err := readConfig(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return tidy("config", []finding{fail(file+": "+err.Error(), "write the file; slipway setup makes one, and config.yaml of Slipway's repository shows every key")})
	case err != nil:
		return tidy("config", []finding{fail(file+": "+err.Error(), "correct it in "+file)})
	}
	p := &exam{c: c}
	found := p.configuration(file, faults)
	if p.transport, err = c.Outgoing.github(); err != nil { // said by configuration
		p.transport = githubapp.NewTransport()
	}
	quiet := slog.New(slog.DiscardHandler)
	p.app, p.appErr = githubapp.New(c.GitHub, githubapp.Options{Transport: p.transport, Log: quiet})
	if c.Builds.Outgoing, err = c.Outgoing.apply(); err == nil {
		p.builds, p.buildsErr = build.New(c.Builds, quiet)
	} else {
		p.buildsErr = err
	}
	defer p.close()
	checks := p.checks()
	results := make([][]finding, len(checks))
	var all sync.WaitGroup
	for i, one := range checks {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, examTime)
			defer cancel()
			results[i] = bounded(ctx, one)
		})
	}
	all.Wait()
	for i, one := range checks {
		found = append(found, tidy(one.name, results[i])...)
	}
	return found
}

// bounded gives up on a check that does not heed its time.
func bounded(ctx context.Context, one check) []finding {
	done := make(chan []finding, 1)
	go func() { done <- one.look(ctx) }()
	grace := time.NewTimer(examTime + 5*time.Second)
	defer grace.Stop()
	select {
	case found := <-done:
		return found
	case <-grace.C:
		return []finding{fail(fmt.Sprintf("no answer within %s", examTime), "find out what keeps it")}
	}
}

func (p *exam) close() {
	p.transport.CloseIdleConnections()
	if p.builds != nil {
		_ = p.builds.Close() // nothing is under way
	}
}

// checks lists every check in the order of the report: what others rest on comes first.
func (p *exam) checks() []check {
	list := []check{
		{"key", p.key},
		{"webhook secrets", p.secrets},
		{"app", p.identity},
		{"webhook", p.webhook},
		{"installations", p.installations},
		{"deliveries", p.deliveries},
		{"queue", p.queue},
		{"begin", p.begun},
		{"work", p.work},
		{"pages", p.pages},
	}
	list = append(list, p.engines()...)
	return list
}

// configuration tells every fault of the file, one by one: those that reading it found, and those of what it means.
func (p *exam) configuration(file string, faults error) (found []finding) {
	if err := errors.Join(faults, p.c.Validate()); err != nil {
		for _, fault := range each(err) {
			found = append(found, fail(fault.Error(), "correct it in "+file))
		}
	} else {
		found = append(found, good("%s: every key is understood", file))
		if r := p.c.Repositories; r.Mode != jobs.ModeRun && len(r.Run) == 0 {
			found[0].Message += "; mode observe: nothing is started"
		}
	}
	for _, doubt := range p.c.doubts() {
		found = append(found, warn(doubt, "if it is a slip, correct it in "+file))
	}
	return tidy("config", found)
}

// each takes joined errors apart.
func each(err error) []error {
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) {
		return []error{err}
	}
	var all []error
	for _, one := range joined.Unwrap() {
		all = append(all, each(one)...)
	}
	return all
}

// tidy names the check on its findings and makes each fit for one line of a terminal.
func tidy(name string, found []finding) []finding {
	line := func(text string) string {
		return web.Plain(jobs.Cut(strings.Join(strings.Fields(text), " "), 600))
	}
	for i := range found {
		if found[i].Check == "" {
			found[i].Check = name
		}
		found[i].Message, found[i].Remedy = line(found[i].Message), line(found[i].Remedy)
	}
	return found
}

func good(format string, args ...any) finding {
	return finding{Verdict: allRight, Message: fmt.Sprintf(format, args...)}
}

func warn(message, remedy string) finding {
	return finding{Verdict: warning, Message: message, Remedy: remedy}
}

func fail(message, remedy string) finding {
	return finding{Verdict: failure, Message: message, Remedy: remedy}
}
