package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/rundlet/rundlet/cmd/rundlet/command"
	"github.com/rundlet/rundlet/envd"
)

func newVersion(o *command.Options) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of Rundlet and of its envd protocol",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.JSON {
				return command.PrintJSON(cmd.OutOrStdout(), map[string]string{
					"version": version, "envd": envd.Version, "go": runtime.Version(),
					"os": runtime.GOOS, "arch": runtime.GOARCH,
				})
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "rundlet %s (envd %s, %s, %s/%s)\n",
				version, envd.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}
