package rootless

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/internal/retry"
	"github.com/rundlet/rundlet/node/rootless/delegated"
)

// spaces are namespaces, by the names that the kernel gives them. One that has ended may leave its name to another.
type spaces struct {
	User    string `json:"user"`
	Mount   string `json:"mount"`
	Network string `json:"network"`
	Group   string `json:"group"`
}

func spacesOf(pid int) (s spaces, err error) {
	for name, to := range map[string]*string{"user": &s.User, "mnt": &s.Mount, "net": &s.Network, "cgroup": &s.Group} {
		if *to, err = os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "ns", name)); err != nil {
			return spaces{}, err
		}
	}
	return s, nil
}

// keeps reports whether a process is in the user namespace that this keeper keeps, and not in one of an earlier keeper.
func (k *keeper) keeps(pid int) bool {
	own, err1 := spacesOf(pid)
	theirs, err2 := spacesOf(k.Keeper.PID)
	return err1 == nil && err2 == nil && own.User == theirs.User
}

// againPatience is how long a process may take to enter namespaces, or to end.
const againPatience = 5 * time.Second

var againPauses = retry.Pauses{First: time.Millisecond, Most: 100 * time.Millisecond}

// keepAgain keeps the namespaces of a keeper that was killed, by another process, if a command is in them. If none is, it ends the
// sandboxes that are left, and the pid is 0.
func (k *keeper) keepAgain(ctx context.Context, nsenter string) (pid int, err error) {
	if k.Namespaces.User == "" {
		return 0, nil
	}
	patient, cancel := context.WithTimeout(ctx, againPatience)
	defer cancel()
	target, ok := memberOf(k.Namespaces)
	if !ok {
		return 0, k.endSandboxes(patient)
	}
	groups, err := delegated.Of(target)
	if err != nil {
		return 0, err
	}
	//nolint:noctx // It outlives this process.
	cmd := exec.Command(nsenter, "--target", target, "--user", "--mount", "--net", "--cgroup", "--", "sleep", "infinity")
	cmd.Dir, cmd.SysProcAttr = "/", &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	pid = cmd.Process.Pid
	err = againPauses.Do(patient, func() error {
		if _, err := startTime(pid); err != nil {
			return retry.Stop(err)
		}
		if now, err := spacesOf(pid); err != nil || now != k.Namespaces {
			return errors.Join(err, errors.New("a process has not entered them"))
		}
		return nil
	}, nil)
	if err == nil {
		err = delegated.Enter(groups, pid)
	}
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return 0, err
	}
	return pid, cmd.Process.Release()
}

// memberOf returns a thread in all of these namespaces.
func memberOf(s spaces) (thread string, ok bool) {
	tasks, _ := filepath.Glob("/proc/[0-9]*/task/[0-9]*") // A daemon's first thread may be in the namespace of a sandbox.
	for _, task := range tasks {
		id, err := strconv.Atoi(filepath.Base(task))
		if err != nil {
			continue
		}
		if now, err := spacesOf(id); err == nil && now == s {
			if _, err := startTime(id); err == nil {
				return strconv.Itoa(id), true
			}
		}
	}
	return "", false
}

// endSandboxes ends the sandboxes of this run directory's nodes in namespaces that nothing keeps. Processes that are in no group of a
// node are left: the name of a namespace can be that of another one by now.
func (k *keeper) endSandboxes(ctx context.Context) error {
	pids, err := inside(k.Namespaces.User)
	if err != nil {
		return err
	}
	var ending []process
	for _, pid := range pids {
		p, err := processOf(pid)
		if err != nil || !k.ofNode(pid) {
			continue
		}
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue // It has ended.
		}
		if p.lives() {
			err = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
		}
		if err = errors.Join(err, unix.Close(fd)); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("end process %d of a sandbox that cannot be reached: %w", pid, err)
		}
		ending = append(ending, p)
	}
	return againPauses.Do(ctx, func() error {
		for _, p := range ending {
			if p.lives() {
				return fmt.Errorf("process %d of a sandbox that cannot be reached has not ended", p.PID)
			}
		}
		return nil
	}, nil)
}

// ofNode reports whether a process is in a control group of a node that has files in this run directory.
func (k *keeper) ofNode(pid int) bool {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cgroup"))
	if err != nil {
		return false
	}
	for part := range strings.FieldsFuncSeq(string(text), func(r rune) bool { return r == '/' || r == '\n' }) {
		if instance, is := strings.CutPrefix(part, "rundlet-"); is && filepath.IsLocal(instance) {
			if info, err := os.Stat(filepath.Join(filepath.Dir(k.path), instance)); err == nil && info.IsDir() {
				return true
			}
		}
	}
	return false
}
