package main

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/rundlet/rundlet/cmd/rundlet/command"
	"github.com/rundlet/rundlet/node/statedir"
	"github.com/rundlet/rundlet/store"
)

func newBackup(o *command.Options) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use: "backup FILE", Short: "Back up the database to a file", Args: cobra.ExactArgs(1),
		Long: `Back up the database to a file. The daemon may be running.

The backup contains the records of sandboxes, snapshots, templates and API keys,
and the secret from which tokens are derived. It does not contain snapshot files:
those are in "drivers" in the state directory, and are unusable without the
database.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			dirs, err := o.Layout()
			if err != nil {
				return err
			}
			if err := statedir.CheckFormat(dirs); err != nil {
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
			if o.JSON {
				return command.PrintJSON(cmd.OutOrStdout(), map[string]any{"file": file, "bytes": size, "schema": store.Schema})
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %d bytes\n", file, size)
			return err
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "overwrite FILE if it exists")
	return cmd
}

func newRestore(o *command.Options) *cobra.Command {
	return &cobra.Command{
		Use: "restore FILE", Short: "Restore the database from a backup (stop the daemon first)", Args: cobra.ExactArgs(1),
		Long: `Restore the database from a backup. Stop the daemon first.

The backup is verified, and the previous database is kept next to it with the date
in its name. Snapshots that are newer than the backup become orphans at the next
start: see "rundlet orphan ls".`,
		RunE: func(cmd *cobra.Command, args []string) error {
			dirs, err := o.Layout()
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
			if o.JSON {
				return command.PrintJSON(cmd.OutOrStdout(), map[string]string{"database": dirs.Database(), "former": former})
			}
			fmt.Fprintf(cmd.OutOrStdout(), "restored %s\n", dirs.Database())
			if former != "" {
				fmt.Fprintf(cmd.OutOrStdout(), "the previous database is %s\n", former)
			}
			return nil
		},
	}
}
