package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/rundlet/rundlet/bench/objectives"

	"github.com/spf13/cobra"

	"github.com/rundlet/rundlet/bench"
	"github.com/rundlet/rundlet/bench/local"
	"github.com/rundlet/rundlet/bench/plan"
	"github.com/rundlet/rundlet/cmd/rundlet/command"
)

// benchFlags are the flags of the bench command.
type benchFlags struct {
	only                   []string
	quick, gate            bool
	html, jsonFile         string
	samples, checkouts     int
	batches, dear, density int
	dirty                  []int
	idle                   time.Duration
}

func newBench(o *command.Options) *cobra.Command {
	var b benchFlags
	full := plan.Full()
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure latencies and compare them with the bare driver",
		Long: `Measure the latency of sandbox operations on temporary servers on this host and,
in the same rounds, of the driver alone, and report the ratio. Running servers are
affected only by the load.

A full run takes at least half an hour on two processors, --quick a few minutes.
Groups: ` + strings.Join(bench.Groups(), ", ") + `.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return benchmark(cmd, o, b) },
	}
	cmd.AddCommand(newBenchCompare(o), newBenchGuest())
	f := cmd.Flags()
	f.StringSliceVar(&b.only, "only", nil, "groups to measure (default all)")
	f.BoolVar(&b.quick, "quick", false, "take few samples: a smoke test, not a measurement")
	f.BoolVar(&b.gate, "gate", false, "fail if an objective is missed or has too few samples")
	f.StringVar(&b.html, "html", "", "also write the report as HTML to this file")
	f.StringVar(&b.jsonFile, "json-file", "", "also write the report as JSON to this file")
	f.IntVarP(&b.samples, "samples", "n", full.Samples, "samples of each cheap operation")
	f.IntVar(&b.checkouts, "checkouts", full.Checkouts, "samples in group warm (its 99th percentile needs 500)")
	f.IntVar(&b.batches, "batches", full.Batches, "samples in group batch")
	f.IntVar(&b.dear, "dear", full.Dear, "samples of each operation that takes seconds (fewer for the slowest)")
	f.IntSliceVar(&b.dirty, "dirty", full.DirtyMiB, "MiB of memory to dirty before a pause, snapshot or fork")
	f.IntVar(&b.density, "density", full.Density, "concurrent sandboxes in group density")
	f.DurationVar(&b.idle, "idle", full.Idle, "idle time in group density")
	return cmd
}

// plan returns the full or the quick plan with the flags that were given applied.
func (b benchFlags) plan(changed func(flag string) bool) (plan.Plan, error) {
	p := plan.Full()
	if b.quick {
		p = plan.Quick()
	}
	for _, f := range []struct {
		name   string
		value  int
		target *int
	}{
		{"samples", b.samples, &p.Samples}, {"checkouts", b.checkouts, &p.Checkouts}, {"batches", b.batches, &p.Batches},
		{"dear", b.dear, &p.Dear}, {"density", b.density, &p.Density},
	} {
		if f.value < 1 {
			return p, fmt.Errorf("--%s must be at least 1", f.name)
		}
		if changed(f.name) {
			*f.target = f.value
		}
	}
	const mostDirty = 64 << 10
	if slices.ContainsFunc(b.dirty, func(mib int) bool { return mib < 0 || mib > mostDirty }) {
		return p, fmt.Errorf("--dirty must be from 0 to %d", mostDirty)
	}
	if changed("dirty") {
		p.DirtyMiB = b.dirty
	}
	if b.idle <= 0 {
		return p, errors.New("--idle must be positive")
	}
	if changed("idle") {
		p.Idle = b.idle
	}
	return p, nil
}

func benchmark(cmd *cobra.Command, o *command.Options, b benchFlags) error {
	plan, err := b.plan(cmd.Flags().Changed)
	if err != nil {
		return err
	}
	dirs, err := o.Layout()
	if err != nil {
		return err
	}
	// After an interrupt the results so far are still reported.
	r, stopped := local.Run(cmd.Context(), local.Config{
		Dirs: dirs, Version: version, Groups: b.only, Plan: plan,
		Progress: func(line string) { fmt.Fprintln(cmd.ErrOrStderr(), line) },
	})
	if len(r.Groups) == 0 {
		return stopped
	}
	r.Verdicts = objectives.All().Judge(r)
	if b.html != "" {
		if err := writeReport(b.html, r.WriteHTML); err != nil {
			return err
		}
	}
	if b.jsonFile != "" {
		if err := writeReport(b.jsonFile, r.WriteJSON); err != nil {
			return err
		}
	}
	if o.JSON {
		err = r.WriteJSON(cmd.OutOrStdout())
	} else {
		err = r.WriteText(cmd.OutOrStdout())
	}
	return errors.Join(stopped, err, r.Check(b.gate))
}

func writeReport(path string, write func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}
