package remote

import (
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/rundlet/rundlet/cmd/rundlet/command"
)

func newSandboxSnapshot(o *command.Options) *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use: "snapshot ID", Short: "Snapshot a running sandbox and print the snapshot's id", Args: cobra.ExactArgs(1),
		Long: `Snapshot a running sandbox, its processes included, and print the snapshot's id. The
sandbox keeps running.

The id or the name can be used as a template. If another snapshot has the name, the
name moves to the new one.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := o.API()
			if err != nil {
				return err
			}
			s, err := api.Snapshot(cmd.Context(), args[0], name)
			if err != nil {
				return fmt.Errorf("snapshot of %s: %w", args[0], command.Unreachable(api, err))
			}
			if o.JSON {
				return command.PrintJSON(cmd.OutOrStdout(), s)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), s.ID)
			return err
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "name of the snapshot: [namespace/]name[:tag]")
	return cmd
}

// Snapshot is the command "snapshot".
func Snapshot(o *command.Options) *cobra.Command {
	cmd := &cobra.Command{Use: "snapshot", Short: "Manage the snapshots of a running server"}
	cmd.AddCommand(newSnapshotLs(o), newSnapshotRm(o))
	return cmd
}

func newSnapshotLs(o *command.Options) *cobra.Command {
	return &cobra.Command{
		Use: "ls", Short: "List the snapshots, newest first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := o.API()
			if err != nil {
				return err
			}
			list, err := api.Snapshots(cmd.Context())
			if err != nil {
				return command.Unreachable(api, err)
			}
			if o.JSON {
				return command.PrintJSON(cmd.OutOrStdout(), list)
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "ID\tNAME")
			for _, s := range list {
				fmt.Fprintf(w, "%s\t%s\n", s.ID, strings.Join(s.Names, ", "))
			}
			return w.Flush()
		},
	}
}

func newSnapshotRm(o *command.Options) *cobra.Command {
	return &cobra.Command{
		Use: "rm ID|NAME...", Short: "Remove snapshots", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, names []string) error {
			api, err := o.API()
			if err != nil {
				return err
			}
			var errs []error
			for _, name := range names {
				if err := api.DeleteSnapshot(cmd.Context(), name); err != nil {
					errs = append(errs, fmt.Errorf("remove snapshot %s: %w", name, command.Unreachable(api, err)))
				}
			}
			return errors.Join(errs...)
		},
	}
}
