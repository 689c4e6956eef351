package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"

	"github.com/spf13/cobra"

	"github.com/rundlet/rundlet/agent/control"
	"github.com/rundlet/rundlet/bench"
	"github.com/rundlet/rundlet/client"
	"github.com/rundlet/rundlet/e2b"
)

func newBench(o *options) *cobra.Command {
	b := bench.DefaultOptions
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure the latencies of a sandbox's life beside the bare mechanism",
		Long: `Measure restore, create, exec and kill through a server on this machine, and in
the same run the bare mechanism of the driver, so that each row has its ratio.
The server is one of its own; no running one is disturbed.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			report, err := runBench(cmd, o, b)
			if err != nil {
				return err
			}
			if o.json {
				return printJSON(cmd.OutOrStdout(), report)
			}
			return report.WriteText(cmd.OutOrStdout())
		},
	}
	cmd.Flags().IntVarP(&b.Samples, "samples", "n", b.Samples, "samples of each row")
	cmd.Flags().IntVar(&b.Warmup, "warmup", b.Warmup, "rounds that come first and do not count")
	cmd.Flags().IntVar(&b.Execs, "execs", b.Execs, "commands of each kind in each round's sandbox")
	return cmd
}

func runBench(cmd *cobra.Command, o *options, b bench.Options) (_ bench.Report, err error) {
	if b.Samples < 1 || b.Warmup < 0 || b.Execs < 1 {
		return bench.Report{}, errors.New("--samples and --execs must be at least 1, --warmup at least 0")
	}
	dirs, err := o.layout()
	if err != nil {
		return bench.Report{}, err
	}
	ctx, cancel := context.WithCancel(cmd.Context())
	defer cancel()
	n, err := openNode(ctx, dirs, nodeOptions{
		ephemeral: true, noUplink: true, ahead: 4, capacity: capacityDefaults,
		log:      slog.New(slog.DiscardHandler),
		progress: func(line string) { fmt.Fprintln(cmd.ErrOrStderr(), line) },
	})
	if err != nil {
		return bench.Report{}, err
	}
	defer func() { err = errors.Join(err, n.Close(true)) }()
	if err := n.runtime.Prepare(ctx); err != nil {
		return bench.Report{}, err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return bench.Report{}, err
	}
	keys := new(e2b.MemoryKeys)
	_, key, err := keys.Create(ctx, "bench")
	if err != nil {
		return bench.Report{}, err
	}
	served := make(chan error, 1)
	go func() {
		served <- e2b.NewServer(e2b.Config{EnvdVersion: control.EnvdVersion}, n.runtime, keys).Serve(ctx, ln)
	}()
	defer func() {
		cancel()
		err = errors.Join(err, <-served)
	}()
	setup, err := n.benchSetup(ctx)
	if err != nil {
		return bench.Report{}, err
	}
	setup.API = client.API{URL: "http://" + ln.Addr().String(), Key: key}
	report := bench.Report{Host: hostStamp(n)}
	report.Rows, err = bench.Run(ctx, b, setup, func(done, of int) {
		fmt.Fprintf(cmd.ErrOrStderr(), "\rround %d of %d", done, of)
	})
	fmt.Fprintln(cmd.ErrOrStderr())
	report.Host.LoadAfter = loadAverage()
	report.Stages = n.runtime.Latency().Summaries()
	return report, err
}
