// Package local runs the benchmark on this machine: it opens private nodes,
// serves them, and runs machines beside them by the driver alone and by the bare
// mechanism under the driver. It knows no driver by name: what can be compared
// says so by implementing Driver. It may import what a node is made of; only
// cmd may import it.
package local

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/rundlet/rundlet/bench"
	"github.com/rundlet/rundlet/bench/plan"
	"github.com/rundlet/rundlet/bench/report"
	"github.com/rundlet/rundlet/layout"
	"github.com/rundlet/rundlet/node"
	"github.com/rundlet/rundlet/node/statedir"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/vm"
)

// Config says what to measure.
type Config struct {
	// Dirs are those of the installation. The benchmark has separate directories
	// below its state and run directory, and removes them at the end.
	Dirs layout.Layout
	// Version is that of this program, for the report.
	Version string
	// Groups are the names of the groups to measure; none means all.
	Groups []string
	Plan   plan.Plan
	// Progress receives progress lines.
	Progress func(line string)

	open func(ctx context.Context, c node.Config) (*node.Node, error) // of tests
}

// Driver is a driver that can be compared with the mechanism under it. The three
// methods that no other caller has are in the driver and not here, since they
// share its flags, its files and its processes: a bare start that drifted from
// what the driver does would measure something else.
type Driver interface {
	vm.Runtime
	vm.SnapshotDeleter
	vm.FilesystemSnapshotter
	vm.PageOuter
	vm.Dialer
	// Bare prepares a start by the mechanism's own library, with the same flags
	// and files as a machine but without limits, records and supervision: a
	// restore of spec.RestoreFrom, or a boot without one. The guest runs when run
	// returns; the caller calls destroy in any case.
	Bare(spec vm.Spec) (run, destroy func() error, err error)
	// ExecCommand returns the command that runs args in a running machine by the
	// mechanism's own command line. The caller sets the streams and runs it.
	ExecCommand(id string, args ...string) (*exec.Cmd, error)
	// Processes returns the host processes that the driver started for a machine.
	Processes(id string) ([]int, error)
}

// Run measures with separate state: sandboxes are larger than usual, and the
// template that a running server uses must stay as it is. With an error the report
// has what was measured until then.
func Run(ctx context.Context, c Config) (r report.Report, err error) {
	if c.open == nil {
		c.open = node.Open
	}
	dirs := c.Dirs
	unlock, err := lock(dirs)
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
	program, err := os.Executable()
	if err != nil {
		return report.Report{}, err
	}
	size := sandbox.DefaultSize
	size.MemoryMiB = max(size.MemoryMiB, c.Plan.MemoryMiB())
	usage := newUsage()
	defer func() { err = errors.Join(err, usage.Close()) }()
	if usage.missing != nil {
		c.Progress("processor time is not measured: " + usage.missing.Error())
	}
	begin, before := time.Now(), loadAverage()
	setup := bench.Setup{
		Open: func(ctx context.Context, want bench.Config) (*bench.Server, error) {
			s, driver, err := c.serve(ctx, dirs, want, size)
			if err == nil && r.Host.Time.IsZero() {
				r.Host = stamp(driver, c.Version)
			}
			return s, err
		},
		MemoryFree: memoryFree, SwapFree: swapFree, Usage: usage, LoadAverage: loadAverage, Progress: c.Progress,
		Program: program,
	}
	r.Groups, err = bench.Run(ctx, c.Groups, c.Plan, setup)
	r.Host.LoadBefore, r.Host.LoadAfter, r.Host.Took = before, loadAverage(), time.Since(begin)
	return r, err
}

// lock refuses a second benchmark: two at a time would measure each other.
func lock(dirs layout.Layout) (unlock func(), err error) {
	unlock, err = statedir.LockFile(filepath.Join(dirs.StateDir, "bench.lock"))
	if errors.Is(err, statedir.ErrLocked) {
		return nil, errors.New("another benchmark is running")
	}
	return unlock, err
}
