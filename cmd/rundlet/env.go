package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/rundlet/rundlet/layout"
	"github.com/rundlet/rundlet/node/keys"
	"github.com/rundlet/rundlet/node/statedir"
)

func newEnv(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "env",
		Short: "Print environment variables for the E2B SDKs",
		Long: `Print environment variables for the E2B SDKs, as shell export lines:

  eval "$(rundlet env)"`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dirs, err := o.layout()
			if err != nil {
				return err
			}
			key, err := keys.Known(cmd.Context(), dirs)
			if err != nil {
				return err
			}
			url := endpoint(dirs)
			vars := [][2]string{{"E2B_API_KEY", key}, {"E2B_API_URL", url}, {"E2B_SANDBOX_URL", url}}
			if o.json {
				m := map[string]string{}
				for _, v := range vars {
					m[v[0]] = v[1]
				}
				return printJSON(cmd.OutOrStdout(), m)
			}
			for _, v := range vars {
				if _, err := fmt.Fprintf(cmd.OutOrStdout(), "export %s=%s\n", v[0], v[1]); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// endpoint returns the URL of this host's daemon, or the default one.
func endpoint(dirs layout.Layout) string {
	if url := statedir.ReadEndpoint(dirs); url != "" {
		return url
	}
	return "http://" + defaultListen
}
