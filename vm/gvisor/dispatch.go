//go:build linux

package gvisor

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/runsc/cli/maincli"

	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/gvisor/cgroups"
)

// dispatched says that this program has asked whether it is a part of a sandbox. New
// fails before: what it starts is this program again, which would start more.
var dispatched atomic.Bool

// Dispatch turns the process into a part of a sandbox if it was started as
// one, and does not return then. Otherwise it reports false and does nothing.
// It decides by argv[0] only: the sandbox process starts with an empty
// environment, and an environment can be set by anybody.
func Dispatch() bool {
	if !strings.HasPrefix(filepath.Base(os.Args[0]), "runsc") && os.Args[0] != "/proc/self/exe" {
		dispatched.Store(true)
		return false
	}
	if command, bundle := internalCommand(os.Args); bundle != "" {
		tuneCollector()
		if err := prepareProcess(command, bundle); err != nil {
			// Standard error is /dev/null here; the creator reads this file.
			_ = os.WriteFile(filepath.Join(bundle, launchErrorFile), []byte(err.Error()), 0o600)
			os.Exit(128)
		}
	}
	shortenTimeWait()
	relativeTime()
	likeLinux()
	installAfterLoad()
	runtime.UnlockOSThread() // Locked by init, for the program's own sake.
	maincli.Main()
	return true
}

const (
	// startHeap is how much a sandbox process may allocate before it collects
	// garbage while it starts.
	startHeap = 64 << 20
	// startTime is when the start is over, restore included, on a busy machine too.
	startTime = 5 * time.Second
)

// tuneCollector makes a sandbox process collect no garbage while it starts or
// restores, which was a sixth of the processor time of a create, and then half
// the usual garbage, which saves a fifth of an idle sandbox's memory.
func tuneCollector() {
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(startHeap)
	time.AfterFunc(startTime, func() {
		debug.SetMemoryLimit(math.MaxInt64)
		debug.SetGCPercent(50)
		debug.FreeOSMemory()
		returnGarbage()
	})
}

const (
	// idleGarbage is how much a sandbox process keeps for its next objects.
	idleGarbage = 48 * mib
	// garbageAge is how long what a save left is kept for a save that follows.
	garbageAge = 2 * time.Second
)

// returnGarbage gives memory back to the host some time after a collection of
// garbage that found much of it unused. A save leaves several times what the
// sandbox needs, and Go would take minutes to return it.
func returnGarbage() {
	timer := time.AfterFunc(garbageAge, func() {
		if heapInUse()-liveHeap() > idleGarbage {
			debug.FreeOSMemory()
		}
	})
	// Nothing refers to it, so its cleanup runs with the next collection of garbage.
	// It is too large to share memory with what lives longer.
	type sentinel [64]byte
	var arm func()
	arm = func() {
		runtime.AddCleanup(new(sentinel), func(int) {
			timer.Reset(garbageAge)
			arm()
		}, 0)
	}
	arm()
}

// launch is what the creator of a sandbox passes to its processes, by a file in
// the bundle, beyond gVisor's own flags. The processes set themselves up with
// it before gVisor's code runs. So the creator need not move between control
// groups or exchange its standard streams, which are process-wide, and machines
// can be created in parallel.
type launch struct {
	Console     string `json:"console"`
	CPUs        int    `json:"cpus,omitempty"`
	MemoryBytes int64  `json:"memory_bytes,omitempty"`
	// Join are the files of cgroups.Join.
	Join []string `json:"join,omitempty"`
	// StartHeap is the heap that loading a snapshot may allocate before garbage is
	// collected, if more than usual.
	StartHeap int64 `json:"start_heap,omitempty"`
	// Tasks is how many processes and threads the sandbox may have on the host, and
	// TasksFile says how many it has.
	Tasks     int64  `json:"tasks,omitempty"`
	TasksFile string `json:"tasks_file,omitempty"`
	// SetUID are files that are made set-uid before the guest runs.
	SetUID []string `json:"set_uid,omitempty"`
	// Mounts are shown below Rootfs by the file server: see oci.Below.
	Rootfs string     `json:"rootfs,omitempty"`
	Mounts []vm.Mount `json:"mounts,omitempty"`
}

const (
	launchFile      = "launch.json"
	launchErrorFile = "launch.err"
)

// internalCommand returns the internal gVisor command and its bundle if args
// are those of a sandbox process at its first start. It reports nothing for a
// second start (gVisor re-executes itself in some builds to drop capabilities,
// in an empty root): those processes are set up already.
func internalCommand(args []string) (command, bundle string) {
	for i := 1; i < len(args); i++ {
		name, value, inline := strings.Cut(strings.TrimLeft(args[i], "-"), "=")
		switch {
		case command == "" && (args[i] == "boot" || args[i] == "gofer"):
			command = args[i]
		case command == "" || !strings.HasPrefix(args[i], "-"):
		case name == "apply-caps" && value == "false":
			return "", ""
		case name == "bundle" && inline:
			bundle = value
		case name == "bundle" && i+1 < len(args):
			bundle = args[i+1]
		}
	}
	return command, bundle
}

// prepareProcess joins the machine's control groups, takes the machine's
// console as the guest's standard streams and sets what the guest sees of
// processors and memory.
func prepareProcess(command, bundle string) error {
	data, err := os.ReadFile(filepath.Join(bundle, launchFile))
	if os.IsNotExist(err) {
		return nil // Not one of ours: runsc on the command line.
	}
	if err != nil {
		return err
	}
	var l launch
	if err := json.Unmarshal(data, &l); err != nil {
		return fmt.Errorf("read %s: %w", launchFile, err)
	}
	if err := closeForeign(os.Args); err != nil {
		return fmt.Errorf("close inherited files: %w", err)
	}
	if err := cgroups.Join(l.Join); err != nil {
		return err
	}
	if err := dropScore(); err != nil {
		return fmt.Errorf("set oom score: %w", err)
	}
	if command != "boot" {
		return mountBelow(l.Rootfs, l.Mounts)
	}
	if err := takeConsole(l.Console, stdioFDs(os.Args)); err != nil {
		return fmt.Errorf("open console: %w", err)
	}
	if l.StartHeap > startHeap {
		debug.SetMemoryLimit(l.StartHeap)
	}
	os.Args = withLimits(os.Args, l)
	hooks := guestHooks{executed: executed}
	if len(l.SetUID) > 0 {
		hooks.enter = setUIDOnce(l.SetUID)
	}
	if l.MemoryBytes > 0 {
		g := newMemoryGuard(newGuestBudget(l.MemoryBytes))
		if err := g.countTasks(l.TasksFile, l.Tasks); err != nil {
			return fmt.Errorf("open the count of tasks: %w", err)
		}
		guardMemory(g)
		hooks.left = g.passed
	}
	return installHooks(hooks)
}

// closeForeign closes the descriptors that were inherited by accident. gVisor
// opens sockets without the close-on-exec flag, so that a process started
// meanwhile for another machine gets them; a sandbox must never hold a socket
// of another one. What was meant for this process has the numbers up to the
// highest in its arguments, and what it opened itself has the flag.
func closeForeign(args []string) error {
	last := 2
	for _, arg := range args {
		name, value, ok := strings.Cut(arg, "=")
		if !ok || !strings.HasSuffix(name, "-fd") && !strings.HasSuffix(name, "-fds") {
			continue
		}
		if fd, err := strconv.Atoi(value); err == nil {
			last = max(last, fd)
		}
	}
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, entry := range entries {
		fd, err := strconv.Atoi(entry.Name())
		if err != nil || fd <= last {
			continue
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			_ = unix.Close(fd)
		}
	}
	return nil
}

// stdioFDs returns the descriptors that boot uses as the guest's streams.
func stdioFDs(args []string) (fds []int) {
	for _, arg := range args {
		if value, ok := strings.CutPrefix(arg, "--stdio-fds="); ok {
			if fd, err := strconv.Atoi(value); err == nil {
				fds = append(fds, fd)
			}
		}
	}
	return fds
}

func takeConsole(path string, fds []int) error {
	if len(fds) != 3 {
		return fmt.Errorf("%d standard streams", len(fds))
	}
	null, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(null)
	// For reading too: a pipe whose only reader was a daemon that died would
	// kill the guest with SIGPIPE.
	console, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(console)
	for i, from := range []int{null, console, console} {
		if err := unix.Dup3(from, fds[i], 0); err != nil {
			return err
		}
	}
	return nil
}

// withLimits inserts boot's flags before its only argument, the machine's key.
// The last value of a flag counts.
func withLimits(args []string, l launch) []string {
	last := len(args) - 1
	out := append([]string{}, args[:last]...)
	if l.CPUs > 0 {
		out = append(out, "--cpu-num="+strconv.Itoa(l.CPUs))
	}
	if l.MemoryBytes > 0 {
		memory := strconv.FormatInt(l.MemoryBytes, 10)
		// A tmpfs holds half of this, as it holds half of a machine's memory.
		out = append(out, "--total-memory="+memory, "--total-host-memory="+memory)
	}
	return append(out, args[last])
}
