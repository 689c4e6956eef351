package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/rundlet/rundlet/bench/compare"
	"github.com/rundlet/rundlet/bench/local"
	"github.com/rundlet/rundlet/cmd/rundlet/command"
)

func newBenchCompare(o *command.Options) *cobra.Command {
	c := compare.Config{Base: compare.Build{Name: "base"}, New: compare.Build{Name: "new"}}
	cmd := &cobra.Command{
		Use:   "compare BASE",
		Short: "Compare this program with another build of it",
		Long: `Compare this program with the build of rundlet at the path BASE: both serve, with temporary
state, and sandboxes live in one and the other in turn. Report the times of each operation.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dirs, err := o.Layout()
			if err != nil {
				return err
			}
			c.Base.Path = args[0]
			c.Progress = func(line string) { fmt.Fprintln(cmd.ErrOrStderr(), line) }
			r, err := local.Compare(cmd.Context(), dirs, c)
			if r.Rounds == 0 {
				return err
			}
			if o.JSON {
				return errors.Join(err, r.WriteJSON(cmd.OutOrStdout()))
			}
			return errors.Join(err, r.WriteText(cmd.OutOrStdout()))
		},
	}
	cmd.Flags().IntVar(&c.Rounds, "rounds", 20, "lives of a sandbox in each build (intervals need 8)")
	cmd.Flags().DurationVar(&c.Bound, "bound", 10*time.Minute, "time after which no further round begins")
	return cmd
}
