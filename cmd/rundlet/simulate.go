package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rundlet/rundlet/policy/warmpool"
	"github.com/rundlet/rundlet/simulate"
)

func newSimulate(o *options) *cobra.Command {
	var (
		nodes    int
		hours    float64
		seed     uint64
		scenario string
		warm     = warmpool.DefaultTarget
	)
	cmd := &cobra.Command{
		Use:   "simulate",
		Short: "Simulate days of a node and check the daemon's decisions",
		Long: `Run the decisions of a daemon with the flags of its default configuration
against simulated nodes with a virtual clock: bursty traffic, launch failures,
pressure on the host, crashes of the daemon. Admission, the queue, the warm pool,
the reaction to pressure and the recovery after a crash are the daemon's own code;
machines, clients and the host are made up. Every invariant is checked after every
event. The same seed gives the same run, to the digest. It starts no sandbox and
needs no server.

The exit code is 1 if an invariant was broken. One is known to be: under pressure
the daemon starts sandboxes below the host's reserve until it refuses new work.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, ok := simulate.Find(scenario)
			switch {
			case !ok:
				return fmt.Errorf("no scenario %q; there are %s", scenario, scenarioNames())
			case nodes < 1 || nodes > maxNodes:
				return fmt.Errorf("--nodes must be 1 to %d", maxNodes)
			case warm.Ready < 0 || warm.Prepared < 0:
				return errors.New("--warm and --prepared must not be negative")
			case !(hours > 0 && hours <= maxHours):
				return fmt.Errorf("--hours must be more than 0 and at most %d", maxHours)
			}
			start := time.Now()
			r := simulate.Fleet(simulate.Config{Scenario: s, Duration: time.Duration(hours * float64(time.Hour)), Seed: seed, Warm: warm}, nodes, 2)
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
	f.IntVar(&warm.Ready, "warm", warm.Ready, "as of serve: sandboxes of the base kept running ahead of need")
	f.IntVar(&warm.Prepared, "prepared", warm.Prepared, "as of serve: sandboxes of the base kept ready to be started")
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
