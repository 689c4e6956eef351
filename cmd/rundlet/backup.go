package main

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/rundlet/rundlet/node/statedir"
	"github.com/rundlet/rundlet/store"
)

func newBackup(o *options) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use: "backup FILE", Short: "Back up the database to one file, while the daemon runs or not", Args: cobra.ExactArgs(1),
		Long: `Back up the database to one file, while the daemon runs or not.

It holds sandboxes, snapshots, templates, API keys and the secret that tokens are
made of; not the files that were saved, which are below "drivers" in the state
directory. Without the database nothing says what those are of.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			dirs, err := o.layout()
			if err != nil {
				return err
			}
			file, err := filepath.Abs(args[0])
			if err != nil {
				return err
			}
			size, err := store.Backup(cmd.Context(), dirs.Database(), file, force)
			if err != nil {
				return err
			}
			if o.json {
				return printJSON(cmd.OutOrStdout(), map[string]any{"file": file, "bytes": size, "schema": store.Schema})
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %d bytes\n", file, size)
			return err
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "replace the file if it is there")
	return cmd
}

func newRestore(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "restore FILE", Short: "Put a backup in the place of the database; the daemon must be stopped", Args: cobra.ExactArgs(1),
		Long: `Put a backup in the place of the database; the daemon must be stopped.

The backup is checked first. The former database is kept beside it, under a name
with the date. What was saved since the backup is set aside by the next start:
"rundlet orphan ls" shows it.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			dirs, err := o.layout()
			if err != nil {
				return err
			}
			unlock, err := statedir.LockDatabase(cmd.Context(), dirs)
			if err != nil {
				return err
			}
			defer unlock()
			former, err := store.Restore(cmd.Context(), args[0], dirs.Database())
			if err != nil {
				return err
			}
			if o.json {
				return printJSON(cmd.OutOrStdout(), map[string]string{"database": dirs.Database(), "former": former})
			}
			fmt.Fprintf(cmd.OutOrStdout(), "restored %s\n", dirs.Database())
			if former != "" {
				fmt.Fprintf(cmd.OutOrStdout(), "the former database is %s\n", former)
			}
			return nil
		},
	}
}
