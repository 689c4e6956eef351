package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rundlet/rundlet/simulate"
)

func newSimulate(o *options) *cobra.Command {
	var (
		nodes    int
		hours    float64
		seed     uint64
		scenario string
	)
	cmd := &cobra.Command{
		Use:   "simulate",
		Short: "Run the policies for a day on simulated nodes and check their invariants",
		Long: `Run admission, warm pool and autoscale policies against simulated nodes with a
virtual clock: bursty traffic, launch failures, pressure on the host, crashes of
the daemon. Every invariant is checked after every event. The same seed gives
the same run, to the digest. It starts no sandbox and needs no server.

The exit code is 1 if an invariant was broken.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, ok := simulate.Find(scenario)
			switch {
			case !ok:
				return fmt.Errorf("no scenario %q; there are %s", scenario, scenarioNames())
			case nodes < 1 || nodes > maxNodes:
				return fmt.Errorf("--nodes must be 1 to %d", maxNodes)
			case !(hours > 0 && hours <= maxHours):
				return fmt.Errorf("--hours must be more than 0 and at most %d", maxHours)
			}
			start := time.Now()
			r := simulate.Fleet(simulate.Config{Scenario: s, Duration: time.Duration(hours * float64(time.Hour)), Seed: seed}, nodes, 2)
			fmt.Fprintf(cmd.ErrOrStderr(), "%.0f simulated hours in %v\n", r.Hours, time.Since(start).Round(time.Millisecond))
			var err error
			if o.json {
				err = printJSON(cmd.OutOrStdout(), r)
			} else {
				err = r.Print(cmd.OutOrStdout())
			}
			if r.Violations > 0 {
				err = errors.Join(err, fmt.Errorf("%d invariants were broken", r.Violations))
			}
			return err
		},
	}
	f := cmd.Flags()
	f.IntVar(&nodes, "nodes", 1, "simulated nodes, each with a seed of its own")
	f.Float64Var(&hours, "hours", 24, "simulated hours of each")
	f.Uint64Var(&seed, "seed", 1, "seed of the first node")
	f.StringVar(&scenario, "scenario", simulate.Scenarios[0].Name, "one of "+scenarioNames())
	return cmd
}

// Bounds that keep a slip from running for hours.
const (
	maxNodes = 10_000
	maxHours = 10_000
)

func scenarioNames() string {
	var names []string
	for _, s := range simulate.Scenarios {
		names = append(names, s.Name)
	}
	return strings.Join(names, ", ")
}
