package main

import (
	"context"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/rundlet/rundlet/cmd/rundlet/command"
	"github.com/rundlet/rundlet/doctor"
	"github.com/rundlet/rundlet/layout"
	"github.com/rundlet/rundlet/node"
)

func newDoctor(o *command.Options) *cobra.Command {
	return &cobra.Command{
		Use: "doctor", Short: "Check whether this host can run sandboxes, and how to fix what is missing", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dirs, err := layout.Resolve(o.Dirs, os.Getenv)
			if err != nil {
				return err
			}
			checks := append(o.NodeChecks(), node.Checks(dirs)...)
			if err := dirs.Make(slog.Default()); err != nil { // Reported as a finding; the other checks still run.
				checks = append([]doctor.CheckFunc{func(context.Context) []doctor.Finding {
					return []doctor.Finding{{Name: "directories", Status: doctor.Fail, Detail: err.Error(),
						Hint: "run as their owner, or set --state-dir, --cache-dir and --run-dir"}}
				}}, checks...)
			}
			findings := doctor.Check(cmd.Context(), dirs.StateDir, checks...)
			if o.JSON {
				err = doctor.WriteJSON(cmd.OutOrStdout(), findings)
			} else {
				err = doctor.WriteTable(cmd.OutOrStdout(), findings)
			}
			if err == nil && doctor.Failed(findings) {
				return command.ExitError(1)
			}
			return err
		},
	}
}
