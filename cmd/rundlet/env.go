package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/rundlet/rundlet/cmd/rundlet/command"
	"github.com/rundlet/rundlet/node/keys"
)

func newEnv(o *command.Options) *cobra.Command {
	return &cobra.Command{
		Use:   "env",
		Short: "Print environment variables for the E2B SDKs",
		Long: `Print environment variables for the E2B SDKs, as shell export lines:

  eval "$(rundlet env)"`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dirs, err := o.Layout()
			if err != nil {
				return err
			}
			key, err := keys.Known(cmd.Context(), dirs)
			if err != nil {
				return err
			}
			e := command.Endpoint(dirs)
			vars := command.Environment(e)
			if o.JSON {
				m := map[string]string{"E2B_API_KEY": key}
				for _, v := range vars {
					m[v[0]] = v[1]
				}
				return command.PrintJSON(cmd.OutOrStdout(), m)
			}
			out := cmd.OutOrStdout()
			fmt.Fprintf(out, "export E2B_API_KEY=%s\n", key)
			for _, v := range vars {
				fmt.Fprintf(out, "export %s=%s\n", v[0], command.Quote(v[1]))
			}
			if e.Domain != "" { // They would win over the domain.
				fmt.Fprintln(out, "unset E2B_API_URL E2B_SANDBOX_URL")
			}
			return nil
		},
	}
}
