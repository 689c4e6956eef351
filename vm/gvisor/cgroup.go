//go:build linux

package gvisor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/runsc/cgroup"

	"github.com/rundlet/rundlet/vm"
)

const cpuPeriodMicros = 100_000

// v1Controllers are those that limit or count for us.
var v1Controllers = []string{"cpu", "cpuacct", "memory", "pids"}

// hostCgroups says how this host's control groups are mounted: "v2", "v1",
// "hybrid" (v1 controllers beside a v2 mount) or "none".
func hostCgroups() string {
	if cgroup.IsOnlyV2() {
		return "v2"
	}
	for _, name := range []string{"cpu", "memory", "pids"} {
		if _, err := os.Stat(filepath.Join("/sys/fs/cgroup", name, "cgroup.procs")); err != nil {
			return "none"
		}
	}
	if _, err := os.Stat("/sys/fs/cgroup/unified/cgroup.procs"); err == nil {
		return "hybrid"
	}
	return "v1"
}

// group is the control group of one machine. A nil group has no limits.
type group struct {
	cgroup.CgroupJSON
}

// newGroup makes the control group with the limits of spec and of host tasks.
func newGroup(path string, spec vm.Spec, tasks int64) (*group, error) {
	cg, err := cgroup.NewFromPath(path, false)
	if err != nil {
		return nil, fmt.Errorf("control group: %w", err)
	}
	if err := cg.Install(resources(spec, tasks)); err != nil {
		return nil, fmt.Errorf("control group %s: %w", path, err)
	}
	return &group{cgroup.CgroupJSON{Cgroup: cg}}, nil
}

func resources(spec vm.Spec, tasks int64) *specs.LinuxResources {
	res := &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: tasks}}
	if spec.VCPUs > 0 {
		quota, period := int64(spec.VCPUs)*cpuPeriodMicros, uint64(cpuPeriodMicros)
		res.CPU = &specs.LinuxCPU{Quota: &quota, Period: &period}
	}
	if spec.MemoryMiB > 0 {
		limit := newGuestBudget(int64(spec.MemoryMiB) << 20).hostLimit()
		res.Memory = &specs.LinuxMemory{Limit: &limit}
	}
	return res
}

// procsFiles are the files that a process writes to, to join.
func (g *group) procsFiles() (files []string) {
	if g == nil {
		return nil
	}
	for _, dir := range g.dirs() {
		files = append(files, filepath.Join(dir, "cgroup.procs"))
	}
	return files
}

// processes returns the processes of the group, which a nil group does not know.
func (g *group) processes() (pids []int, err error) {
	files := g.procsFiles()
	if len(files) == 0 {
		return nil, nil
	}
	data, err := os.ReadFile(files[0])
	for field := range strings.FieldsSeq(string(data)) {
		pid, bad := strconv.Atoi(field)
		if bad != nil {
			return nil, bad
		}
		pids = append(pids, pid)
	}
	return pids, err
}

func (g *group) dirs() (dirs []string) {
	if cgroup.IsOnlyV2() {
		return []string{g.Cgroup.MakePath("")}
	}
	for _, name := range v1Controllers {
		if dir := g.Cgroup.MakePath(name); dirExists(dir) {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// remove deletes the group, whose processes must have ended.
func (g *group) remove() error {
	if g == nil {
		return nil
	}
	return g.Cgroup.Uninstall()
}

// oomKills counts the processes that the kernel killed for memory.
func (g *group) oomKills() int64 {
	if g == nil {
		return 0
	}
	data, _ := os.ReadFile(g.memoryFile("memory.oom_control", "memory.events"))
	n, _ := statField(string(data), "oom_kill")
	return n
}

// usage reads memory in bytes and host threads.
func (g *group) usage() (memory, threads int64, err error) {
	memory, memErr := readInt(g.memoryFile("memory.usage_in_bytes", "memory.current"))
	threads, pidErr := readInt(g.tasksFile("pids.current"))
	return memory, threads, errors.Join(memErr, pidErr)
}

// memoryFile is the path of a file of the memory controller, by its name in
// either version.
func (g *group) memoryFile(v1, v2 string) string {
	if cgroup.IsOnlyV2() {
		return filepath.Join(g.Cgroup.MakePath(""), v2)
	}
	return filepath.Join(g.Cgroup.MakePath("memory"), v1)
}

func (g *group) setMemoryLimit(bytes int64) error {
	return os.WriteFile(g.memoryFile("memory.limit_in_bytes", "memory.max"), []byte(strconv.FormatInt(bytes, 10)), 0)
}

// The fields of memory.stat that are added up, in both versions.
var (
	// ownMemory is the private memory of the group's processes: not the guest's
	// memory, which is a file.
	ownMemory = []string{"rss", "anon"}
	// pageCache is the memory that the host can reclaim.
	pageCache = []string{"active_file", "inactive_file"}
)

// memoryOf adds up fields of memory.stat, in bytes.
func (g *group) memoryOf(fields []string) (sum int64, err error) {
	data, err := os.ReadFile(g.memoryFile("memory.stat", "memory.stat"))
	for _, field := range fields {
		n, _ := statField(string(data), field)
		sum += n
	}
	return sum, err
}

// unreclaimable is the memory in use that no limit can make the host take back.
func (g *group) unreclaimable() (int64, error) {
	used, err := readInt(g.memoryFile("memory.usage_in_bytes", "memory.current"))
	if err != nil {
		return 0, err
	}
	cache, err := g.memoryOf(pageCache)
	return used - cache, err
}

// statField reads one line of a file of names and numbers.
func statField(text, name string) (int64, bool) {
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == name {
			n, err := strconv.ParseInt(fields[1], 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}

func readInt(file string) (int64, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
}

// groupDeath bounds the wait for the last threads of a killed sandbox to leave
// its control group; only another try shows that they have.
const groupDeath = 2 * time.Second

// removeGroup deletes a control group by its path, as far as it exists and is
// empty or becomes so.
func removeGroup(path string) {
	cg, err := cgroup.NewFromPath(path, false)
	if err != nil {
		return
	}
	dirs := []string{cg.MakePath("")}
	if !cgroup.IsOnlyV2() {
		dirs = dirs[:0]
		entries, _ := os.ReadDir("/sys/fs/cgroup")
		for _, entry := range entries {
			if dir := cg.MakePath(entry.Name()); strings.HasSuffix(dir, path) {
				dirs = append(dirs, dir)
			}
		}
	}
	deadline := time.Now().Add(groupDeath)
	for _, dir := range dirs {
		for pause := time.Millisecond; ; pause *= 2 {
			err := unix.Rmdir(dir)
			if err != unix.EBUSY || hasGroups(dir) || time.Now().After(deadline) {
				break
			}
			<-time.After(pause)
		}
	}
}

// hasGroups reports whether a control group has others below it, so that
// waiting does not empty it.
func hasGroups(dir string) bool {
	entries, _ := os.ReadDir(dir)
	return slices.ContainsFunc(entries, os.DirEntry.IsDir)
}

func dirExists(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
