package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rundlet/rundlet/layout"
	"github.com/rundlet/rundlet/store"
)

func newEnv(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "env",
		Short: "Print the export lines that an E2B SDK needs",
		Long: `Print the export lines that an E2B SDK needs:

  eval "$(rundlet env)"`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dirs, err := o.layout()
			if err != nil {
				return err
			}
			db, err := store.Open(cmd.Context(), dirs.Database())
			if err != nil {
				return err
			}
			defer db.Close()
			key, err := defaultKey(cmd.Context(), db, dirs)
			if err != nil {
				return err
			}
			url := readEndpoint(dirs)
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

// endpointFile holds the URL of the daemon that served this state directory
// last, for the other subcommands.
func endpointFile(dirs layout.Layout) string { return filepath.Join(dirs.StateDir, "endpoint") }

func writeEndpoint(dirs layout.Layout, url string) error {
	return os.WriteFile(endpointFile(dirs), []byte(url+"\n"), 0o600)
}

func readEndpoint(dirs layout.Layout) string {
	b, err := os.ReadFile(endpointFile(dirs))
	if errors.Is(err, fs.ErrNotExist) || len(b) == 0 {
		return "http://" + defaultListen
	}
	return strings.TrimSpace(string(b))
}
