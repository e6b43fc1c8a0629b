// Program engines gives a bare Debian machine what Slipway works with: a real
// BuildKit, a real Kubernetes that runs real pods, a CNCF distribution registry
// and stand-ins for the base images that a machine without an image registry
// cannot pull. It installs them, starts them on free ports side by side with
// other instances, and leaves nothing behind when they stop.
//
// Read instance.go for what one instance owns, run.go for how it is started
// and leftovers.go for how it is cleaned up.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

const usage = `usage: engines COMMAND [flags]

  install             install Debian packages, compile the engines, make the base images; what is there already is kept
  path                print where the installed program is; exit 1 when something is missing
  run --dir D         start the engines, print one line of JSON, stop them when stdin closes or on SIGTERM or SIGINT
  start --dir D       the same in the background; returns when everything is ready
  status --dir D      print the JSON with the state of every engine
  kill NAME --dir D   kill -9 one engine, for example buildkitd or kube-apiserver
  revive NAME --dir D start a killed engine again, on the same port and data
  stop --dir D        stop everything and clean up, also after a run that was killed
  seed --registry R   push the base images to registry R (plain HTTP)

flags of run and start:
  --kubernetes real|kwok|none   real pods on this machine (default), fake nodes, or no Kubernetes
  --nodes N                     how many fake nodes kwok plays (default 3)
  --buildkit=false              no BuildKit
  --registry=false              no registry; only without BuildKit and real pods
  --purge                       remove the folder when stopped
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	// Whoever reads our output may die before us: that is an error of a write,
	// not the end of a run that has yet to clean up.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	err := command(ctx, os.Args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	case err != nil:
		fmt.Fprintf(os.Stderr, "engines: %v\n", err)
		os.Exit(1)
	}
}

// command runs the subcommand that args name.
func command(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return flag.ErrHelp
	}
	name, args := args[0], args[1:]
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.Usage = func() {}
	source := flags.String("source", "", "the engines folder of the repository")
	switch name {
	case "install":
		if err := flags.Parse(args); err != nil {
			return err
		}
		return install(ctx, *source)
	case "path":
		if err := flags.Parse(args); err != nil {
			return err
		}
		tools, err := findTools(*source)
		if err != nil {
			return err
		}
		fmt.Println(tools.engines())
		return nil
	case "run", "start":
		return runOrStart(ctx, name, flags, source, args)
	case "status", "stop":
		dir := flags.String("dir", "", "the instance's folder")
		if err := flags.Parse(args); err != nil {
			return err
		}
		if name == "status" {
			return status(ctx, *dir)
		}
		return stopInstance(*dir)
	case "kill", "revive":
		return killOrRevive(ctx, name, flags, args)
	case "seed":
		registry := flags.String("registry", "", "host:port of the registry")
		if err := flags.Parse(args); err != nil {
			return err
		}
		images, err := baseImages(ctx)
		if err != nil {
			return err
		}
		return images.push(ctx, *registry)
	case "registry": // started by run
		config := flags.String("config", "", "the registry's configuration file")
		if err := flags.Parse(args); err != nil {
			return err
		}
		return serveRegistry(ctx, *config)
	}
	return fmt.Errorf("no command %q\n\n%s", name, usage)
}

func runOrStart(ctx context.Context, name string, flags *flag.FlagSet, source *string, args []string) error {
	var o options
	flags.StringVar(&o.Dir, "dir", "", "the instance's folder")
	flags.StringVar(&o.Kubernetes, "kubernetes", "real", "real, kwok or none")
	flags.IntVar(&o.Nodes, "nodes", 3, "fake nodes under kwok")
	flags.BoolVar(&o.BuildKit, "buildkit", true, "start BuildKit")
	flags.BoolVar(&o.Registry, "registry", true, "start the registry")
	flags.BoolVar(&o.Purge, "purge", false, "remove the folder when stopped")
	flags.BoolVar(&o.detached, "detached", false, "do not watch stdin (used by start)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := o.validate(); err != nil {
		return err
	}
	tools, err := findTools(*source)
	if err != nil {
		return err
	}
	if name == "start" {
		return start(ctx, tools, o, args)
	}
	return run(ctx, tools, o)
}

// killOrRevive takes the engine's name before or after the flags.
func killOrRevive(ctx context.Context, verb string, flags *flag.FlagSet, args []string) error {
	dir := flags.String("dir", "", "the instance's folder")
	var engine string
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		engine, args = args[0], args[1:]
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	if engine == "" {
		engine = flags.Arg(0)
	}
	if engine == "" {
		return fmt.Errorf("%s: which engine? engines %s NAME --dir D", verb, verb)
	}
	return control(ctx, *dir, verb, engine)
}
