package local

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/bench/plan"
	"github.com/rundlet/rundlet/bench/report"
	"github.com/rundlet/rundlet/layout"
	"github.com/rundlet/rundlet/node"
	"github.com/rundlet/rundlet/vm/memvm"
)

// measure runs the group clone with a node of open, and looks at what it was
// asked for and what is left.
func measure(t *testing.T, groups []string, open func() (*node.Node, error)) (report.Report, error) {
	t.Helper()
	dirs := layout.Layout{StateDir: t.TempDir(), CacheDir: t.TempDir(), RunDir: t.TempDir()}
	plan := plan.Quick()
	r, err := Run(t.Context(), Config{
		Dirs: dirs, Version: "v", Groups: groups, Plan: plan, Progress: func(string) {},
		open: func(_ context.Context, c node.Config) (*node.Node, error) {
			if c.Dirs.StateDir != filepath.Join(dirs.StateDir, "bench") || c.Dirs.RunDir != filepath.Join(dirs.RunDir, "bench") || c.Size.MemoryMiB < plan.MemoryMiB() {
				t.Errorf("asked for %+v", c)
			}
			if _, err := os.Stat(c.Dirs.StateDir); err != nil {
				t.Error(err)
			}
			return open()
		},
	})
	for _, dir := range []string{dirs.StateDir, dirs.RunDir} {
		if _, err := os.Stat(filepath.Join(dir, "bench")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("left in %s: %v", dir, err)
		}
	}
	return r, err
}

func TestANodeThatDoesNotOpenIsInTheReport(t *testing.T) {
	r, err := measure(t, []string{"clone"}, func() (*node.Node, error) { return nil, errors.New("no node") })
	if err != nil || len(r.Groups) != 1 || r.Groups[0].Error != "no node" || r.Host.Took <= 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestADriverWithoutABareMechanismIsRefusedAndItsNodeClosed(t *testing.T) {
	closed := 0
	r, err := measure(t, []string{"clone"}, func() (*node.Node, error) {
		n := &node.Node{Driver: memvm.New(memvm.Options{})}
		n.OnClose(func(context.Context) error { closed++; return nil })
		return n, nil
	})
	if err != nil || len(r.Groups) != 1 || !strings.Contains(r.Groups[0].Error, "cannot be measured on its own") || closed != 1 {
		t.Errorf("%+v, %v, closed %d times", r, err, closed)
	}
}

func TestAnUnknownGroupOpensNothing(t *testing.T) {
	_, err := measure(t, []string{"wram"}, func() (*node.Node, error) { panic("opened") })
	if err == nil || !strings.Contains(err.Error(), "wram") {
		t.Errorf("%v", err)
	}
}

func TestOnlyOneBenchmarkRunsAtATime(t *testing.T) {
	dirs := layout.Layout{StateDir: t.TempDir(), CacheDir: t.TempDir(), RunDir: t.TempDir()}
	c := Config{Dirs: dirs, Groups: []string{"clone"}, Plan: plan.Quick(), Progress: func(string) {}}
	c.open = func(ctx context.Context, _ node.Config) (*node.Node, error) {
		_, err := Run(ctx, c)
		return nil, err
	}
	r, err := Run(t.Context(), c)
	if err != nil || len(r.Groups) != 1 || r.Groups[0].Error != "another benchmark is running" {
		t.Errorf("%+v, %v", r, err)
	}
}
