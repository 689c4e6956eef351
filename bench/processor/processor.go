// Package processor counts the processor time of processes by their control groups:
// exactly, to the end of each process, and including all that they start. It may
// import nothing of this module; bench and its parts may import it. Linux only in
// effect: elsewhere every call fails.
package processor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/procfs"
)

// Group is a control group of version 1 (controller cpuacct) or 2. Safe for
// concurrent use.
type Group struct {
	dir     string
	unified bool // version 2
}

const (
	root  = "/sys/fs/cgroup"
	root1 = root + "/cpuacct"
)

// Make makes a group below the root, with a name that begins like that. The caller
// removes it.
func Make(name string) (*Group, error) {
	above, unified := root1, false
	if _, err := os.Stat(filepath.Join(root1, "cpuacct.usage")); err != nil {
		above, unified = root, true
	}
	dir, err := os.MkdirTemp(above, name+"-")
	if err != nil {
		return nil, fmt.Errorf("count processor time: %w", err)
	}
	g := &Group{dir: dir, unified: unified}
	if _, err := g.Used(); err != nil {
		return nil, errors.Join(err, g.Remove())
	}
	return g, nil
}

// Of returns the group that a process is in.
func Of(pid int) (*Group, error) {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return nil, err
	}
	all, err := p.Cgroups()
	if err != nil {
		return nil, err
	}
	var v2 *Group
	for _, c := range all {
		if slices.Contains(c.Controllers, "cpuacct") {
			return &Group{dir: filepath.Join(root1, c.Path)}, nil
		}
		if c.HierarchyID == 0 {
			v2 = &Group{dir: filepath.Join(root, c.Path), unified: true}
		}
	}
	if v2 == nil {
		return nil, fmt.Errorf("process %d is in no control group that counts processor time", pid)
	}
	return v2, nil
}

// Parent is the group above, which counts what all below it used, removed ones too.
func (g *Group) Parent() *Group { return &Group{dir: filepath.Dir(g.dir), unified: g.unified} }

// Is reports whether both are the same group.
func (g *Group) Is(other *Group) bool { return *g == *other }

// Add moves a process with all its threads into the group.
func (g *Group) Add(pid int) error {
	return os.WriteFile(filepath.Join(g.dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0)
}

// Used is the processor time, user and system, of the group since it was made.
func (g *Group) Used() (time.Duration, error) {
	if !g.unified {
		data, err := os.ReadFile(filepath.Join(g.dir, "cpuacct.usage"))
		if err != nil {
			return 0, fmt.Errorf("read processor time: %w", err)
		}
		n, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
		return time.Duration(n), err
	}
	data, err := os.ReadFile(filepath.Join(g.dir, "cpu.stat"))
	if err != nil {
		return 0, fmt.Errorf("read processor time: %w", err)
	}
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(line, "usage_usec "); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
			return time.Duration(n) * time.Microsecond, err
		}
	}
	return 0, fmt.Errorf("read processor time: %s/cpu.stat has no usage_usec", g.dir)
}

// Remove removes the group, whose processes must have ended or left.
func (g *Group) Remove() error {
	if err := os.Remove(g.dir); err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}
