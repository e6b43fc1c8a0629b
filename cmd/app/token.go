package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-ci/slipway/web"
)

func tokenCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "token", Short: "Make, list and revoke the tokens of the API", Args: cobra.NoArgs}
	cmd.AddCommand(tokenCreateCommand(), tokenListCommand(), tokenRevokeCommand())
	return cmd
}

func tokenCreateCommand() *cobra.Command {
	var request web.TokenRequest
	var expires, callback, output string
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Make a token, and print it this once", Args: cobra.ExactArgs(1),
		Long: `Make a token with which a machine starts runs by the API (POST /api/v1/runs), within its scope: patterns of repositories, and
what it may do. Only a hash of it is kept: it is printed this once. With it a secret is made that callbacks are signed with.

The kinds build, deploy and dispatch are those of the jobs that it may start; nothing that it asks for runs jobs of another kind,
other than await. command lets it give commands that pipelines declare, whose jobs are of these kinds: all but those that the
operator keeps for some people (commands in config.yaml), or with --commands only and also those. read lets it see what others
started.`,
		Example: `  slipway token create nightly --repositories 'acme/*' --kinds dispatch,read --expires 30d
  slipway token create ship --repositories acme/shop --kinds build,deploy,command --commands ship --expires 30d`,
	}
	dial := socketFlags(cmd)
	cmd.Flags().StringSliceVar(&request.Repositories, "repositories", nil, "patterns of the repositories it is for, such as acme/*,!acme/secret")
	cmd.Flags().StringSliceVar(&request.Kinds, "kinds", nil, "what it may do: dispatch, build, deploy, command, read")
	cmd.Flags().StringSliceVar(&request.Commands, "commands", nil, "with the kind command: the commands that it may give, also those kept for some people")
	cmd.Flags().StringVar(&expires, "expires", "", "for how long it works, such as 30d or 720h; at most a year")
	cmd.Flags().StringVar(&callback, "callback-secret-file", "", "sign callbacks with the secret in this file, instead of one that is made")
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	for _, name := range []string{"repositories", "kinds", "expires"} {
		_ = cmd.MarkFlagRequired(name) // fails only for a flag that is not there
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkOutput(output); err != nil {
			return err
		}
		life, ok := length(expires)
		if !ok {
			return fmt.Errorf("--expires %s: it must be like 30d or 720h", expires)
		}
		request.Name, request.Expires, request.By = args[0], time.Now().Add(life), operator()
		if callback != "" {
			data, err := os.ReadFile(callback)
			if err != nil {
				return fmt.Errorf("--callback-secret-file: %w", err)
			}
			if request.Callback = string(bytes.TrimSpace(data)); request.Callback == "" {
				return fmt.Errorf("--callback-secret-file: %s is empty; anybody could sign with it", callback)
			}
		}
		c, err := dial()
		if err != nil {
			return err
		}
		var made web.NewToken
		if err := c.post(cmd.Context(), "/api/v1/tokens", request, &made); err != nil {
			return err
		}
		w := cmd.OutOrStdout()
		if output == "json" {
			return json.NewEncoder(w).Encode(made)
		}
		_, err = fmt.Fprintf(w, `token %s, named %s: %s in %s, until %s
It is shown this once:

  %s

What callbacks are signed with, shown this once, too:

  %s
`, made.ID, made.Name, strings.Join(rights(made.TokenInfo), ", "), strings.Join(made.Repositories, ", "), made.Expires.Format(time.RFC3339), made.Token, made.Callback)
		return err
	}
	return cmd
}

// rights are a token's kinds, the kind command with the commands that it is for, if only these.
func rights(t web.TokenInfo) []string {
	list := slices.Clone(t.Kinds)
	if i := slices.Index(list, web.MayCommand); i >= 0 && len(t.Commands) > 0 {
		list[i] += ":" + strings.Join(t.Commands, "+")
	}
	return list
}

func tokenListCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{Use: "list", Short: "List tokens, newest first", Args: cobra.NoArgs}
	dial := socketFlags(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := dial()
		if err != nil {
			return err
		}
		return show(cmd, c, "/api/v1/tokens", output, func(w io.Writer, list tokenList) error {
			fmt.Fprintln(w, "ID\tNAME\tSTATE\tKINDS\tREPOSITORIES\tEXPIRES\tUSED")
			for _, t := range list.Tokens {
				used := "never"
				if !t.Used.IsZero() {
					used = t.Used.Format(time.RFC3339)
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", t.ID, t.Name, t.State(time.Now()), strings.Join(rights(t), ","),
					strings.Join(t.Repositories, ","), t.Expires.Format(time.RFC3339), used)
			}
			return nil
		})
	}
	return cmd
}

func tokenRevokeCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "revoke ID", Short: "End a token at once; callbacks that it asked for are given up", Args: cobra.ExactArgs(1)}
	dial := socketFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := dial()
		if err != nil {
			return err
		}
		var t web.TokenInfo
		if err := c.post(cmd.Context(), "/api/v1/tokens/"+url.PathEscape(args[0])+"/revoke", struct{}{}, &t); err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "token %s, named %s, is revoked\n", t.ID, t.Name)
		return err
	}
	return cmd
}
