package main

import (
	"github.com/spf13/cobra"

	"github.com/rundlet/rundlet/doctor"
)

func newDoctor(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "doctor", Short: "Tell what this machine can do, what is missing, and how to get it", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dirs, err := o.layout()
			if err != nil {
				return err
			}
			findings := doctor.Check(cmd.Context(), dirs.StateDir, doctorChecks(dirs)...)
			if o.json {
				err = doctor.WriteJSON(cmd.OutOrStdout(), findings)
			} else {
				err = doctor.WriteTable(cmd.OutOrStdout(), findings)
			}
			if err == nil && doctor.Failed(findings) {
				return exitError(1)
			}
			return err
		},
	}
}
