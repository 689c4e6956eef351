//go:build linux

package cgroups

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/runsc/cgroup"
)

const subtreeControl = "cgroup.subtree_control"

// needed are the controllers of version 2 that limit or count for us. Others, such as
// io, stay as they are: each one costs all groups below something.
var needed = []string{"cpu", "memory", "pids"}

// install makes a group of version 2 and those above it, and writes its limits.
func install(path string, limits *specs.LinuxResources) error {
	current := mountPoint
	for name := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		if err := enable(current); err != nil {
			return err
		}
		current = filepath.Join(current, name)
		if err := os.Mkdir(current, 0o755); err != nil && !os.IsExist(err) {
			return err
		}
	}
	if err := setLimits(current, limits); err != nil {
		return errors.Join(err, unix.Rmdir(current))
	}
	return nil
}

// enable gives the groups below dir their controllers.
func enable(dir string) error {
	enabled, err := words(filepath.Join(dir, subtreeControl))
	if err != nil {
		return err
	}
	var more []string
	for _, name := range needed {
		if !slices.Contains(enabled, name) {
			more = append(more, "+"+name)
		}
	}
	if len(more) == 0 {
		return nil
	}
	if err := writeFile(dir, subtreeControl, strings.Join(more, " ")); err != nil {
		return fmt.Errorf("enable controllers: %w", err)
	}
	return nil
}

func setLimits(dir string, limits *specs.LinuxResources) error {
	var errs []error
	if cpu := limits.CPU; cpu != nil && cpu.Quota != nil && cpu.Period != nil {
		errs = append(errs, writeFile(dir, "cpu.max", fmt.Sprint(*cpu.Quota, " ", *cpu.Period)))
	}
	if memory := limits.Memory; memory != nil && memory.Limit != nil {
		errs = append(errs, writeFile(dir, "memory.max", strconv.FormatInt(*memory.Limit, 10)))
	}
	if pids := limits.Pids; pids != nil && pids.Limit > 0 {
		errs = append(errs, writeFile(dir, "pids.max", strconv.FormatInt(pids.Limit, 10)))
	}
	return errors.Join(errs...)
}

// writeFile writes a file of a group without making it.
func writeFile(dir, name, value string) error {
	return os.WriteFile(filepath.Join(dir, name), []byte(value), 0)
}

// canCloneInto reports whether a process can be started in the group by
// clone3(CLONE_INTO_CGROUP), which kernels before 5.7 and some filters of system calls forbid.
func canCloneInto(cg cgroup.Cgroup) bool {
	dir, err := cg.CloneIntoCgroup()
	if err != nil {
		return false
	}
	_ = dir.Close()
	return true
}

// Open returns the directory of the group, for syscall.SysProcAttr.CgroupFD of processes that are
// to be born in it: see CloneInto. The caller closes it.
func (g *Group) Open() (*os.File, error) {
	dir, err := g.Cgroup.CloneIntoCgroup()
	if err != nil {
		return nil, fmt.Errorf("open the control group: %w", err)
	}
	return dir, nil
}

// CloneInto reports whether the processes of the group are to be born in it, so that
// JoinFiles has none for them.
func (g *Group) CloneInto() bool { return g != nil && g.cloneInto }
