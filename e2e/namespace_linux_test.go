package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/layout"
)

func executable(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	if _, err := exec.LookPath(path); err != nil {
		return "", fmt.Errorf("%s: build the server first (make build): %w", binEnv, err)
	}
	return path, nil
}

// enterNamespaces runs the binary again, with the same flags, as init of fresh
// mount, network, PID, IPC and UTS namespaces, and returns its exit code. If
// this process dies, so does everything in there. Control groups outlive that: they are removed if it is interrupted.
func enterNamespaces(bin, dir string) (int, error) {
	runtime.LockOSThread() // Pdeathsig follows the thread that forked.
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer stop()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(cleanEnv(), stageEnv+"="+stageInit, binEnv+"="+bin, dirEnv+"="+dir)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
		Pdeathsig:  syscall.SIGKILL,
	}
	err := cmd.Run()
	if ctx.Err() != nil {
		for _, state := range glob(filepath.Join(dir, "*", "state")) {
			err = errors.Join(err, clearGroups(layout.Layout{StateDir: state}.Instance()))
		}
		return 1, errors.Join(errors.New("interrupted"), err)
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return max(exit.ExitCode(), 1), nil
	}
	return 0, err
}

// cleanEnv is the environment without what would steer an SDK or the server.
func cleanEnv() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "E2B_") || strings.HasPrefix(v, "RUNDLET_")
	})
}

// runInit prepares the namespaces, starts the tests in them and buries every
// orphan, so that a dead process looks dead to the server. Control groups are not of
// the namespaces: what tests left that had no time to clean up goes at the end.
func runInit() (int, error) {
	if err := prepareMounts(); err != nil {
		return 1, err
	}
	if err := loopbackUp(); err != nil {
		return 1, fmt.Errorf("loopback up: %w", err)
	}
	if err := os.Setenv(stageEnv, stageTests); err != nil {
		return 1, err
	}
	child, err := os.StartProcess("/proc/self/exe", os.Args, &os.ProcAttr{Files: []*os.File{nil, os.Stdout, os.Stderr}})
	if err != nil {
		return 1, fmt.Errorf("start the tests: %w", err)
	}
	status, err := buryUntil(child.Pid)
	if err != nil {
		return 1, fmt.Errorf("wait for the tests: %w", err)
	}
	go buryUntil(0)
	if err := clearAll(); err != nil {
		return 1, err
	}
	if !status.Exited() {
		return 1, fmt.Errorf("the tests ended by %v", status.Signal())
	}
	return status.ExitStatus(), nil
}

// buryUntil waits for every child that ends, until this one has or none is left.
func buryUntil(last int) (status unix.WaitStatus, err error) {
	for {
		pid, err := unix.Wait4(-1, &status, 0, nil)
		if err == nil && pid == last || err != nil && err != unix.EINTR {
			return status, err
		}
	}
}

// prepareMounts cuts the mount tree off the host's and gives it a /proc of the
// new PID namespace and an empty /run, where servers like to leave things.
func prepareMounts() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	return addOrdinary()
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var req struct {
		name  [unix.IFNAMSIZ]byte
		flags uint16
		_     [22]byte
	}
	copy(req.name[:], "lo")
	req.flags = unix.IFF_UP
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCSIFFLAGS, uintptr(unsafe.Pointer(&req))); errno != 0 {
		return errno
	}
	return nil
}
