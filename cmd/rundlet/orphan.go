package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/rundlet/rundlet/layout"
	"github.com/rundlet/rundlet/runtime/orphan"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

func newOrphan(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use: "orphan", Short: "List and remove what no sandbox claims and was set aside",
		Long: `List and remove what no sandbox claims and was set aside.

Saved files and machines of which the database says nothing may be those of rows
that it lost. They are kept for seven days, so that a backup can be put in place
("rundlet restore"): what has a row again is no orphan. Sandboxes that are
quarantined are listed, too; nothing removes those but a command.`,
	}
	cmd.AddCommand(newOrphanLs(o), newOrphanRm(o))
	return cmd
}

// orphanLine is what is set aside, as programs read it.
type orphanLine struct {
	Name string `json:"name"`
	// Kind is snapshot, machine or sandbox.
	Kind  string    `json:"kind"`
	Since time.Time `json:"since,omitzero"`
	// Until is when the daemon deletes it; never, without.
	Until  time.Time `json:"until,omitzero"`
	Reason string    `json:"reason"`
}

// setAside lists the orphans and the quarantined sandboxes of a state directory;
// nothing if it has no database.
func setAside(ctx context.Context, dirs layout.Layout) ([]orphanLine, error) {
	db, err := store.OpenReadOnly(ctx, dirs.Database())
	if errors.Is(err, fs.ErrNotExist) {
		return []orphanLine{}, nil
	}
	if err != nil {
		return nil, err
	}
	defer db.Close()
	orphans, err := db.Orphans(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := db.Quarantined(ctx, sandbox.States)
	if err != nil {
		return nil, err
	}
	list := []orphanLine{}
	for _, o := range orphans {
		line := orphanLine{o.Name, o.Kind, o.Since, o.Since.Add(orphan.Retention), "no row is about it"}
		if o.Discard {
			line.Until, line.Reason = o.Since, "it was given up; the daemon deletes it when it looks next"
		}
		list = append(list, line)
	}
	for _, row := range rows {
		reason := row.Reason
		if row.QuarantinedAt.IsZero() {
			reason = fmt.Sprintf("its state %.40q is unknown to this program", row.State)
		}
		list = append(list, orphanLine{row.ID, "sandbox", row.QuarantinedAt, time.Time{}, "quarantined: " + reason})
	}
	return list, nil
}

func newOrphanLs(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "ls", Short: "List what was set aside, and the quarantined sandboxes", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dirs, err := o.layout()
			if err != nil {
				return err
			}
			list, err := setAside(cmd.Context(), dirs)
			if err != nil {
				return err
			}
			if o.json {
				return printJSON(cmd.OutOrStdout(), list)
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

func newOrphanRm(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "rm NAME...", Short: "Give up what was set aside; the daemon deletes it when it looks next", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, names []string) error {
			dirs, err := o.layout()
			if err != nil {
				return err
			}
			db, err := store.OpenAsItIs(cmd.Context(), dirs.Database())
			if err != nil {
				return err
			}
			defer db.Close()
			var errs []error
			for _, name := range names {
				errs = append(errs, db.DiscardOrphan(cmd.Context(), name))
			}
			return errors.Join(errs...)
		},
	}
}
