package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/rundlet/rundlet/bench"
	"github.com/rundlet/rundlet/bench/report"
	"github.com/rundlet/rundlet/client"
	"github.com/rundlet/rundlet/e2b"
	"github.com/rundlet/rundlet/layout"
	"github.com/rundlet/rundlet/node"
	"github.com/rundlet/rundlet/node/statedir"
	"github.com/rundlet/rundlet/policy/latency"
	"github.com/rundlet/rundlet/runtime"
	"github.com/rundlet/rundlet/sandbox"
)

// runBench measures with state of its own: sandboxes are larger than usual, and
// the template that a running server uses must stay as it is.
func runBench(cmd *cobra.Command, o *options, only []string, plan bench.Plan) (_ report.Report, err error) {
	dirs, err := o.layout()
	if err != nil {
		return report.Report{}, err
	}
	// Two at a time would measure each other.
	unlock, err := statedir.LockFile(filepath.Join(dirs.StateDir, "bench.lock"))
	if errors.Is(err, statedir.ErrLocked) {
		return report.Report{}, errors.New("another benchmark is running")
	}
	if err != nil {
		return report.Report{}, err
	}
	defer unlock()
	dirs.StateDir, dirs.RunDir = filepath.Join(dirs.StateDir, "bench"), filepath.Join(dirs.RunDir, "bench")
	if err := dirs.Make(slog.Default()); err != nil {
		return report.Report{}, err
	}
	defer func() {
		err = errors.Join(err, os.RemoveAll(dirs.StateDir), os.RemoveAll(dirs.RunDir))
	}()
	progress := func(line string) { fmt.Fprintln(cmd.ErrOrStderr(), line) }
	size := sandbox.DefaultSize
	size.MemoryMiB = max(size.MemoryMiB, plan.MemoryMiB())
	begin := time.Now()
	var r report.Report
	setup := bench.Setup{
		Open: func(ctx context.Context, c bench.Config) (*bench.Server, error) {
			s, host, err := openBenchServer(ctx, dirs, c, size, progress)
			if err == nil && r.Host.Time.IsZero() {
				r.Host = host
			}
			return s, err
		},
		MemoryFree: memoryFree, Usage: procUsage{}, LoadAverage: loadAverage, Progress: progress,
	}
	r.Host.LoadBefore = loadAverage()
	before := r.Host.LoadBefore
	r.Groups, err = bench.Run(cmd.Context(), only, plan, setup)
	r.Host.LoadBefore, r.Host.LoadAfter, r.Host.Took = before, loadAverage(), time.Since(begin)
	return r, err
}

// openBenchServer opens a node and serves it on a port of its own.
func openBenchServer(ctx context.Context, dirs layout.Layout, c bench.Config, size sandbox.Size, progress func(string)) (_ *bench.Server, _ report.Host, err error) {
	room := node.DefaultCapacity
	if c.Sandboxes > 0 {
		room.Overcommit.Sandboxes = c.Sandboxes
	}
	if c.Pending > 0 {
		room.Pending = c.Pending
	}
	room.Overcommit.Memory, room.Overcommit.Disk = 16, 100 // Their size is a limit that few come near.
	room.Wait = 5 * time.Minute
	ctx, cancel := context.WithCancel(ctx)
	n, err := node.Open(ctx, node.Config{
		Dirs: dirs, Ephemeral: true, NoUplink: true, NetworkSlots: 4, Capacity: room, Size: size, Latency: &latency.Recorder{},
		Warm: runtime.WarmTarget{Ready: c.Warm, Prepared: c.Prepared}, Progress: progress,
	})
	if err != nil {
		cancel()
		return nil, report.Host{}, err
	}
	served := make(chan error, 1)
	serving := false
	closeAll := func() error {
		cancel()
		var err error
		if serving {
			err = <-served
		}
		return errors.Join(err, n.Close(node.EndAll))
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, closeAll())
		}
	}()
	if err := n.Runtime.Prepare(ctx); err != nil {
		return nil, report.Host{}, err
	}
	mechanism, err := mechanism(ctx, n)
	if err != nil {
		return nil, report.Host{}, err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, report.Host{}, err
	}
	keys := new(e2b.MemoryKeys)
	serving = true
	go func() {
		served <- e2b.NewServer(e2b.Config{}, n.Runtime, keys).Serve(ctx, ln)
	}()
	newKey := func(ctx context.Context, name string) (string, error) {
		_, key, err := keys.Create(ctx, name)
		return key, err
	}
	key, err := newKey(ctx, "bench")
	if err != nil {
		return nil, report.Host{}, err
	}
	return &bench.Server{
		API:    client.API{URL: "http://" + ln.Addr().String(), Key: key},
		NewKey: newKey, Samples: n.Runtime.Latency(), Bare: mechanism, Close: closeAll,
		Load: func() bench.Load { return benchLoad(n.Runtime.Load()) },
	}, hostStamp(n), nil
}

func benchLoad(l runtime.Load) bench.Load {
	out := bench.Load{Pending: l.Pending}
	for _, w := range l.Warm {
		out.Ready += w.Ready
		out.Prepared += w.Prepared
		out.Hits += w.Hits
		out.Misses += w.Misses
		out.Busy += w.InFlight
	}
	return out
}
