//go:build linux

package gvisor

import (
	"errors"
	"maps"
	"path/filepath"
	"runtime"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/rundlet/rundlet/internal/cgroups"
	"github.com/rundlet/rundlet/internal/durable"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/gvisor/budget"
	"github.com/rundlet/rundlet/vm/gvisor/files"
	"github.com/rundlet/rundlet/vm/gvisor/launch"
	"github.com/rundlet/rundlet/vm/gvisor/oci"
	"github.com/rundlet/rundlet/vm/gvisor/snapshots"
	"github.com/rundlet/rundlet/vm/gvisor/spawn"
)

// runscFlags are gVisor's flags of the processes of a machine.
func runscFlags(dirs files.Dirs, key string, debug bool, spec vm.Spec) (all []string) {
	flags := oci.Flags(spec, dirs.Images(key))
	flags["root"] = dirs.Root()
	if debug {
		flags["debug"] = "true"
		flags["debug-log"] = filepath.Join(dirs.Bundle(key), "log-%COMMAND%")
	}
	for _, name := range slices.Sorted(maps.Keys(flags)) {
		all = append(all, "--"+name+"="+flags[name])
	}
	return all
}

// toSpawn says which processes the sandbox of a machine has.
func toSpawn(dirs files.Dirs, key string, debug bool, spec vm.Spec, oneLayer bool) spawn.Sandbox {
	return spawn.Sandbox{
		Flags: runscFlags(dirs, key, debug, spec), Key: key, Bundle: dirs.Bundle(key), Socket: dirs.Socket(key),
		NetNS: spec.NetNS, NullNetNS: dirs.NullNetNS(),
		Sources: oci.Sources(spec, oneLayer), LayerDir: dirs.Images(key), LayerMiB: spec.DiskMiB, Debug: debug,
	}
}

// guestCPUs is how many processors the guest sees. Not less than two where the
// host has them: threads of a guest run truly at the same time even under a
// limit of one, and programs on one processor may leave out locked instructions.
func guestCPUs(vcpus int) int {
	if vcpus == 0 {
		return 0
	}
	return min(max(vcpus, 2), runtime.NumCPU())
}

// writeBundle writes the files that the sandbox's processes read. engine is the path of the
// one that they run, or empty.
func writeBundle(bundle, engine string, spec vm.Spec, g *cgroups.Group, tasks int64, images, layerDir string, setUID []string, oneLayer bool, savedRoot string) error {
	l := launch.File{
		Engine:      engine,
		Console:     filepath.Join(bundle, consoleFile),
		CPUs:        guestCPUs(spec.VCPUs),
		MemoryBytes: int64(spec.MemoryMiB) << 20,
		Join:        g.JoinFiles(),
		SetUID:      setUID,
		Rootfs:      spec.Rootfs,
	}
	l.Mounts, _ = oci.Below(spec, oneLayer)
	if g != nil {
		l.Tasks, l.TasksFile = tasks, g.TasksFile("pids.current")
	}
	if oci.LayerInFile(spec) {
		l.LayerDir = layerDir
	}
	if images != "" {
		l.StartHeap = restoreHeadroom(images)
	}
	container := oci.Spec(spec, oneLayer)
	oci.NameRoot(container, savedRoot)
	return errors.Join(
		durable.WriteJSON(filepath.Join(bundle, "config.json"), container),
		durable.WriteJSON(filepath.Join(bundle, launch.FileName), l))
}

const cpuPeriodMicros = 100_000

// resources are the limits of a machine's control group, with host tasks.
func resources(spec vm.Spec, tasks int64) *specs.LinuxResources {
	res := &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: tasks}}
	if spec.VCPUs > 0 {
		quota, period := int64(spec.VCPUs)*cpuPeriodMicros, uint64(cpuPeriodMicros)
		res.CPU = &specs.LinuxCPU{Quota: &quota, Period: &period}
	}
	if spec.MemoryMiB > 0 {
		limit := budget.New(int64(spec.MemoryMiB) << 20).HostLimit()
		res.Memory = &specs.LinuxMemory{Limit: &limit}
	}
	return res
}

// setUIDFor are the files that a sandbox process must make set-uid in a guest that
// it loads from m, or boots if m is nil. What was done before the save is not
// done again: the guest's root may have changed its mind.
func (c Config) setUIDFor(m *snapshots.Manifest) []string {
	if m == nil {
		return c.SetUID
	}
	return slices.DeleteFunc(slices.Clone(c.SetUID), func(path string) bool { return slices.Contains(m.SetUID, path) })
}
