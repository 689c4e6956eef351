package rootless

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/internal/flock"
	"github.com/rundlet/rundlet/node/rootless/delegated"
	"github.com/rundlet/rundlet/vm"
)

// Config says how a command enters the namespaces of a node.
type Config struct {
	// RunDir is the run directory of the nodes of a user; it names the namespaces. It exists.
	RunDir string
	// Args are the command line, with the name of the program.
	Args []string
	// Env is the environment of the command inside.
	Env []string
}

const (
	// envInside has the descriptors that a process inside got, see inherited.
	envInside = "RUNDLET_INSIDE"
	// envDirectory is the working directory. The kernel moves a process that enters a mount namespace to the root.
	envDirectory = "RUNDLET_DIRECTORY"
	// envScope is set for a process that the user's service manager has put into a group already.
	envScope = "RUNDLET_SCOPE"
	// lockPatience is how long another command may take to make the namespaces.
	lockPatience = 30 * time.Second
)

// Enter replaces this process by the same command inside the namespaces of the user's node. It returns only with an error, and then
// leaves nothing that it has started, but the namespaces, which the next command uses.
func Enter(ctx context.Context, c Config) error {
	groups, err := delegated.Of("self")
	if err != nil {
		return err
	}
	groups = delegated.Whole(groups)
	if err := delegated.Check(groups); err != nil {
		return enterScope(c, err)
	}
	nsenter, err := exec.LookPath("nsenter")
	if err != nil {
		return &vm.Error{Op: "enter namespaces", Kind: vm.ErrUnsupported, Err: err, Hint: "install util-linux"}
	}
	patient, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	entering, err := flock.Await(patient, enteringPath(c.RunDir)) // Until it is replaced, which closes the file.
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("another command has not entered the namespaces of this user in %v", lockPatience)
	}
	if err != nil {
		return fmt.Errorf("lock the namespaces of this user: %w", err)
	}
	defer entering.Close()
	lock, err := flock.TryShared(insidePath(c.RunDir))
	if err != nil {
		return fmt.Errorf("lock the namespaces of this user: %w", err)
	}
	defer lock.Close()
	k, err := openKeeper(ctx, c.RunDir, nsenter, groups)
	if err != nil {
		return err
	}
	theirs, err := delegated.Of(strconv.Itoa(k.Keeper.PID))
	if err != nil {
		return err
	}
	if err := delegated.Enter(theirs, os.Getpid()); err != nil {
		return fmt.Errorf("enter the control group of the node: %w", err)
	}
	// What this process starts is in that group, too.
	if err := k.serveGateway(ctx, nsenter); err != nil {
		return err
	}
	sockets, err := startSockets()
	if err != nil {
		return err
	}
	defer sockets.Close()
	for _, f := range []*os.File{lock, sockets} {
		if _, err := unix.FcntlInt(f.Fd(), unix.F_SETFD, 0); err != nil {
			return err
		}
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	args := append([]string{"nsenter", "--target", strconv.Itoa(k.Keeper.PID), "--user", "--mount", "--net", "--cgroup", "--", self}, c.Args[1:]...)
	env := append(c.Env, fmt.Sprintf("%s=%d,%d:%s", envInside, lock.Fd(), sockets.Fd(), c.RunDir))
	// A deleted directory has no name, and one of another user may not be read: the root has to do.
	if dir, err := os.Getwd(); err == nil {
		env = append(env, envDirectory+"="+dir)
	}
	if err := context.Cause(ctx); err != nil {
		return err // A signal, which what comes next would not see.
	}
	return fmt.Errorf("execute nsenter: %w", syscall.Exec(nsenter, args, env))
}

// enterScope asks the user's service manager for a control group that this user may divide, and replaces this process by one in it.
func enterScope(c Config, why error) error {
	refused := &vm.Error{Op: "get a control group", Kind: vm.ErrUnsupported, Err: why,
		Hint: "run it with sudo, or as a service of this user with Delegate=yes on a host with control groups version 2"}
	run, err := exec.LookPath("systemd-run")
	if err != nil || os.Getenv(envScope) != "" {
		return refused
	}
	if _, err := os.Stat(filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), "systemd", "private")); err != nil {
		return refused // No service manager of this user runs.
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	args := append([]string{"systemd-run", "--user", "--scope", "--quiet", "--collect", "--property=Delegate=yes", "--", self}, c.Args[1:]...)
	return fmt.Errorf("execute systemd-run: %w", syscall.Exec(run, args, append(c.Env, envScope+"=1")))
}

// enteringPath is the lock of a command that makes the namespaces, enters them or ends them; insidePath is one that all commands inside
// share.
func enteringPath(runDir string) string { return filepath.Join(runDir, "entering.lock") }
func insidePath(runDir string) string   { return filepath.Join(runDir, "inside.lock") }

var errGone = errors.New("it has ended")
