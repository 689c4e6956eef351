package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The ids of an ordinary user of the host, and those that are subordinate to it.
const (
	ordinaryID   = 54321
	firstSubID   = 300_000
	subIDs       = 65_536
	ordinaryName = "e2e-user"
)

// ordinary is a user without privileges, who has what a host gives its users: a runtime directory, subordinate ids and a control group
// that the user may divide, as a service manager delegates it.
type ordinary struct {
	instance string // Of clearGroups: the end of the name of its control group.
	groups   []string
	env      []string
}

// asOrdinary is what make rootless asks for.
var asOrdinary = flag.Bool("ordinary", false, "run the servers of all tests as an ordinary user")

// user runs the servers of a test, or is nil if root does.
var user *ordinary

// addOrdinary gives these namespaces the user, and its subordinate ids.
func addOrdinary() error {
	passwd, err := os.ReadFile("/etc/passwd")
	if err != nil {
		return err
	}
	ids := fmt.Sprintf("%s:%d:%d\n", ordinaryName, firstSubID, subIDs)
	for file, text := range map[string]string{
		"/etc/passwd": string(passwd) + fmt.Sprintf("%s:x:%d:%d::/:/bin/sh\n", ordinaryName, ordinaryID, ordinaryID),
		"/etc/subuid": ids, "/etc/subgid": ids,
	} {
		ours := filepath.Join(os.Getenv(dirEnv), filepath.Base(file))
		if err := os.WriteFile(ours, []byte(text), 0o600); err != nil {
			return err
		}
		if err := os.Chmod(ours, 0o644); err != nil {
			return err
		}
		if err := unix.Mount(ours, file, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount over %s: %w", file, err)
		}
	}
	return nil
}

// beOrdinary has an ordinary user run the servers until the test is over.
func beOrdinary(t *testing.T) *ordinary {
	t.Helper()
	home := filepath.Join("/run/user", strconv.Itoa(ordinaryID))
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(filepath.Dir(home), 0o755))
	must(os.MkdirAll(home, 0o700))
	must(os.Chown(home, ordinaryID, ordinaryID))
	u := &ordinary{instance: fmt.Sprintf("user%06x", rand.Uint32N(1<<24)), env: []string{"HOME=" + home, "XDG_RUNTIME_DIR=" + home}}
	t.Cleanup(func() {
		user = nil
		if err := clearGroups(u.instance); err != nil {
			t.Error(err)
		}
	})
	user = u
	roots := glob("/sys/fs/cgroup/*/cgroup.procs")
	if len(glob("/sys/fs/cgroup/cgroup.controllers")) > 0 {
		roots = []string{"/sys/fs/cgroup/cgroup.procs"}
	}
	for _, root := range roots {
		parent := filepath.Dir(root)
		dir := filepath.Join(parent, "rundlet-"+u.instance)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatalf("make the user's control group: %v", err)
		}
		u.groups = append(u.groups, dir)
		for _, name := range []string{"cpuset.cpus", "cpuset.mems"} { // A new group of version 1 has none.
			if text, err := os.ReadFile(filepath.Join(parent, name)); err == nil && strings.HasSuffix(parent, "cpuset") {
				must(os.WriteFile(filepath.Join(dir, name), text, 0))
			}
		}
		must(os.Chown(dir, ordinaryID, ordinaryID))
		for _, file := range glob(dir + "/*") {
			must(os.Chown(file, ordinaryID, ordinaryID))
		}
	}
	return u
}

// command is commandContext without a context.
func (u *ordinary) command(name string, args ...string) *exec.Cmd {
	return u.commandContext(context.Background(), name, args...)
}

// commandContext is exec.CommandContext of the user; for nil it is that of root.
func (u *ordinary) commandContext(ctx context.Context, name string, args ...string) *exec.Cmd {
	if u == nil {
		return exec.CommandContext(ctx, name, args...)
	}
	id := strconv.Itoa(ordinaryID)
	script := `while [ "$1" != -- ]; do echo $$ >"$1/cgroup.procs" || exit; shift; done; shift; exec "$@"`
	argv := append([]string{"-c", script, "sh"}, u.groups...)
	argv = append(argv, "--", "setpriv", "--reuid="+id, "--regid="+id, "--clear-groups", "--inh-caps=-all", name)
	return exec.CommandContext(ctx, "/bin/sh", append(argv, args...)...)
}

// environ is the environment of the user; for nil it is that of this process.
func (u *ordinary) environ() []string {
	if u == nil {
		return os.Environ()
	}
	return append(os.Environ(), u.env...)
}

// runDir is where the servers have what runs, as one of them sees it.
func (u *ordinary) runDir(srv *server) string {
	dir := runDir
	if u != nil {
		dir = filepath.Join("/run/user", strconv.Itoa(ordinaryID), "rundlet")
	}
	return filepath.Join("/proc", strconv.Itoa(srv.cmd.Process.Pid), "root", dir)
}

// take makes the user the owner of a directory; nil leaves it root's.
func (u *ordinary) take(dir string) error {
	if u == nil {
		return nil
	}
	return errors.Join(os.Chown(dir, ordinaryID, ordinaryID), letIn(dir))
}

// dirOfUser is a directory for what servers and commands of a test read and write.
func dirOfUser(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if *asOrdinary { // Also before the first server makes the user.
		if err := errors.Join(os.Chown(dir, ordinaryID, ordinaryID), letIn(dir)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// letIn lets all users through the directories of tests, which are root's, to what is in one of them.
func letIn(path string) error {
	for dir := filepath.Dir(path); dir != "/"; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			return err
		}
		if err := os.Chmod(dir, info.Mode()&(os.ModePerm|os.ModeSticky)|0o011); err != nil {
			return err
		}
	}
	return nil
}
