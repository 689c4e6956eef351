package gvisor

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/vmtest"
)

// confinement describes the sentry and the file server of a machine.
func confinement(t *testing.T, d vm.Runtime, id string) []vmtest.Confined {
	t.Helper()
	m := mustFind(t, d.(*Driver), id)
	dirs := d.(*Driver).dirs
	private := []string{dirs.Bundle(m.Key), dirs.Record(m.Key)}
	// What Go and gVisor need to run, and which is not a file of the host.
	common := []string{"/dev/null", "/", "socket:*", "pipe:*", "anon_inode:*", "/memfd:*", "/root", "/root/*",
		// The runtime of Go reads anew how many processors it may use.
		"/sys/fs/cgroup/*", "/sys/fs/cgroup/*/cpu.*", "/sys/fs/cgroup/*/*/cpu.*", "/sys/fs/cgroup/*/*/*/cpu.*"}
	// The sentry counts its own tasks, to refuse the guest more before it gets none.
	tasks := []string{m.group.TasksFile("pids.current")}
	chown, dacOverride, dacReadSearch, fowner, fsetid := uint(0), uint(1), uint(2), uint(3), uint(4)
	files := []uint{chown, dacOverride, dacReadSearch, fowner, fsetid}
	all := []vmtest.Confined{
		// The sentry traces its guest's threads.
		{Name: "sentry", PID: m.sandbox.PID, Private: private, Capabilities: append(slices.Clone(files), unix.CAP_SYS_PTRACE),
			Files: append(slices.Concat(common, tasks), filepath.Join(dirs.Bundle(m.Key), consoleFile),
				filepath.Join(dirs.Images(m.Key), "runsc-filestore-*"))},
	}
	if m.gofer == nil { // The sentry reads the root.
		all[0].Files = append(all[0].Files, m.spec.Rootfs)
		return all
	}
	return append(all, vmtest.Confined{Name: "file server", PID: m.gofer.PID, Capabilities: append(slices.Clone(files), unix.CAP_SYS_CHROOT),
		Files: append(slices.Concat(common, tasks), filepath.Join(dirs.Bundle(m.Key), "config.json"))})
}

const suiteCrashEnv = "GVISOR_TEST_SUITE_CRASH"

// suiteCrash is a call that a process makes half-way.
type suiteCrash struct {
	StateDir, RunDir, Instance string

	Call vmtest.Call
}

// TestSuiteCrashChild is the process that dies in the middle of a call of the
// suite.
func TestSuiteCrashChild(t *testing.T) {
	text := os.Getenv(suiteCrashEnv)
	if text == "" {
		t.Skip("TestConformance runs it, in separate processes")
	}
	var c suiteCrash
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		t.Fatal(err)
	}
	d, err := New(Config{StateDir: c.StateDir, RunDir: c.RunDir, Instance: c.Instance, Engine: ownEngine})
	if err != nil {
		t.Fatal(err)
	}
	d.points.halfWay = func(op, id string) error {
		if op == c.Call.Point() && id == c.Call.ID {
			_ = unix.Kill(os.Getpid(), unix.SIGKILL)
			select {}
		}
		return nil
	}
	ctx := testContext(t)
	if _, lost, err := vmtest.Adopted(ctx, d); err != nil || len(lost) > 0 {
		t.Fatalf("lost %v, %v", lost, err)
	}
	t.Fatalf("survived %s: %v", c.Call.Op, c.Call.Do(ctx, d))
}

// dieHalfWay makes the call in a process that dies half-way.
func dieHalfWay(t *testing.T, conf Config, call vmtest.Call) {
	t.Helper()
	text, err := json.Marshal(suiteCrash{StateDir: conf.StateDir, RunDir: conf.RunDir, Instance: conf.Instance, Call: call})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "-test.run=^TestSuiteCrashChild$")
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), suiteCrashEnv+"="+string(text))
	if out, err := cmd.CombinedOutput(); err == nil || ctx.Err() != nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("the process did not die half-way: %v\n%s", err, out)
	}
}
