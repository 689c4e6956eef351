package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rundlet/rundlet/e2b"
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
			key, err := knownKey(cmd.Context(), dirs)
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

// knownKey returns the operator's own key, and writes only if there is none.
func knownKey(ctx context.Context, dirs layout.Layout) (string, error) {
	if text := readDefaultKey(dirs); text != "" {
		db, err := store.OpenReadOnly(ctx, dirs.Database())
		if err == nil {
			_, err = keyStore{db}.Verify(ctx, text)
			db.Close()
			if err == nil {
				return text, nil
			}
		}
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, e2b.ErrBadKey) {
			return "", err
		}
	}
	db, err := store.OpenAsItIs(ctx, dirs.Database())
	if err != nil {
		return "", err
	}
	defer db.Close()
	return defaultKey(ctx, db, dirs)
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
