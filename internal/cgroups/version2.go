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

var (
	// needed are the controllers of version 2 that limit or count for us. Others, such as
	// io, stay as they are: each one costs all groups below something.
	needed = []string{"cpu", "memory", "pids"}
	// wished is enabled where the host has it: gVisor reads the number of processors
	// from it before it starts a process in a group.
	wished = "cpuset"
)

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
	have, err := words(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return err
	}
	enabled, err := words(filepath.Join(dir, subtreeControl))
	if err != nil {
		return err
	}
	var more []string
	for _, name := range append(slices.Clone(needed), wished) {
		if !slices.Contains(enabled, name) && (name != wished || slices.Contains(have, name)) {
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

// canCloneInto reports whether gVisor can start a process in the group by
// clone3(CLONE_INTO_CGROUP). Where it cannot, it would move the daemon into the group for
// a moment, with whatever the daemon starts meanwhile.
func canCloneInto(cg cgroup.Cgroup) bool {
	dir, err := cg.CloneIntoCgroup()
	if err != nil {
		return false
	}
	_ = dir.Close()
	_, err = cg.NumCPU() // gVisor reads it, and fails without.
	return err == nil
}

// CloneInto reports whether the processes of the group are to be born in it, so that
// JoinFiles has none for them.
func (g *Group) CloneInto() bool { return g != nil && g.cloneInto }
