//go:build linux

// Package cgroups makes, reads and removes the control group of a machine, of version
// 1 or 2: its limits of processor time, memory and tasks, its weight, and what it uses.
// It may import vm and the sandbox library's control groups.
package cgroups

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/runsc/cgroup"

	"github.com/rundlet/rundlet/vm"
)

// Group is the control group of one machine. A nil group has no limits.
type Group struct {
	cgroup.CgroupJSON
	// cloneInto says that its first processes are born in it.
	cloneInto bool
	// found is its path if an earlier process made it.
	found string
}

// New makes the control group at a path below the root of each controller, with
// limits, and a weight unless it is 0.
func New(path string, limits *specs.LinuxResources, weight int) (*Group, error) {
	cg, err := fromPath(path)
	if err != nil {
		return nil, fmt.Errorf("control group: %w", err)
	}
	g := &Group{CgroupJSON: cgroup.CgroupJSON{Cgroup: cg}}
	if onlyV2() {
		err = install(path, limits)
		g.cloneInto = err == nil && canCloneInto(cg)
	} else {
		err = cg.Install(limits)
	}
	if err != nil {
		return nil, fmt.Errorf("control group %s: %w", path, err)
	}
	if limits.Memory != nil && limits.Memory.Limit != nil {
		if err := g.SetMemoryAndSwap(*limits.Memory.Limit); err != nil {
			return nil, errors.Join(fmt.Errorf("control group %s: %w", path, err), g.Remove())
		}
	}
	if weight > 0 {
		if err := g.SetWeight(weight); err != nil {
			return nil, errors.Join(fmt.Errorf("control group %s: %w", path, err), g.Remove())
		}
	}
	return g, nil
}

// ProcsFiles are the files that a process writes to, to join.
func (g *Group) ProcsFiles() (files []string) {
	if g == nil {
		return nil
	}
	for _, dir := range g.dirs() {
		files = append(files, filepath.Join(dir, "cgroup.procs"))
	}
	return files
}

// Processes returns the processes of the group, which a nil group does not know.
func (g *Group) Processes() (pids []int, err error) {
	files := g.ProcsFiles()
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

func (g *Group) dirs() (dirs []string) {
	if onlyV2() {
		return []string{g.Cgroup.MakePath("")}
	}
	for _, name := range v1Controllers {
		dir := g.Cgroup.MakePath(name)
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// OOMKills counts the processes that the kernel killed for memory.
func (g *Group) OOMKills() int64 {
	if g == nil {
		return 0
	}
	data, _ := os.ReadFile(g.MemoryFile("memory.oom_control", "memory.events"))
	n, _ := StatField(string(data), "oom_kill")
	return n
}

// CPUTime reads the processor time of the group's processes since it was made.
func (g *Group) CPUTime() (time.Duration, error) {
	if onlyV2() {
		nanoseconds, err := g.Cgroup.CPUUsage()
		return time.Duration(nanoseconds), err
	}
	nanoseconds, err := ReadInt(filepath.Join(g.Cgroup.MakePath("cpuacct"), "cpuacct.usage"))
	return time.Duration(nanoseconds), err
}

// Usage reads memory in bytes and host threads.
func (g *Group) Usage() (memory, threads int64, err error) {
	memory, memErr := ReadInt(g.MemoryFile("memory.usage_in_bytes", "memory.current"))
	threads, pidErr := ReadInt(g.TasksFile("pids.current"))
	return memory, threads, errors.Join(memErr, pidErr)
}

// MemoryFile is the path of a file of the memory controller, by its name in
// either version.
func (g *Group) MemoryFile(v1, v2 string) string {
	if onlyV2() {
		return filepath.Join(g.Cgroup.MakePath(""), v2)
	}
	return filepath.Join(g.Cgroup.MakePath("memory"), v1)
}

// sharesOfWeight is how many shares of version 1 are a weight of 1: its default is
// 1024 where that of version 2 is 100.
const sharesOfWeight = 1024.0 / vm.DefaultWeight

// SetWeight divides the processors; see vm.Weigher.
func (g *Group) SetWeight(weight int) error {
	file, value := g.weightFile(), weight
	if !onlyV2() {
		value = int(math.Round(float64(weight) * sharesOfWeight))
	}
	return os.WriteFile(file, []byte(strconv.Itoa(value)), 0)
}

// Weight reads what SetWeight wrote.
func (g *Group) Weight() (int, error) {
	value, err := ReadInt(g.weightFile())
	if !onlyV2() {
		value = int64(math.Round(float64(value) / sharesOfWeight))
	}
	return int(value), err
}

func (g *Group) weightFile() string {
	if onlyV2() {
		return filepath.Join(g.Cgroup.MakePath(""), "cpu.weight")
	}
	return filepath.Join(g.Cgroup.MakePath("cpu"), "cpu.shares")
}

// SetMemoryLimit changes the limit of memory, in bytes, and none of swap.
func (g *Group) SetMemoryLimit(bytes int64) error {
	return os.WriteFile(g.MemoryFile("memory.limit_in_bytes", "memory.max"), []byte(strconv.FormatInt(bytes, 10)), 0)
}

// The fields of memory.stat that are added up, in both versions.
var (
	// OwnMemory is the private memory of the group's processes: not the guest's
	// memory, which is a file.
	OwnMemory = []string{"rss", "anon"}
	// pageCache is the memory that the host can reclaim.
	pageCache = []string{"active_file", "inactive_file"}
)

// MemoryOf adds up fields of memory.stat, in bytes.
func (g *Group) MemoryOf(fields []string) (sum int64, err error) {
	data, err := os.ReadFile(g.MemoryFile("memory.stat", "memory.stat"))
	for _, field := range fields {
		n, _ := StatField(string(data), field)
		sum += n
	}
	return sum, err
}

// Unreclaimable is the memory in use that no limit can make the host take back. Where a limit
// bounds memory and swap together, it is both.
func (g *Group) Unreclaimable() (int64, error) {
	used, err := ReadInt(g.MemoryFile("memory.memsw.usage_in_bytes", "memory.current"))
	if errors.Is(err, fs.ErrNotExist) {
		used, err = ReadInt(g.MemoryFile("memory.usage_in_bytes", "memory.current"))
	}
	if err != nil {
		return 0, err
	}
	cache, err := g.MemoryOf(pageCache)
	return used - cache, err
}

// UnreclaimableBelow is Unreclaimable of the group with all groups below it.
func (g *Group) UnreclaimableBelow() (int64, error) {
	used, err := ReadInt(g.MemoryFile("memory.usage_in_bytes", "memory.current"))
	if err != nil {
		return 0, err
	}
	fields := pageCache
	if !onlyV2() {
		fields = []string{"total_active_file", "total_inactive_file"}
	}
	cache, err := g.MemoryOf(fields)
	return used - cache, err
}

// TasksFile is the path of a file of the controller of tasks.
func (g *Group) TasksFile(name string) string {
	if onlyV2() {
		return filepath.Join(g.Cgroup.MakePath(""), name)
	}
	return filepath.Join(g.Cgroup.MakePath("pids"), name)
}

// StatField reads one line of a file of names and numbers.
func StatField(text, name string) (int64, bool) {
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == name {
			n, err := strconv.ParseInt(fields[1], 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}

// ReadInt reads a file that holds one number. The daemon reads several of each sandbox
// every ten seconds: package os would make nine system calls where three do.
func ReadInt(file string) (int64, error) {
	fd, err := unix.Open(file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, &fs.PathError{Op: "open", Path: file, Err: err}
	}
	defer unix.Close(fd)
	var data [32]byte // More than the digits of any 64-bit number.
	n, err := unix.Read(fd, data[:])
	if err != nil {
		return 0, &fs.PathError{Op: "read", Path: file, Err: err}
	}
	return strconv.ParseInt(strings.TrimSpace(string(data[:n])), 10, 64)
}

// Open returns the control group that an earlier process made at a path.
func Open(path string) (*Group, error) {
	cg, err := fromPath(path)
	if err != nil {
		return nil, fmt.Errorf("control group: %w", err)
	}
	return &Group{CgroupJSON: cgroup.CgroupJSON{Cgroup: cg}, found: path}, nil
}
