// Package bench measures the latencies that users feel, each beside the bare
// mechanism under it, in the same run and taking turns, so that a noisy machine
// disturbs both alike. It knows the API's client and no driver. It
// may import client, policy and its own report package; only bench/local, which
// runs it on this machine, and cmd may import it.
package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/rundlet/rundlet/bench/plan"
	"github.com/rundlet/rundlet/bench/report"
	"github.com/rundlet/rundlet/client"
	"github.com/rundlet/rundlet/policy/latency"
)

// Config is what kind of server is to be measured.
type Config struct {
	// Warm and Prepared are what the pool holds.
	Warm, Prepared int
	// Sandboxes is the capacity, and Pending how many may wait; 0 is the default.
	Sandboxes, Pending int
}

// Server is a server that runs in this process, and what is known of it from
// inside.
type Server struct {
	API client.API
	// NewKey makes another key for the same server.
	NewKey func(ctx context.Context, name string) (string, error)
	// Samples are what the server took itself.
	Samples *latency.Recorder
	// Load is what waits and what is kept warm now.
	Load func() Load
	// Bare is the mechanism without a server.
	Bare Mechanism
	// Close ends the server and its sandboxes.
	Close func() error
}

// Load is what waits and what is kept warm.
type Load struct {
	Pending         int
	Ready, Prepared int
	Hits, Misses    uint64
	// Busy is how many machines are being made for the pool.
	Busy int
}

// Mechanism is what a program could do without this one: the calls of the
// driver's library, and the driver alone.
type Mechanism interface {
	// LibraryRestore and LibraryBoot return when the agent has answered one
	// request, and the time since just before the first call. What they have to
	// prepare on disk and in the network before that does not count.
	LibraryRestore(ctx context.Context) (Machine, time.Duration, error)
	LibraryBoot(ctx context.Context) (Machine, time.Duration, error)
	// Restore and Boot do the same by the driver, with its limits and records.
	Restore(ctx context.Context) (Guest, time.Duration, error)
	Boot(ctx context.Context) (Guest, time.Duration, error)
	// Exec runs a command in a sandbox of the server by the mechanism's own
	// means, to its end, and returns the times to its first byte of output, 0 if
	// there was none, and to its end.
	Exec(ctx context.Context, sandbox string, stdin []byte, args ...string) (first, end time.Duration, err error)
	// Dial connects to a port of a sandbox of the server by the driver, as the server does.
	Dial(ctx context.Context, sandbox string, port uint16) (net.Conn, error)
	// Processes are the host processes of a sandbox of the server.
	Processes(sandbox string) ([]int, error)
	// PageOut gives the memory of a sandbox of the server to the host's swap.
	PageOut(ctx context.Context, sandbox string) error
}

// Machine is a machine without a server. The caller destroys it.
type Machine interface {
	// Destroy ends the machine and returns how long the calls took.
	Destroy(ctx context.Context) (time.Duration, error)
}

// Guest is a machine that the driver made.
type Guest interface {
	Machine
	Exec(ctx context.Context, stdin []byte, args ...string) (first, end time.Duration, err error)
	Processes() ([]int, error)
	// Save saves it while it runs, and removes that again, which does not count.
	Save(ctx context.Context) (time.Duration, error)
	// Pause saves it, with its memory or only its files, and ends it. Resume
	// makes it again from that.
	Pause(ctx context.Context, memory bool) (time.Duration, error)
	Resume(ctx context.Context) (time.Duration, error)
	// Fork saves it and makes n others from that, so many at a time as there are
	// processors; done has, by child, the time since the call.
	Fork(ctx context.Context, n int) (children []Guest, done []time.Duration, err error)
}

// Setup is where servers to measure come from.
type Setup struct {
	Open func(ctx context.Context, c Config) (*Server, error)
	// MemoryFree is how much memory the host can still give, in MiB.
	MemoryFree func() int
	// SwapFree is how much swap the host can still give, in MiB.
	SwapFree func() int
	// Usage reads what processes of the host use.
	Usage Usage
	// Program is the path of this program, which is linked statically: group ingress runs it in a guest.
	Program string
	// LoadAverage of the last minute, as text.
	LoadAverage func() string
	// Progress receives progress lines.
	Progress func(line string)
}

// Usage reads what processes of the host use.
type Usage interface {
	// PSS is the proportional share of memory, in MiB, of all together.
	PSS(pids []int) (float64, error)
	// Swapped is the proportional share of memory in swap, in MiB, of all together.
	Swapped(pids []int) (float64, error)
	// CPU is the processor time of all together since they began.
	CPU(pids []int) (time.Duration, error)
	// Processor is the processor time since the run began of this process, which has the
	// server and its client, with what it started, and of all sandboxes of the server:
	// all processes, also those that have ended.
	Processor() (time.Duration, error)
	// Wakeups is how often threads of the processes, or of this one if there are none, have
	// waited for something and gone on.
	Wakeups(pids ...int) (int, error)
	// Self is the processor time and the resident memory, in MiB, of this
	// process.
	Self() (cpu time.Duration, rss float64, err error)
}

// Run measures the groups that are named, or all, each with a private
// server. Failures are in the report; an error is returned only for a wrong name
// and when ctx has ended.
func Run(ctx context.Context, names []string, p plan.Plan, setup Setup) ([]report.Group, error) {
	chosen, err := choose(names)
	if err != nil {
		return nil, err
	}
	var out []report.Group
	for _, g := range chosen {
		setup.Progress(g.name + ": " + g.title)
		out = append(out, g.run(ctx, p, setup))
		if ctx.Err() != nil {
			return out, context.Cause(ctx)
		}
	}
	return out, nil
}

// Groups are the names of what can be measured, in order.
func Groups() []string {
	var out []string
	for _, g := range groups {
		out = append(out, g.name)
	}
	return out
}

func choose(names []string) ([]group, error) {
	if len(names) == 0 {
		return groups, nil
	}
	for _, name := range names {
		if !slices.Contains(Groups(), name) {
			return nil, fmt.Errorf("unknown group %q: must be one of %s", name, strings.Join(Groups(), ", "))
		}
	}
	return slices.DeleteFunc(slices.Clone(groups), func(g group) bool { return !slices.Contains(names, g.name) }), nil
}

// group is one thing to measure, with one or several private servers.
type group struct {
	name, title string
	plot        report.Plot
	measure     func(ctx context.Context, m *measurement) error
}

var groups = []group{
	{"warm", "out of the pool, beside a machine that runs already", report.PlotCDF, warm},
	{"prepared", "missed by the pool, started from a prepared machine, beside a restore", report.PlotCDF, prepared},
	{"clone", "restored, without a pool, beside a restore", report.PlotCDF, clone},
	{"cold", "booted, beside a boot", report.PlotCDF, cold},
	{"exec", "a command in a sandbox that runs", report.PlotCDF, execs},
	{"batch", "100 small commands, one after the other", report.PlotCDF, batch},
	{"files", "files in and out", report.PlotBars, files},
	{"pause", "pause and resume with memory, by the memory dirtied", report.PlotLines, pause},
	{"snapshot", "snapshot of a running sandbox, by the memory dirtied", report.PlotLines, snapshot},
	{"fspause", "pause and resume of the files alone", report.PlotCDF, filesystemPause},
	{"fork", "children of a running sandbox, by their number", report.PlotLines, fork},
	{"burst", "many creates at once", report.PlotBars, burst},
	{"refill", "a pool that was emptied", report.PlotBars, refill},
	{"density", "memory and processor time of sandboxes that were used and are idle", report.PlotBars, density},
	{"idle", "what sandboxes that were never used cost, and the daemon beside them", report.PlotBars, asleep},
	{"ingress", "a port of a sandbox, beside a connection of the daemon and another proxy", report.PlotBars, ports},
	{"queue", "more creates than there is room for", report.PlotBars, queue},
}

func (g group) run(ctx context.Context, p plan.Plan, setup Setup) report.Group {
	m := &measurement{plan: p, setup: setup, name: g.name}
	begin, before := time.Now(), setup.LoadAverage()
	err := g.measure(ctx, m)
	if m.server != nil {
		m.stages = m.server.Samples.Summaries()
	}
	err = errors.Join(err, m.close())
	out := report.Group{Name: g.name, Title: g.title, Plot: g.plot, Took: time.Since(begin), LoadBefore: before,
		LoadAfter: setup.LoadAverage(), Rows: m.Result(), Facts: m.Facts, Stages: m.stages}
	if err != nil {
		out.Error = err.Error()
	}
	return out
}
