package cgroups

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// needVersion2 skips a test on a host with version 1; make conformance runs it.
func needVersion2(t testing.TB) {
	t.Helper()
	if Mounted() != "v2" {
		t.Skip("this host has control groups of version 1: make conformance runs this test")
	}
}

func TestWhatMakesVersion2Unusable(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string
		want  string // "" if it is usable
	}{
		{"a host", map[string]string{"cgroup.controllers": "cpuset cpu io memory pids", "cgroup.subtree_control": "", "cgroup.procs": "1\n2\n"}, ""},
		{"without cpuset", map[string]string{"cgroup.controllers": "cpu memory pids", "cgroup.subtree_control": ""}, ""},
		{"a host without pids", map[string]string{"cgroup.controllers": "cpu memory", "cgroup.subtree_control": "cpu memory"}, "controller pids is not available"},
		{"a container", map[string]string{"cgroup.controllers": "cpu memory pids", "cgroup.subtree_control": "", "cgroup.procs": "1\n", "cgroup.type": "domain"},
			"processes are in that group itself"},
		{"a container that has made room", map[string]string{"cgroup.controllers": "cpu memory pids", "cgroup.subtree_control": "", "cgroup.procs": "", "cgroup.type": "domain"}, ""},
		{"a container with its controllers", map[string]string{"cgroup.controllers": "cpu memory pids", "cgroup.subtree_control": "cpu memory pids", "cgroup.procs": "", "cgroup.type": "domain"}, ""},
		{"nothing", nil, "cgroup.controllers"},
	} {
		dir := t.TempDir()
		for name, content := range c.files {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		err := usableAt(dir)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// TestAGroupWithProcessesHasNoGroupsWithControllers is what a daemon in a container finds.
func TestAGroupWithProcessesHasNoGroupsWithControllers(t *testing.T) {
	needVersion2(t)
	_, path := newGroup(t, 0)
	dir := filepath.Join(mountPoint, path)
	if err := usableAt(dir); err != nil {
		t.Fatalf("a group without processes: %v", err)
	}
	startIn(t, dir)
	if err := usableAt(dir); err == nil || !strings.Contains(err.Error(), "processes are in that group") {
		t.Errorf("a group with a process is usable: %v", err)
	}
	if err := enable(dir); !errors.Is(err, unix.EBUSY) {
		t.Errorf("the kernel says %v, want %v", err, unix.EBUSY)
	}
}

// startIn starts a process that is born in the group in dir, and ends with the test.
func startIn(t *testing.T, dir string) *exec.Cmd {
	t.Helper()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd := exec.Command("sleep", "600")
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(f.Fd())}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

func TestOnVersion2ProcessesAreBornInTheirGroup(t *testing.T) {
	needVersion2(t)
	g, path := newGroup(t, 0)
	if !g.CloneInto() || len(g.JoinFiles()) > 0 {
		t.Fatalf("clone into the group: %t, files to join %q", g.CloneInto(), g.JoinFiles())
	}
	pid := startIn(t, filepath.Join(mountPoint, path)).Process.Pid
	if pids, err := g.Processes(); err != nil || !slices.Equal(pids, []int{pid}) {
		t.Errorf("the group has the processes %v, %v, want %d", pids, err, pid)
	}
}

// TestOnlyWhatLimitsIsEnabled also makes the group again, as after a crash: it gets its limits then, too.
func TestOnlyWhatLimitsIsEnabled(t *testing.T) {
	needVersion2(t)
	_, path := newGroup(t, 0)
	inner, quota, period, limit := path+"/a", int64(150_000), uint64(100_000), int64(64<<20)
	t.Cleanup(func() { RemoveAt(inner) })
	for _, tasks := range []int64{50, 60} {
		g, err := New(inner, &specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: &quota, Period: &period},
			Memory: &specs.LinuxMemory{Limit: &limit}, Pids: &specs.LinuxPids{Limit: tasks}}, 0)
		if err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(mountPoint, inner)
		for name, want := range map[string]string{"cpu.max": "150000 100000", "memory.max": fmt.Sprint(limit), "pids.max": fmt.Sprint(tasks)} {
			if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || strings.TrimSpace(string(got)) != want {
				t.Errorf("%s is %q, %v, want %q", name, got, err, want)
			}
		}
		if enabled, err := words(filepath.Join(dir, "..", subtreeControl)); err != nil || !slices.Equal(enabled, []string{"cpu", "memory", "pids"}) {
			t.Errorf("the groups below have the controllers %q, %v", enabled, err)
		}
		if tasks == 60 {
			if err := errors.Join(g.Remove(), g.Remove()); err != nil {
				t.Errorf("remove, twice: %v", err)
			}
			if _, err := os.Stat(dir); !os.IsNotExist(err) {
				t.Errorf("it is left: %v", err)
			}
		}
	}
}

func TestAGroupWithAProcessIsNotRemoved(t *testing.T) {
	needVersion2(t)
	g, path := newGroup(t, 0)
	cmd := startIn(t, filepath.Join(mountPoint, path))
	if err := g.Remove(); !errors.Is(err, unix.EBUSY) {
		t.Errorf("removed with a process in it: %v", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := g.Remove(); err != nil { // The process is a zombie, which is in no group.
		t.Errorf("after its end: %v", err)
	}
}

func TestLimitsThatTheKernelRefusesLeaveNoGroup(t *testing.T) {
	needVersion2(t)
	path := fmt.Sprintf("/rundlet-test-%d-%s", os.Getpid(), t.Name())
	quota, period := int64(1), uint64(100_000) // Below the least quota of 1 ms.
	if _, err := New(path, &specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: &quota, Period: &period}}, 0); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("the error is %v", err)
	}
	if _, err := os.Stat(filepath.Join(mountPoint, path)); !os.IsNotExist(err) {
		t.Errorf("the group is left: %v", err)
	}
}
