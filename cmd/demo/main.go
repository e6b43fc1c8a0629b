// Command demo plays Slipway's story on this machine, with nothing pretended but GitHub: a push becomes an image and a
// running release, a pull request an image, a broken Dockerfile and a crashing image red checks, a stranger's pull
// request is held. It starts the engines, a stand-in GitHub and a Slipway server, pushes the sample repository with git,
// and compares what GitHub, the registry and the cluster show with what was promised.
//
// Start reading at story.go, which plays the steps; edits.go holds what the people of the story change, promises.go what
// must be so afterwards. stage.go and server.go start things, look.go and cluster.go look at them, follow.go shows a run
// while it goes on.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	// A terminal that is closed ends the demo in good order, too.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	context.AfterFunc(ctx, stop) // whoever asks twice does not want to wait
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// options are what the command line says.
type options struct {
	once    bool
	keep    bool
	slipway string

	buildkit   string
	kubeconfig string
	registry   registryOptions
}

// registryOptions name a registry other than the engines' own.
type registryOptions struct {
	host, username, passwordFile string
	insecure                     bool
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprintln(stderr, "Usage: go run ./cmd/demo [flags]\n\nPlays Slipway's story on this machine and compares what happens with what was promised.\n\nFlags:")
		flags.PrintDefaults()
	}
	flags.BoolVar(&o.once, "once", false, "play unattended: print a JSON summary of the steps on stdout, progress on stderr; exit 0 only if all is as promised")
	flags.BoolVar(&o.keep, "keep", false, "leave the folder with the server's data, log and working copies (after a failure it is left anyway)")
	flags.StringVar(&o.slipway, "slipway", "", "the slipway `program` to demonstrate (default: built from this repository)")
	flags.StringVar(&o.buildkit, "buildkit", "", "build on the BuildKit at this `address` instead of our own; \"env\" means $BUILDKIT_HOST. It must reach the registry")
	flags.StringVar(&o.kubeconfig, "kubeconfig", "", "roll out to the current cluster of this `file` instead of our own; \"env\" means $KUBECONFIG. Needs --registry, and no namespace tks in the cluster: the demo makes it, and deletes it at the end")
	flags.StringVar(&o.registry.host, "registry", "", "push to this registry `host[:port]` instead of our own, to acme/tks-contract")
	flags.StringVar(&o.registry.username, "registry-username", "", "the `user` that pushes to --registry")
	flags.StringVar(&o.registry.passwordFile, "registry-password-file", "", "a `file` with that user's password")
	flags.BoolVar(&o.registry.insecure, "registry-insecure", false, "speak plain HTTP with --registry")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("what is %q? Run with --help to see the flags", flags.Arg(0))
	}
	return o, o.resolve()
}

// resolve looks up what is left to the environment and checks that the parts fit together.
func (o *options) resolve() error {
	fromEnvironment := func(flag, variable string, value *string) error {
		if *value != "env" {
			return nil
		}
		if *value = os.Getenv(variable); *value == "" {
			return fmt.Errorf("%s env: $%s is not set", flag, variable)
		}
		return nil
	}
	if err := errors.Join(fromEnvironment("--buildkit", "BUILDKIT_HOST", &o.buildkit), fromEnvironment("--kubeconfig", "KUBECONFIG", &o.kubeconfig)); err != nil {
		return err
	}
	switch r := o.registry; {
	case o.kubeconfig != "" && r.host == "":
		return errors.New("--kubeconfig needs --registry: that cluster can't pull from the demo's own registry, which listens on loopback")
	case r.host == "" && r != registryOptions{}:
		return errors.New("--registry-… needs --registry")
	case (r.username == "") != (r.passwordFile == ""):
		return errors.New("--registry-username and --registry-password-file belong together")
	}
	return nil
}

// run plays the demo and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(stderr, "demo:", err)
		return 2
	}
	progress := stdout
	if o.once {
		progress = stderr
	}
	p := newPrinter(progress)
	if err = play(ctx, o, p, stdout); err != nil {
		p.problem("%v", err)
		return 1
	}
	return 0
}

var (
	errNotAsPromised = errors.New("not everything is as promised") // each problem has been printed
	errStopped       = errors.New("stopped before the end of the story")
)

// play sets the stage, plays the story, stays up for a look unless told otherwise, and takes the stage down.
func play(ctx context.Context, o options, p *printer, stdout io.Writer) (err error) {
	started := time.Now()
	s, err := setStage(ctx, o, p)
	if s != nil {
		defer func() {
			worthALook := err != nil && !errors.Is(err, errStopped) && s.server != nil
			err = errors.Join(err, s.takeDown(o.keep || worthALook))
		}()
	}
	var steps []step
	if err == nil {
		steps, err = s.tell(ctx)
	}
	if ctx.Err() != nil {
		return errStopped
	}
	if steps != nil {
		p.total(steps, time.Since(started))
		err = cmp.Or(err, outcome(steps))
	}
	if err != nil {
		err = fmt.Errorf("%w%s", err, s.serverLog())
	}
	if o.once {
		if steps == nil {
			return err
		}
		encoder := json.NewEncoder(stdout)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "  ")
		return cmp.Or(err, encoder.Encode(steps))
	}
	if steps != nil {
		err = cmp.Or(s.stayUp(ctx), err)
	}
	return err
}

// outcome is an error unless every step of the story is as promised.
func outcome(steps []step) error {
	for _, st := range steps {
		if !st.OK {
			return errNotAsPromised
		}
	}
	return nil
}
