package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rundlet/rundlet/cmd/rundlet/command"
	"github.com/rundlet/rundlet/policy/warmpool"
	"github.com/rundlet/rundlet/simulate"
)

func newSimulate(o *command.Options) *cobra.Command {
	var (
		nodes    int
		hours    float64
		seed     uint64
		scenario string
		warm     = warmpool.DefaultTarget
	)
	cmd := &cobra.Command{
		Use:   "simulate",
		Short: "Simulate nodes and check the daemon's decisions",
		Long: `Simulate nodes and check the daemon's decisions. Admission, the queue, the warm pool,
pressure handling and crash recovery are the daemon's own code in its default
configuration; the clock, machines, clients and host are simulated, with bursty
traffic, launch failures, host pressure and daemon crashes. All invariants are
checked after every event. The same seed gives the same run. No sandbox is started
and no server is needed.

The exit code is 1 if an invariant is violated. One violation is known: under
pressure the daemon starts sandboxes below the host's reserve until it refuses new
work.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, ok := simulate.Find(scenario)
			switch {
			case !ok:
				return fmt.Errorf("unknown scenario %q: must be one of %s", scenario, scenarioNames())
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
			if o.JSON {
				err = command.PrintJSON(cmd.OutOrStdout(), r)
			} else {
				err = r.Print(cmd.OutOrStdout())
			}
			if r.Violations > 0 {
				err = errors.Join(err, fmt.Errorf("%d invariants violated", r.Violations))
			}
			return err
		},
	}
	f := cmd.Flags()
	f.IntVar(&nodes, "nodes", 1, "number of simulated nodes, each with its own seed")
	f.Float64Var(&hours, "hours", 24, "simulated hours per node")
	f.Uint64Var(&seed, "seed", 1, "seed of the first node")
	f.IntVar(&warm.Ready, "warm", warm.Ready, "as for serve: warm sandboxes to keep running")
	f.IntVar(&warm.Prepared, "prepared", warm.Prepared, "as for serve: sandboxes to keep prepared")
	f.StringVar(&scenario, "scenario", simulate.Scenarios[0].Name, "one of "+scenarioNames())
	return cmd
}

// Limits against a typing error that would run for hours.
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
