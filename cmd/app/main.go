// Command slipway is the server, and the operator's and developer's tool beside it: `slipway serve` runs it, `validate`
// and `plan` explain a pipeline without it, `runs`, `logs` and `deliveries` ask a running one.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set when a release is linked.
var version = "devel"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr, nil))
}

// run is the program: what main does, and what tests call, who may wrap the server's stores. It returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer, wrap func(*stores)) int {
	root := &cobra.Command{
		Use:           "slipway",
		Short:         "From a push to a running release: builds images, rolls charts out, reports to GitHub",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.AddCommand(serveCommand(wrap), beginCommand(), validateCommand(), planCommand(), schemaCommand(),
		runsCommand(), logsCommand(), dispatchCommand(), workflowsCommand(), workflowRunsCommand(), tokenCommand(),
		deliveriesCommand(), observeCommand(), initCommand(), setupCommand(), doctorCommand(), versionCommand())
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(stderr, "slipway:", err)
		return exitCode(err)
	}
	return 0
}

// exit is an error with an exit code of its own.
type exit struct {
	code int
	err  error
}

func (e *exit) Error() string { return e.err.Error() }
func (e *exit) Unwrap() error { return e.err }

// exitCode is the code that the program ends with on an error.
func exitCode(err error) int {
	if e := (*exit)(nil); errors.As(err, &e) {
		return e.code
	}
	return 1
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			goVersion := ""
			if info, ok := debug.ReadBuildInfo(); ok {
				goVersion = info.GoVersion
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "slipway %s %s\n", version, goVersion)
			return err
		},
	}
}
