package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/slipway-ci/slipway/jobs"
	"github.com/slipway-ci/slipway/pipeline"
)

func validateCommand() *cobra.Command {
	return &cobra.Command{
		Use: "validate [FILES]", Short: "Check pipeline files, or a server's configuration",
		Long: "Check pipeline files (default: .slipway.yaml), with the workflows that they dispatch, and print every fault with its place. A\nfile named config.yaml is checked as a server's configuration, with the files that it names. The exit code is 1 when there is a fault.",
		RunE: func(cmd *cobra.Command, files []string) error {
			if len(files) == 0 {
				files = []string{jobs.PipelinePath}
			}
			faulty := 0
			for _, file := range files {
				faults, doubts, err := validate(file)
				if err != nil {
					return err
				}
				for _, f := range faults {
					fmt.Fprintln(cmd.OutOrStdout(), f)
				}
				for _, d := range doubts {
					fmt.Fprintf(cmd.OutOrStdout(), "%s: warning: %s\n", file, d)
				}
				if len(faults) == 0 {
					fmt.Fprintf(cmd.OutOrStdout(), "%s: ok\n", file)
				} else {
					faulty++
				}
			}
			if faulty > 0 {
				return fmt.Errorf("%d of %d files can't be used as they are", faulty, len(files))
			}
			return nil
		},
	}
}

// validate looks at one file. doubts, unlike faults, may be meant.
func validate(file string) (faults, doubts []string, err error) {
	if isConfig(file) {
		c, err := LoadConfig(file)
		if err == nil {
			return nil, c.doubts(), nil
		}
		for _, fault := range each(err) {
			faults = append(faults, file+": "+fault.Error())
		}
		return faults, c.doubts(), nil
	}
	data, err := readPipeline(file)
	if err != nil {
		return nil, nil, err
	}
	for _, f := range pipeline.ValidateWith(data, file, workflowsBeside(file)) {
		faults = append(faults, place(f)+f.Message)
	}
	return faults, nil, nil
}

func isConfig(file string) bool {
	info, err := os.Stat(file)
	return err == nil && info.Name() == "config.yaml"
}

// readPipeline reads a pipeline file, no more of it than could be used.
func readPipeline(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, pipeline.MaxFile+1))
}

// place is where a fault lies, as editors understand it.
func place(f jobs.Fault) string {
	switch {
	case f.Line > 0 && f.Column > 0:
		return fmt.Sprintf("%s:%d:%d: ", f.Path, f.Line, f.Column)
	case f.Line > 0:
		return fmt.Sprintf("%s:%d: ", f.Path, f.Line)
	}
	return f.Path + ": "
}

func schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use: "schema", Short: "Print the JSON Schema of .slipway.yaml, for editors", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := cmd.OutOrStdout().Write(pipeline.Schema())
			return err
		},
	}
}
