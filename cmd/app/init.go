package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-ci/slipway/jobs"
	"github.com/slipway-ci/slipway/pipeline"
)

// initFlags are what a proposal can't find in the files.
type initFlags struct {
	image, environment string
	write              bool
}

func initCommand() *cobra.Command {
	var f initFlags
	cmd := &cobra.Command{
		Use: "init [DIR]", Short: "Propose a .slipway.yaml for a working copy", Args: cobra.MaximumNArgs(1),
		Long: `Read a working copy (default: this folder) and print a .slipway.yaml for it: a job for each Dockerfile, and one for each Helm
chart. Comments in it say why each job is there, and what was seen that Slipway does not carry out yet. Nothing is written
without --write, and an existing file is never changed.`,
		Example: "  slipway init\n  slipway init --image registry.example.com/acme/shop --environment staging --write",
	}
	cmd.Flags().StringVar(&f.image, "image", "", "where images of several Dockerfiles go, such as registry.example.com/acme/shop; default: a placeholder")
	cmd.Flags().StringVar(&f.environment, "environment", "staging", "the environment that charts are rolled out to; the operator has its name")
	cmd.Flags().BoolVar(&f.write, "write", false, "write the file, if there is none")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		dir := "."
		if len(args) == 1 {
			dir = args[0]
		}
		dir, err := filepath.Abs(dir)
		if err != nil {
			return err
		}
		return f.run(cmd, dir)
	}
	return cmd
}

func (f initFlags) run(cmd *cobra.Command, dir string) error {
	found, err := explore(dir)
	if err != nil {
		return err
	}
	r := origin(cmd.Context(), dir)
	text, err := propose(found, proposal{image: f.image, environment: f.environment, owner: r.Owner, name: r.Name})
	if err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	file := filepath.Join(dir, jobs.PipelinePath)
	if f.write {
		out, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o666) // as any file of the working copy: the umask decides
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("%s exists, and is left as it is; without --write the proposal is only printed", file)
		} else if err != nil {
			return err
		}
		_, err = io.WriteString(out, text)
		if err := errors.Join(err, out.Close()); err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "wrote %s; look it over, then try: slipway plan --as push --base HEAD\n", file)
		return nil
	}
	if found.hasPipeline {
		fmt.Fprintf(cmd.ErrOrStderr(), "%s exists and stays as it is; this is what would be proposed without it\n", jobs.PipelinePath)
	}
	_, err = io.WriteString(cmd.OutOrStdout(), text)
	return err
}

// propose writes a pipeline file for what was found. It never returns one that has a fault.
func propose(found *findings, p proposal) (string, error) {
	text, err := p.render(found)
	if err != nil {
		return "", err
	}
	var faults []string
	for _, fault := range pipeline.Validate([]byte(text), jobs.PipelinePath) {
		faults = append(faults, place(fault)+fault.Message)
	}
	if len(faults) > 0 { // such as an --image that is no image
		return "", fmt.Errorf("no proposal can be made of this:\n%s", strings.Join(faults, "\n"))
	}
	return text, nil
}
