//go:build linux

package cgroups

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"gvisor.dev/gvisor/pkg/log"
	"gvisor.dev/gvisor/runsc/cgroup"
)

// mountPoint is where control groups are: the groups of version 2, or a directory for
// each controller of version 1.
const mountPoint = "/sys/fs/cgroup"

// onlyV2 reports whether this host has version 2 alone, which does not change.
var onlyV2 = sync.OnceValue(cgroup.IsOnlyV2)

// v1Controllers are those that limit or count for us.
var v1Controllers = []string{"cpu", "cpuacct", "memory", "pids"}

// Mounted says how this host's control groups are mounted: "v2", "v1",
// "hybrid" (v1 controllers beside a v2 mount) or "none".
func Mounted() string {
	if onlyV2() {
		return "v2"
	}
	for _, name := range []string{"cpu", "memory", "pids"} {
		if _, err := os.Stat(filepath.Join(mountPoint, name, "cgroup.procs")); err != nil {
			return "none"
		}
	}
	if _, err := os.Stat(filepath.Join(mountPoint, "unified", "cgroup.procs")); err == nil {
		return "hybrid"
	}
	return "v1"
}

// Usable returns nil if groups with limits can be made on this host, and otherwise why not.
func Usable() error {
	switch Mounted() {
	case "none":
		return errors.New("control groups are not mounted with the controllers cpu, memory and pids")
	case "v2":
		return usableAt(mountPoint)
	}
	return nil
}

// usableAt is Usable for version 2 with the groups at root.
func usableAt(root string) error {
	have, err := words(filepath.Join(root, "cgroup.controllers"))
	if err != nil {
		return err
	}
	enabled, err := words(filepath.Join(root, subtreeControl))
	if err != nil {
		return err
	}
	for _, name := range needed {
		if !slices.Contains(have, name) {
			return fmt.Errorf("the controller %s is not available in %s", name, root)
		}
		if slices.Contains(enabled, name) {
			continue
		}
		// The group that holds all others may have processes and controllers. The root of
		// a container is not that one, although it looks so from inside; only its type shows it.
		processes, err := words(filepath.Join(root, "cgroup.procs"))
		if _, inner := os.Stat(filepath.Join(root, "cgroup.type")); inner == nil && err == nil && len(processes) > 0 {
			return fmt.Errorf("the controller %s cannot be enabled in %s, because processes are in that group itself", name, root)
		}
	}
	return nil
}

func words(file string) ([]string, error) {
	data, err := os.ReadFile(file)
	return strings.Fields(string(data)), err
}

// HostAvailable is the memory that programs of this host can still get without swapping, in bytes.
func HostAvailable() (int64, error) {
	data, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	kib, ok := StatField(string(data), "MemAvailable:")
	if !ok {
		return 0, errors.New("/proc/meminfo has no MemAvailable")
	}
	return kib << 10, nil
}

// quiet keeps the library from writing to standard error, which it does for each controller that a host does not have.
var quiet = sync.OnceFunc(func() { log.SetTarget(&log.GoogleEmitter{Writer: &log.Writer{Next: io.Discard}}) })

// fromPath is the group at a path, which need not exist.
func fromPath(path string) (cgroup.Cgroup, error) {
	quiet()
	return cgroup.NewFromPath(path, false)
}
