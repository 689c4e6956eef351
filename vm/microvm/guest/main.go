//go:build linux

// Package guest is the first process of a microVM: it loads the kernel's modules, mounts the root file system, does what the host asks for by
// the link, and runs the machine's first program in separate namespaces, where that is process 1. Only cmd/rundlet-init imports it, and it
// imports vm/microvm/link.
package guest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/vm/microvm/link"
)

// enterArg is the first argument of the process that becomes the machine's first program.
const enterArg = "enter"

// Main runs the guest and never returns, unless it is not process 1.
func Main(args []string) error {
	if len(args) > 1 && args[1] == enterArg {
		return enter(args[2:])
	}
	if os.Getpid() != 1 {
		return errors.New("it is the first process of a microVM, and nothing else")
	}
	err := run()
	fmt.Fprintln(os.Stderr, "rundlet-init:", err)
	halt()
	return err
}

// halt ends the machine: a restart ends its monitor, which allows none.
func halt() {
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
	select {}
}

func run() error {
	if err := mountSystem(); err != nil {
		return err
	}
	commandLine, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return err
	}
	if hasWord(string(commandLine), link.ProbeWord) {
		fmt.Println(link.ProbeAnswer)
		halt()
	}
	if err := loadModules(); err != nil {
		return err
	}
	// The kernel kills any other process for memory.
	if err := os.WriteFile(oomScore, []byte("-1000"), 0); err != nil {
		return err
	}
	if hasWord(string(commandLine), link.VsockWord) {
		listener, err := listenVsock()
		if err != nil {
			return err
		}
		g := &guest{console: serialConsole}
		return g.serveAll(listener)
	}
	port, err := openPort(link.Port)
	if err != nil {
		return err
	}
	defer port.Close()
	g := &guest{out: descriptor(port.Fd()), console: func() (*os.File, error) { return openPort(consolePort) }}
	return g.serve(&portReader{fd: int(port.Fd())})
}

const oomScore = "/proc/self/oom_score_adj"

// guest is the state of this machine. Calls come one at a time.
type guest struct {
	mu  sync.Mutex // of out
	out io.Writer  // nil without a connection

	// console opens what the first program writes to.
	console func() (*os.File, error)

	last    link.Answer // to the last nonce
	started bool
	group   string   // the control group of the programs
	groups  string   // the directory of all groups, in which group is
	others  []string // that were frozen with it
}

func mountSystem() error {
	for _, m := range []struct {
		kind, target string
		flags        uintptr
		data         string
	}{
		{"devtmpfs", "/dev", unix.MS_NOSUID, "mode=0755"},
		{"proc", "/proc", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
		{"sysfs", "/sys", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
		{"cgroup2", "/sys/fs/cgroup", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
	} {
		if err := os.MkdirAll(m.target, 0o755); err != nil && m.kind != "cgroup2" {
			return err
		}
		if err := unix.Mount(m.kind, m.target, m.kind, m.flags, m.data); err != nil && !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	return nil
}

// modulesList has the paths of the modules, in the order in which they are loaded.
const modulesList = "/modules.list"

func loadModules() error {
	list, err := os.ReadFile(modulesList)
	if err != nil {
		return err
	}
	for path := range strings.FieldsSeq(string(list)) {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		err = unix.FinitModule(int(f.Fd()), "", 0)
		f.Close()
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("load %s: %w", path, err)
		}
	}
	return nil
}

// deviceTime is how long the kernel may take to show a device, and devicePause the pause between looks.
const (
	deviceTime  = 20 * time.Second
	devicePause = 5 * time.Millisecond
)

// openPort opens the serial port with a name.
func openPort(name string) (*os.File, error) {
	for deadline := time.Now().Add(deviceTime); ; <-time.After(devicePause) {
		names, _ := filepath.Glob("/sys/class/virtio-ports/*/name")
		for _, file := range names {
			if text, err := os.ReadFile(file); err == nil && strings.TrimSpace(string(text)) == name {
				// Not by the runtime's poller: the device is always ready to read while the host is not there.
				fd, err := unix.Open("/dev/"+filepath.Base(filepath.Dir(file)), unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
				if err == nil {
					return os.NewFile(uintptr(fd), name), nil
				}
			}
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("serial port %s not found", name)
		}
	}
}

// start runs the machine's first program.
func (g *guest) start(b link.Boot) error {
	if err := mountRoot(b.ReadOnly); err != nil {
		return err
	}
	setUID(b.SetUID)
	if err := g.makeGroup(b.MaxProcesses); err != nil {
		return err
	}
	console, err := g.openConsole()
	if err != nil {
		return err
	}
	dir, err := os.Open(g.group)
	if err != nil {
		return err
	}
	defer dir.Close()
	cmd := exec.Command("/proc/self/exe", append([]string{enterArg, b.Cwd}, b.Args...)...) //nolint:noctx // It runs as long as the machine.
	cmd.Env, cmd.Stdout, cmd.Stderr = b.Env, console, console
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWIPC,
		Setsid:      true,
		UseCgroupFD: true, CgroupFD: int(dir.Fd()),
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	console.Close()
	go func() {
		_ = cmd.Wait()
		g.ended(cmd.ProcessState.Sys().(syscall.WaitStatus))
	}()
	return nil
}

// killedForMemory reports whether the kernel has killed a process since it had no memory.
func killedForMemory() bool {
	data, _ := os.ReadFile("/proc/vmstat")
	for line := range strings.Lines(string(data)) {
		if name, value, _ := strings.Cut(strings.TrimSpace(line), " "); name == "oom_kill" {
			return value != "0"
		}
	}
	return false
}

// ended says how the first program ended, as long as it takes until the host has ended the machine.
func (g *guest) ended(status syscall.WaitStatus) {
	text := fmt.Sprintf("exited: %d", status.ExitStatus())
	switch {
	case status.Signaled() && status.Signal() == unix.SIGKILL && killedForMemory():
		text = "oom"
	case status.Signaled():
		text = "signal: " + status.Signal().String()
	}
	for range 100 {
		g.send(link.Answer{Exit: text})
		<-time.After(20 * time.Millisecond)
	}
	halt()
}
