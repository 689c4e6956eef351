package disk

import (
	"errors"
	"fmt"
	"log/slog"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/rundlet/rundlet/cmd/rundlet/command"
	"github.com/rundlet/rundlet/node/prune"
)

// report is what a prune did.
type report struct {
	DryRun bool            `json:"dry_run"`
	Pruned []prune.Removed `json:"pruned"`
	Bytes  int64           `json:"bytes"`
}

func newPrune(o *command.Options) *cobra.Command {
	var cfg prune.Config
	var all bool
	cmd := &cobra.Command{
		Use: "prune", Short: "Free the room of what nothing needs", Args: cobra.NoArgs,
		Long: `Free the room of what nothing needs: builds of templates that have no tag, images without a
name, uploaded files that no build used for a week, and what crashed commands left. Sandboxes,
paused or running, snapshots, templates with a tag and orphans always stay.

The command works beside a running server, builds and creates, and without one. It needs root.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dirs, err := o.Layout()
			if err != nil {
				return err
			}
			cfg.Dirs, cfg.Log = dirs, slog.Default()
			cfg.Layers, cfg.Images, cfg.Uploads = cfg.Layers || all, cfg.Images || all, all
			pruned, err := prune.Do(cmd.Context(), cfg)
			r := report{DryRun: cfg.DryRun, Pruned: append([]prune.Removed{}, pruned...)}
			for _, p := range pruned {
				r.Bytes += p.Bytes
			}
			return errors.Join(err, r.print(cmd, o.JSON)) // Also what was freed before an error.
		},
	}
	f := cmd.Flags()
	f.BoolVar(&cfg.DryRun, "dry-run", false, "print what would be removed, and remove nothing")
	f.BoolVar(&cfg.Layers, "layers", false, "also remove all layers: the next build of each template does all of its steps again")
	f.BoolVar(&cfg.Images, "images", false, "also remove images with names that no template, snapshot or sandbox needs")
	f.BoolVar(&all, "all", false, "also remove layers, images and uploaded files that no template, snapshot, sandbox or build needs now")
	return cmd
}

func (r report) print(cmd *cobra.Command, json bool) error {
	if json {
		return command.PrintJSON(cmd.OutOrStdout(), r)
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "KIND\tREMOVED\tFREED")
	for _, p := range r.Pruned {
		fmt.Fprintf(w, "%s\t%d\t%s\n", p.Kind, p.Count, megabytes(p.Bytes))
	}
	fmt.Fprintf(w, "total\t\t%s\n", megabytes(r.Bytes))
	if err := w.Flush(); err != nil || !r.DryRun {
		return err
	}
	_, err := fmt.Fprintln(cmd.OutOrStdout(), "\nnothing was removed: this was a dry run")
	return err
}
