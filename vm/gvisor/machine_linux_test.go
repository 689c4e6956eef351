package gvisor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/internal/cgroups"
	"github.com/rundlet/rundlet/internal/console"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/gvisor/budget"
)

// slow is a bound that protects against a hang, on a machine that is RUNDLET_TEST_SLOWNESS times as slow as others.
func slow(bound time.Duration) time.Duration {
	if times, err := strconv.Atoi(os.Getenv("RUNDLET_TEST_SLOWNESS")); err == nil && times > 1 {
		return bound * time.Duration(times)
	}
	return bound
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), slow(2*time.Minute))
	t.Cleanup(cancel)
	return ctx
}

func start(t testing.TB, d *Driver, id string, spec vm.Spec) {
	t.Helper()
	ctx := testContext(t)
	if err := errors.Join(d.Create(ctx, id, spec), d.Start(ctx, id)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Destroy(context.Background(), id); err != nil && !errors.Is(err, vm.ErrInvalidTransition) {
			t.Error(err)
		}
	})
}

func run(t testing.TB, d *Driver, id, query string, args ...string) string {
	t.Helper()
	out, err := client{d}.run(testContext(t), id, query, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// setUIDRootfs is a root with a set-uid program "raise", whose path on the host
// and content are returned as well.
func setUIDRootfs(t testing.TB) (root, raise string, program []byte) {
	t.Helper()
	root = t.TempDir()
	raise = filepath.Join(root, "raise")
	if err := os.CopyFS(root, os.DirFS(makeRootfs(t))); err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(filepath.Join(root, "init"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(raise, program, 0o755), os.Chmod(raise, 0o755|os.ModeSetuid),
		os.Chmod(root, 0o755), os.Chmod(filepath.Join(root, "init"), 0o755)); err != nil {
		t.Fatal(err)
	}
	return root, raise, program
}

func TestSetuidProgramsWorkInTheGuest(t *testing.T) {
	d := newDriver(t)
	root, _, _ := setUIDRootfs(t)
	spec := guestSpec(t)
	spec.Rootfs = root
	start(t, d, "a", spec)
	if got := run(t, d, "a", "?user=1", "/init", "uid"); got != "1000 1000" {
		t.Errorf("unprivileged: %q", got)
	}
	if got := run(t, d, "a", "?user=1", "/raise", "uid"); got != "1000 0" {
		t.Errorf("setuid root: %q", got)
	}
}

func TestGuestSeesItsLimits(t *testing.T) {
	d := newDriver(t)
	spec := guestSpec(t)
	spec.MemoryMiB, spec.VCPUs, spec.Hostname = 300, 1, "limited"
	start(t, d, "a", spec)
	if got := run(t, d, "a", "", "/init", "meminfo"); strings.Join(strings.Fields(got), " ") != "MemTotal: 307200 kB" {
		t.Errorf("memory: %q", got)
	}
	if got, want := run(t, d, "a", "", "/init", "cpus"), fmt.Sprint(min(2, runtime.NumCPU())); got != want {
		t.Errorf("processors: %q, want %s", got, want)
	}
	if got := run(t, d, "a", "", "/init", "hostname"); got != "limited <nil>" {
		t.Errorf("host name: %q", got)
	}
	stats, err := d.Stats(testContext(t), "a")
	if err != nil {
		t.Fatal(err)
	}
	if d.limits {
		if want := 300<<20 + int64(budget.BaseOverhead); stats.MemoryLimitBytes != want {
			t.Errorf("limit is %d, want %d", stats.MemoryLimitBytes, want)
		}
		if stats.CPUTime == 0 || stats.Processes < 2 || stats.MemoryBytes < 1<<20 {
			t.Errorf("stats are %+v", stats)
		}
		checkCgroupFile(t, mustFind(t, d, "a").group, "memory", "memory.limit_in_bytes", "memory.max", fmt.Sprint(budget.New(300<<20).HostLimit()))
		checkCgroupFile(t, mustFind(t, d, "a").group, "cpu", "cpu.cfs_quota_us", "cpu.max", "100000")
		checkCgroupFile(t, mustFind(t, d, "a").group, "pids", "pids.max", "pids.max", fmt.Sprint(d.node.limits.SandboxTasks))
	}
}

func checkCgroupFile(t *testing.T, g *cgroups.Group, controller, v1, v2, want string) {
	t.Helper()
	name := v1
	if cgroups.Mounted() == "v2" {
		name = v2
	}
	data, err := os.ReadFile(filepath.Join(g.Cgroup.MakePath(controller), name))
	if err != nil || !strings.HasPrefix(string(data), want) {
		t.Errorf("%s is %q, %v, want %s", name, data, err, want)
	}
}

func TestOutOfMemoryIsTheReason(t *testing.T) {
	d := newDriver(t)
	if !d.limits {
		t.Skip("this host has no control groups")
	}
	spec := guestSpec(t)
	spec.MemoryMiB = 64
	start(t, d, "a", spec)
	ctx := testContext(t)
	_, _ = client{d}.do(ctx, "a", "POST", "/eat", "")
	reason, err := d.Wait(ctx, "a")
	if err != nil || reason != "oom" {
		t.Errorf("reason %q, %v", reason, err)
	}
}

func TestExitCodeAndLastWords(t *testing.T) {
	d := newDriver(t)
	start(t, d, "a", guestSpec(t))
	ctx := testContext(t)
	if _, err := (client{d}).do(ctx, "a", "POST", "/console", "last words\n"); err != nil {
		t.Fatal(err)
	}
	_, _ = client{d}.do(ctx, "a", "POST", "/exit", "")
	reason, err := d.Wait(ctx, "a")
	if err != nil || reason != "exited: 7" {
		t.Errorf("reason %q, %v", reason, err)
	}
	tail, err := d.ConsoleTail(ctx, "a", 0)
	if err != nil || !slices.Equal(tail, []string{"guest ready", "last words"}) {
		t.Errorf("console %q, %v", tail, err)
	}
}

func TestWritesNeverReachTheHost(t *testing.T) {
	d := newDriver(t)
	ro, private := t.TempDir(), t.TempDir()
	spec := guestSpec(t)
	spec.DiskMiB = 20
	spec.Mounts = []vm.Mount{{Source: ro, Target: "/mnt/ro"}, {Source: private, Target: "/mnt/private", Overlay: true}}
	start(t, d, "a", spec)
	for path, want := range map[string]string{
		"/mnt/ro/x": "read-only file system", "/mnt/private/x": "<nil>", "/x": "<nil>", "/tmp/x": "<nil>",
	} {
		if got := run(t, d, "a", "", "/init", "touch", path); !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	if got := run(t, d, "a", "", "/init", "fill", "/big"); !strings.Contains(got, "no space left") {
		t.Errorf("32 MiB into 20 MiB: %q", got)
	}
	for _, path := range []string{filepath.Join(ro, "x"), filepath.Join(private, "x"), filepath.Join(spec.Rootfs, "x")} {
		if there(path) {
			t.Errorf("%s was written to", path)
		}
	}
}

func TestReadOnlyRoot(t *testing.T) {
	d := newDriver(t)
	spec := guestSpec(t)
	spec.RootfsReadOnly = true
	start(t, d, "a", spec)
	if got := run(t, d, "a", "", "/init", "touch", "/x"); !strings.Contains(got, "read-only file system") {
		t.Errorf("%q", got)
	}
}

func TestPreparedMachineOutlivesItsSnapshot(t *testing.T) {
	d := newDriver(t)
	ctx := testContext(t)
	start(t, d, "a", guestSpec(t))
	c := client{d}
	if err := errors.Join(c.Write(ctx, "a", "k", "v"), d.Snapshot(ctx, "a", "one")); err != nil {
		t.Fatal(err)
	}
	s := guestSpec(t)
	prepared := vm.Spec{NetNS: s.NetNS, GuestIP: s.GuestIP, Hostname: "other", MemoryMiB: 200,
		RestoreFrom: &vm.SnapshotRef{VMID: "a", SnapshotID: "one"}}
	if err := d.Create(ctx, "b", prepared); err != nil {
		t.Fatal(err)
	}
	defer d.Destroy(ctx, "b")
	// A snapshot of what was not loaded yet is the same snapshot.
	if err := errors.Join(d.DeleteSnapshot(ctx, "a", "one"), d.Snapshot(ctx, "b", "two"), d.Start(ctx, "b")); err != nil {
		t.Fatal(err)
	}
	if got, err := c.Read(ctx, "b", "k"); got != "v" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if got := run(t, d, "b", "", "/init", "hostname"); got != "other <nil>" {
		t.Errorf("host name %q", got)
	}
	if entries, _ := os.ReadDir(d.dirs.Pending()); len(entries) > 0 {
		t.Errorf("%d files wait for a start that was", len(entries))
	}
	s = guestSpec(t)
	again := vm.Spec{NetNS: s.NetNS, GuestIP: s.GuestIP,
		RestoreFrom: &vm.SnapshotRef{VMID: "b", SnapshotID: "two", ResumeImmediately: true}}
	if err := d.Create(ctx, "c", again); err != nil {
		t.Fatal(err)
	}
	defer d.Destroy(ctx, "c")
	if got, err := c.Read(ctx, "c", "k"); got != "v" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func TestExecCommandAndBareStarts(t *testing.T) {
	d := newDriver(t)
	ctx := testContext(t)
	start(t, d, "a", guestSpec(t))
	if err := (client{d}).Write(ctx, "a", "k", "v"); err != nil {
		t.Fatal(err)
	}
	cmd, err := d.ExecCommand("a", "/init", "uid")
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.CombinedOutput()
	if err != nil || string(bytes.TrimSpace(out)) != "0 0" {
		t.Errorf("%q, %v", out, err)
	}
	if err := d.Snapshot(ctx, "a", "one"); err != nil {
		t.Fatal(err)
	}
	if pids, err := d.Processes("a"); err != nil || len(pids) < 2 {
		t.Errorf("processes %v, %v: a machine has a kernel and a file server", pids, err)
	}
	if _, err := d.Processes("unknown"); !errors.Is(err, vm.ErrNotFound) {
		t.Errorf("processes of an unknown machine: %v", err)
	}
	before := leftovers(d)
	s := guestSpec(t)
	run, destroy, err := d.Bare(vm.Spec{NetNS: s.NetNS, GuestIP: s.GuestIP, RestoreFrom: &vm.SnapshotRef{VMID: "a", SnapshotID: "one"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(run(), destroy()); err != nil {
		t.Error(err)
	}
	if run, destroy, err = d.Bare(guestSpec(t)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(run(), destroy()); err != nil {
		t.Errorf("boot: %v", err)
	}
	if after := leftovers(d); !slices.Equal(before, after) {
		t.Errorf("before %q\nafter %q", before, after)
	}
}

// TestHostileConsole floods the console: the guest must not block and the
// driver must not grow.
func TestHostileConsole(t *testing.T) {
	d := newDriver(t)
	start(t, d, "a", guestSpec(t))
	ctx := testContext(t)
	if _, err := (client{d}).do(ctx, "a", "POST", "/console", strings.Repeat("x", 4<<20)+"\nend\n"); err != nil {
		t.Fatal(err)
	}
	tail, err := d.ConsoleTail(ctx, "a", 2)
	for err == nil && (len(tail) == 0 || tail[len(tail)-1] != "end") && ctx.Err() == nil {
		runtime.Gosched()
		tail, err = d.ConsoleTail(ctx, "a", 2)
	}
	if err != nil || len(tail) != 2 || len(tail[0]) != console.MaxLine+len(console.Cut) {
		t.Errorf("%d lines, %v", len(tail), err)
	}
}
