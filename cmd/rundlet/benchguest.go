package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/rundlet/rundlet/bench/ingress"
)

// newBenchGuest is what the benchmark runs in a sandbox.
func newBenchGuest() *cobra.Command {
	return &cobra.Command{
		Use: "guest", Short: "Serve what group ingress asks a sandbox for", Args: cobra.NoArgs, Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return ingress.Serve(cmd.Context(), fmt.Sprintf(":%d", ingress.Port), cmd.OutOrStdout())
		},
	}
}
