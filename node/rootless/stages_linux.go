package rootless

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/node/rootless/delegated"
)

// envStage says which part of Enter's work a process does.
const envStage = "RUNDLET_STAGE"

// The descriptors of a stage, after the standard streams.
const (
	firstFD  = 3
	secondFD = 4
)

// Stage does the work of a process that Enter has started, and reports whether this is one. A program calls it first: what Enter left
// to the process is taken then, before another process could get it.
func Stage() (code int, is bool) {
	stages := map[string]func() error{stageMake: awaitIDs, stageFill: fill, stageSockets: serveSockets, stageLink: sendLink, stageGateway: gateway}
	name := stageOf(os.Getenv(envStage), os.Args)
	_ = os.Unsetenv(envStage)
	do, is := stages[name]
	if !is {
		Of()
		return 0, false
	}
	if err := do(); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		return 1, true
	}
	return 0, true
}

// stageOf is the stage that both the environment and the command line name: by a variable alone, root could cover mounts of its host.
func stageOf(env string, args []string) string {
	if slices.Contains(args[:min(len(args), 2)], env) {
		return env
	}
	return ""
}

// awaitIDs waits for the mapping of ids, before which the process has no right that it keeps when it executes a program.
func awaitIDs() error {
	_, err := io.Copy(io.Discard, os.NewFile(firstFD, "mapped"))
	if err != nil {
		return err
	}
	//nolint:gosec // The command is this program, by the user that has started it.
	return syscall.Exec("/proc/self/exe", append([]string{stageFill}, os.Args[1:]...), append(os.Environ(), envStage+"="+stageFill))
}

// fill makes the namespaces ready, says so, and becomes a program that does nothing.
func fill() error {
	ready := os.NewFile(secondFD, "ready")
	unix.CloseOnExec(secondFD)
	sleep, err := exec.LookPath("sleep")
	if err == nil {
		err = prepare(os.Args[1])
	}
	if err != nil {
		text := err.Error()
		if errors.Is(err, os.ErrPermission) {
			text += " (" + hintNamespaces() + ")"
		}
		fmt.Fprint(ready, text)
		return err
	}
	if _, err := ready.WriteString("ready"); err != nil {
		return err
	}
	return syscall.Exec(sleep, []string{"sleep", "infinity"}, nil)
}

func prepare(runDir string) error {
	// Mounts of the host go on to appear here, and none of ours there.
	if err := unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("separate mounts: %w", err)
	}
	groups, err := delegated.Of("self")
	if err != nil {
		return err
	}
	if err := delegated.Mount(groups); err != nil {
		return err
	}
	if err := writeResolvers(runDir); err != nil {
		return err
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(lo)
}

// inherited are the descriptors of a process inside: its share of the lock, and its socket to the process outside.
type inherited struct {
	lock, sockets *os.File
	runDir        string
}

// inherit takes what Enter left to this process. No process that this one starts gets it.
func inherit() (inherited, bool) {
	var lock, sockets int
	text := os.Getenv(envInside)
	_ = os.Unsetenv(envInside)
	dir := os.Getenv(envDirectory)
	_ = os.Unsetenv(envDirectory)
	numbers, runDir, ok := strings.Cut(text, ":")
	if n, err := fmt.Sscanf(numbers, "%d,%d", &lock, &sockets); err != nil || n != 2 || !ok || lock < firstFD || sockets < firstFD {
		return inherited{}, false
	}
	if dir != "" {
		_ = os.Chdir(dir) // Who may not is at the root, as in a directory that was deleted.
	}
	unix.CloseOnExec(lock)
	unix.CloseOnExec(sockets)
	return inherited{os.NewFile(uintptr(lock), "lock"), os.NewFile(uintptr(sockets), "sockets"), runDir}, true
}
