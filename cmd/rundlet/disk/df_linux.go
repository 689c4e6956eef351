package disk

import (
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/rundlet/rundlet/cmd/rundlet/command"
	"github.com/rundlet/rundlet/node/space"
)

// Commands returns the commands about the disk.
func Commands(o *command.Options) []*cobra.Command {
	return []*cobra.Command{newDf(o), newPrune(o)}
}

func newDf(o *command.Options) *cobra.Command {
	return &cobra.Command{
		Use: "df", Short: "Show what takes the room on the disk", Args: cobra.NoArgs,
		Long: `Show what takes the room on the disk: allocated blocks, with a file that has several names
counted once. RECLAIMABLE is what "rundlet prune --all" would free, at least: images that only
layers need are not in it.

The command changes nothing, and works beside a running server and without one.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dirs, err := o.Layout()
			if err != nil {
				return err
			}
			report, err := space.Of(cmd.Context(), dirs)
			if err != nil {
				return err
			}
			if o.JSON {
				return command.PrintJSON(cmd.OutOrStdout(), report)
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "KIND\tCOUNT\tSIZE\tRECLAIMABLE")
			for _, u := range report.Usage {
				fmt.Fprintf(w, "%s\t%d\t%s\t%s\n", u.Kind, u.Count, megabytes(u.Bytes), megabytes(u.Reclaimable))
			}
			fmt.Fprintf(w, "total\t\t%s\t%s\n", megabytes(report.Bytes), megabytes(report.Reclaimable))
			if err := w.Flush(); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "\n%s of %s are free; new work is refused below %s\n",
				megabytes(report.FreeBytes), megabytes(report.DiskBytes), megabytes(report.FloorBytes))
			return err
		},
	}
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }
