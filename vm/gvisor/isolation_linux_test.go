package gvisor

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// isolation is what holds a process of a sandbox, as the kernel of the host reports it. Names of
// namespaces are those that it does not share with the daemon.
type isolation struct {
	seccomp, filters, effective, bounding, uid, namespaces string
}

// heldBy reads that of a process.
func heldBy(t *testing.T, pid int) (c isolation) {
	t.Helper()
	proc := fmt.Sprintf("/proc/%d", pid)
	status, err := os.ReadFile(proc + "/status")
	if err != nil {
		t.Fatal(err)
	}
	fields := map[string]string{}
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		fields[name] = strings.Join(strings.Fields(value), " ")
	}
	var own []string
	for _, name := range []string{"cgroup", "ipc", "mnt", "net", "pid", "user", "uts"} {
		theirs, err := os.Readlink(proc + "/ns/" + name)
		ours, errOurs := os.Readlink("/proc/self/ns/" + name)
		if err != nil || errOurs != nil {
			t.Fatal(err, errOurs)
		}
		if theirs != ours {
			own = append(own, name)
		}
	}
	return isolation{fields["Seccomp"], fields["Seccomp_filters"], fields["CapEff"], fields["CapBnd"], fields["Uid"], strings.Join(own, " ")}
}

// TestEveryProcessOfASandboxIsHeldAsBefore compares every process of a machine, booted and restored,
// with values that were read from one whose processes were the daemon's program: less
// is a hole, and more is a change that somebody should know of.
func TestEveryProcessOfASandboxIsHeldAsBefore(t *testing.T) {
	d := newDriver(t)
	spec := guestSpec(t)
	spec.VCPUs, spec.MemoryMiB = 1, 128
	start(t, d, "booted", spec)
	stillAlive(t, d, "booted")
	if err := d.Snapshot(testContext(t), "booted", "one"); err != nil {
		t.Fatal(err)
	}
	again := resumed(t, "booted", "one")
	again.VCPUs, again.MemoryMiB = 1, 128
	restore(t, d, "restored", again)
	stillAlive(t, d, "restored")
	missing := map[string]bool{"bootedsandbox": true, "bootedgofer": true, "restoredsandbox": true, "restoredgofer": true}
	const own = "ipc mnt net pid user uts"
	want := map[string]isolation{
		"sandbox": {"2", "1", "000000000008001f", "000000000008001f", "0 0 0 0", own},
		"gofer":   {"2", "1", "000000000004001f", "000000000004001f", "0 0 0 0", own},
		"stub":    {"2", "", "000000000008001f", "000000000008001f", "0 0 0 0", own},
	}
	for _, id := range []string{"booted", "restored"} {
		m := mustFind(t, d, id)
		pids, err := m.group.Processes()
		if err != nil {
			t.Fatal(err)
		}
		var stubs []string
		for _, pid := range pids {
			role, got := "stub", heldBy(t, pid)
			switch pid {
			case m.sandbox.PID:
				role = "sandbox"
			case m.gofer.PID:
				role = "gofer"
			default: // The first is the child of the sentry, the second its copy, and the rest run the guest.
				stubs, got.filters = append(stubs, got.filters), ""
			}
			if got != want[role] {
				t.Errorf("the %s of %s: %+v, want %+v", role, id, got, want[role])
			}
			delete(missing, id+role)
		}
		slices.Sort(stubs)
		if got := strings.Join(slices.Compact(stubs), " "); got != "1 2 3" {
			t.Errorf("the filters of the stubs of %s: %q", id, stubs)
		}
	}
	if len(missing) > 0 {
		t.Errorf("not in the control groups: %v", missing)
	}
}

// TestTheFiltersAreReadyMade reads what gVisor says about them. What they hold, and that
// they are the ones that gVisor would build, is tested in package filters.
func TestTheFiltersAreReadyMade(t *testing.T) {
	d := newDriver(t, func(c *Config) { c.Debug = true })
	start(t, d, "a", guestSpec(t))
	stillAlive(t, d, "a")
	for _, command := range []string{"boot", "gofer"} {
		text, err := os.ReadFile(filepath.Join(d.dirs.Bundle(mustFind(t, d, "a").Key), "log-"+command))
		if err != nil {
			t.Fatal(err)
		}
		if log := string(text); !strings.Contains(log, "Loaded precompiled seccomp instructions") || strings.Contains(log, "No precompiled program found") {
			t.Errorf("%s built its filter", command)
		}
	}
}

// TestALoadTakesNoMoreProcessors reads what gVisor sets GOMAXPROCS to: with 128 more, Go
// keeps 3 MiB for them.
func TestALoadTakesNoMoreProcessors(t *testing.T) {
	d := newDriver(t, func(c *Config) { c.Debug = true })
	spec := guestSpec(t)
	spec.VCPUs = 1
	start(t, d, "a", spec)
	stillAlive(t, d, "a")
	if err := d.Snapshot(testContext(t), "a", "one"); err != nil {
		t.Fatal(err)
	}
	again := resumed(t, "a", "one")
	again.VCPUs = 1
	restore(t, d, "b", again)
	stillAlive(t, d, "b")
	text, err := os.ReadFile(filepath.Join(d.dirs.Bundle(mustFind(t, d, "b").Key), "log-boot"))
	if err != nil {
		t.Fatal(err)
	}
	var set []string
	for line := range strings.Lines(string(text)) {
		if _, n, ok := strings.Cut(line, "Setting GOMAXPROCS to "); ok {
			set = append(set, strings.TrimSpace(n))
		}
	}
	if want := []string{strconv.Itoa(guestCPUs(1))}; !slices.Equal(set, want) {
		t.Errorf("GOMAXPROCS was set to %q, want %q", set, want)
	}
}
