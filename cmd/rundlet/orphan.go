package main

import (
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/rundlet/rundlet/cmd/rundlet/command"
	"github.com/rundlet/rundlet/node"
	"github.com/rundlet/rundlet/node/statedir"
)

func newOrphan(o *command.Options) *cobra.Command {
	cmd := &cobra.Command{
		Use: "orphan", Short: "List and remove orphaned snapshots and machines",
		Long: `List and remove orphans: snapshot files and machines that have no record in the
database, for example because an old backup was restored.

Orphans are kept for seven days, so that a backup that contains their records can
be restored ("rundlet restore"). Quarantined sandboxes are listed too; they are
removed only by a command.`,
	}
	cmd.AddCommand(newOrphanLs(o), newOrphanRm(o))
	return cmd
}

func newOrphanLs(o *command.Options) *cobra.Command {
	return &cobra.Command{
		Use: "ls", Short: "List orphans and quarantined sandboxes", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dirs, err := o.Layout()
			if err != nil {
				return err
			}
			list, err := node.Orphans(cmd.Context(), dirs)
			if err != nil {
				return err
			}
			if o.JSON {
				return command.PrintJSON(cmd.OutOrStdout(), list)
			}
			date := func(t time.Time) string {
				if t.IsZero() {
					return "-"
				}
				return t.Local().Format(time.DateTime)
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "NAME\tKIND\tSINCE\tKEPT UNTIL\tREASON")
			for _, line := range list {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", line.Name, line.Kind, date(line.Since), date(line.Until), line.Reason)
			}
			return w.Flush()
		},
	}
}

func newOrphanRm(o *command.Options) *cobra.Command {
	return &cobra.Command{
		Use: "rm NAME...", Short: "Remove orphans; the daemon deletes them at its next check", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, names []string) error {
			dirs, err := o.Layout()
			if err != nil {
				return err
			}
			db, err := statedir.OpenToChange(cmd.Context(), dirs)
			if err != nil {
				return err
			}
			defer db.Close()
			var errs []error
			for _, name := range names {
				errs = append(errs, db.Orphans.Discard(cmd.Context(), name))
			}
			return errors.Join(errs...)
		},
	}
}
