package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rundlet/rundlet/bench"
	"github.com/rundlet/rundlet/bench/local"
	"github.com/rundlet/rundlet/bench/report"
)

// benchFlags are what the command line of the benchmark says.
type benchFlags struct {
	only                   []string
	quick, gate            bool
	html, jsonFile         string
	samples, checkouts     int
	batches, dear, density int
	dirty                  []int
	idle                   time.Duration
}

func newBench(o *options) *cobra.Command {
	var b benchFlags
	full := bench.Full()
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure what a sandbox's life costs beside the bare mechanism",
		Long: `Measure what a sandbox's life costs, through servers of its own on this machine,
and in the same rounds the bare mechanism of the driver, so that each figure has
its ratio. No running server is disturbed, except by the load.

All of it takes half an hour or more on two processors, --quick a few minutes.
Groups: ` + strings.Join(bench.Groups(), ", ") + `.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return benchmark(cmd, o, b) },
	}
	f := cmd.Flags()
	f.StringSliceVar(&b.only, "only", nil, "groups to measure (default all)")
	f.BoolVar(&b.quick, "quick", false, "few samples: shows that all works, decides nothing")
	f.BoolVar(&b.gate, "gate", false, "fail if an objective is missed, or cannot be judged by the samples there are")
	f.StringVar(&b.html, "html", "", "write the report as one HTML page to this file too")
	f.StringVar(&b.jsonFile, "json-file", "", "write the report as JSON to this file too")
	f.IntVarP(&b.samples, "samples", "n", full.Samples, "samples of what is cheap")
	f.IntVar(&b.checkouts, "checkouts", full.Checkouts, "samples of the group warm: its 99th percentile needs 500")
	f.IntVar(&b.batches, "batches", full.Batches, "samples of the group batch")
	f.IntVar(&b.dear, "dear", full.Dear, "samples of what takes seconds; of the largest, fewer")
	f.IntSliceVar(&b.dirty, "dirty", full.DirtyMiB, "MiB of memory to fill with random bytes before a pause, a snapshot and a fork")
	f.IntVar(&b.density, "density", full.Density, "sandboxes side by side in the group density")
	f.DurationVar(&b.idle, "idle", full.Idle, "how long the group density leaves them alone")
	return cmd
}

// plan is the full or the quick plan with what was asked for in particular.
func (b benchFlags) plan(changed func(flag string) bool) (bench.Plan, error) {
	p := bench.Full()
	if b.quick {
		p = bench.Quick()
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

func benchmark(cmd *cobra.Command, o *options, b benchFlags) error {
	plan, err := b.plan(cmd.Flags().Changed)
	if err != nil {
		return err
	}
	dirs, err := o.layout()
	if err != nil {
		return err
	}
	// An interrupt takes nothing away of what was measured until then.
	r, stopped := local.Run(cmd.Context(), local.Config{
		Dirs: dirs, Version: version, Groups: b.only, Plan: plan,
		Progress: func(line string) { fmt.Fprintln(cmd.ErrOrStderr(), line) },
	})
	if len(r.Groups) == 0 {
		return stopped
	}
	r.Verdicts = bench.Objectives().Judge(r)
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
	if o.json {
		err = r.WriteJSON(cmd.OutOrStdout())
	} else {
		err = r.WriteText(cmd.OutOrStdout())
	}
	return errors.Join(stopped, err, judge(r, b.gate))
}

// judge makes an error of groups that failed and, for a gate, of objectives.
func judge(r report.Report, gate bool) error {
	var broken []string
	for _, g := range r.Groups {
		if g.Error != "" {
			broken = append(broken, g.Name)
		}
	}
	if len(broken) > 0 {
		return fmt.Errorf("not measured, or not to the end: %s", strings.Join(broken, ", "))
	}
	if failed := r.Failures(); gate && len(failed) > 0 {
		return fmt.Errorf("the gate is shut: %d of %d objectives are missed or cannot be judged", len(failed), len(r.Verdicts))
	}
	return nil
}

func writeReport(path string, write func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}
