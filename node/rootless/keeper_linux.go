package rootless

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rundlet/rundlet/node/rootless/delegated"
	"github.com/rundlet/rundlet/vm"
)

// process is one that may have ended, and whose number another may have by now.
type process struct {
	PID int `json:"pid"`
	// Started is when it was started, in ticks since the boot of the host.
	Started string `json:"started"`
}

func processOf(pid int) (process, error) {
	started, err := startTime(pid)
	return process{pid, started}, err
}

func (p process) lives() bool {
	started, err := startTime(p.PID)
	return p.PID > 0 && err == nil && started == p.Started
}

// exiting is the flag of a process that the kernel ends (PF_EXITING). It is set before the process's files are closed.
const exiting = 4

// startTime is the 22nd field of /proc/PID/stat; the second may contain anything in parentheses. A zombie has ended, and so has a process
// that the kernel is about to make one.
func startTime(pid int) (string, error) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return "", err
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return "", errGone
	}
	if flags, err := strconv.ParseUint(fields[6], 10, 64); err == nil && flags&exiting != 0 {
		return "", errGone
	}
	return fields[19], nil
}

// keeper is the record of what keeps the namespaces of a user's nodes.
type keeper struct {
	// Keeper is the process that is in them and does nothing.
	Keeper process `json:"keeper"`
	// Gateway is the process outside that passes on packets. It may have ended.
	Gateway process `json:"gateway"`
	// Namespaces are those that it keeps.
	Namespaces spaces `json:"namespaces"`

	path string
}

func keeperPath(runDir string) string { return filepath.Join(runDir, "namespaces.json") }

// loadKeeper returns the record of namespaces that exist.
func loadKeeper(runDir string) (*keeper, bool) {
	k, ok := readKeeper(runDir)
	return k, ok && k.Keeper.lives()
}

// readKeeper returns a record of namespaces that may have ended.
func readKeeper(runDir string) (*keeper, bool) {
	k := &keeper{path: keeperPath(runDir)}
	text, err := os.ReadFile(k.path)
	return k, err == nil && json.Unmarshal(text, k) == nil
}

func (k *keeper) save() error {
	text, err := json.Marshal(k)
	if err != nil {
		return err
	}
	if err := os.WriteFile(k.path+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(k.path+".new", k.path) // The run directory does not survive a reboot; what is in it need not be on a disk.
}

// openKeeper finds the namespaces of an earlier command, or makes them. The caller has the lock.
func openKeeper(ctx context.Context, runDir, nsenter string, groups []delegated.Group) (*keeper, error) {
	k, ok := readKeeper(runDir)
	if ok && k.Keeper.lives() {
		return k, nil
	}
	var pid int
	var err error
	if ok {
		if pid, err = k.keepAgain(ctx, nsenter); err != nil {
			return nil, fmt.Errorf("the process that kept the namespaces was ended: %w", err)
		}
	}
	if pid == 0 {
		if pid, err = makeNamespaces(ctx, runDir, groups); err != nil {
			return nil, err
		}
	}
	k = &keeper{path: k.path}
	if k.Keeper, err = processOf(pid); err == nil {
		k.Namespaces, err = spacesOf(pid)
	}
	if err == nil {
		err = k.save()
	}
	if err != nil {
		_ = syscall.Kill(pid, syscall.SIGKILL)
		return nil, err
	}
	return k, nil
}

const (
	stageMake = "rundlet-namespaces"
	stageFill = "rundlet-namespaces-root"
	// makePatience is how long the namespaces may take on a busy host.
	makePatience = 30 * time.Second
)

// makeNamespaces starts the process that keeps the namespaces and waits until they are ready.
func makeNamespaces(ctx context.Context, runDir string, groups []delegated.Group) (pid int, err error) {
	var maps []func(int) *exec.Cmd
	for _, m := range idMaps() {
		command, err := m.command()
		if err != nil {
			return 0, err
		}
		maps = append(maps, command)
	}
	if err := delegated.MoveUp(groups); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, makePatience)
	defer cancel()
	// The process waits for the end of mapped, and closes ready when it is done, or says what went wrong.
	mapped, tellMapped, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer tellMapped.Close()
	hearReady, ready, err := os.Pipe()
	if err != nil {
		return 0, errors.Join(err, mapped.Close())
	}
	defer hearReady.Close()
	cmd := exec.Command("/proc/self/exe") //nolint:noctx // It outlives this process.
	cmd.Args, cmd.Env = []string{stageMake, runDir}, append(os.Environ(), envStage+"="+stageMake)
	cmd.Dir = "/"
	cmd.ExtraFiles = []*os.File{mapped, ready}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid:     true,
		Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWCGROUP,
	}
	err = cmd.Start()
	mapped.Close()
	ready.Close()
	if err != nil {
		return 0, &vm.Error{Op: "make namespaces", Kind: vm.ErrUnsupported, Err: err, Hint: hintNamespaces()}
	}
	defer func() {
		if err != nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}()
	for _, m := range maps {
		if out, err := m(cmd.Process.Pid).CombinedOutput(); err != nil {
			return 0, fmt.Errorf("map ids: %w: %s", err, strings.TrimSpace(string(out)))
		}
	}
	if err := delegated.Enter(groups, cmd.Process.Pid); err != nil {
		return 0, err
	}
	tellMapped.Close()
	stop := context.AfterFunc(ctx, func() { _ = hearReady.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	said, err := io.ReadAll(io.LimitReader(hearReady, 4096))
	switch {
	case err != nil:
		return 0, fmt.Errorf("make namespaces: %w", errors.Join(err, ctx.Err()))
	case string(said) != "ready":
		return 0, fmt.Errorf("make namespaces: %s", said)
	}
	pid = cmd.Process.Pid // Release forgets it.
	return pid, cmd.Process.Release()
}

// hintNamespaces says why an ordinary user may not make a user namespace.
func hintNamespaces() string {
	for file, hint := range map[string]string{
		"/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "as root: sysctl kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile for this program with the rule userns",
		"/proc/sys/kernel/unprivileged_userns_clone":             "as root: sysctl kernel.unprivileged_userns_clone=1",
	} {
		text, err := os.ReadFile(file)
		off := map[bool]string{true: "1", false: "0"}[strings.Contains(file, "restrict")]
		if err == nil && strings.TrimSpace(string(text)) == off {
			return hint
		}
	}
	return "as root: sysctl user.max_user_namespaces=15000, or run it with sudo"
}
