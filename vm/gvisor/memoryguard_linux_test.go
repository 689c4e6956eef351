package gvisor

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/vm"
)

// guarded starts a machine with a memory limit, and skips where nothing
// enforces one.
func guardedMachine(t *testing.T, mib int) *Driver {
	t.Helper()
	d := newDriver(t)
	s := guestSpec(t)
	s.VCPUs, s.MemoryMiB = 2, mib
	start(t, d, "a", s)
	if !d.limits {
		t.Skip("this host has no usable control groups")
	}
	return d
}

// alive fails the test unless the guest still answers.
func stillAlive(t *testing.T, d *Driver, id string) {
	t.Helper()
	if text, err := (client{d}).do(testContext(t), id, "GET", "/ping", ""); err != nil || text != "pong" {
		view, _, _ := d.Get(testContext(t), id)
		t.Fatalf("the machine does not answer: %q, %v, %+v", text, err, view)
	}
}

func TestGreedyProcessDiesAlone(t *testing.T) {
	d := guardedMachine(t, 128)
	for _, way := range []string{"touch", "read"} {
		if got := run(t, d, "a", "", "/init", "hoard", way); got != "error: signal: killed" {
			t.Errorf("a process that takes all memory by %s: %q, want it killed", way, got)
		}
		stillAlive(t, d, "a")
	}
}

func TestMappingLargerThanMemoryIsRefused(t *testing.T) {
	d := guardedMachine(t, 128)
	for how, want := range map[string]string{
		"private": "cannot allocate memory", "growing": "cannot allocate memory",
		"noreserve": "<nil>", "none": "<nil>", "small": "<nil>",
	} {
		if got := run(t, d, "a", "", "/init", "map", how); got != want {
			t.Errorf("mapping %s: %q, want %q", how, got, want)
		}
	}
	stillAlive(t, d, "a")
}

// TestForkBombEndsWithEAGAIN allows that it is killed: on a busy machine many
// processes are made before the first of them takes its memory.
func TestForkBombEndsWithEAGAIN(t *testing.T) {
	d := guardedMachine(t, 128)
	got, err := (client{d}).run(testContext(t), "a", "", "/init", "processes", "2000")
	if err != nil {
		view, _, _ := d.Get(testContext(t), "a")
		t.Fatalf("%v: %+v, console %q", err, view, mustFind(t, d, "a").console.Tail(5))
	}
	if got != "error: signal: killed" && !strings.Contains(got, "resource temporarily unavailable") {
		t.Errorf("starting 2000 processes in 128 MiB: %q, want EAGAIN", got)
	}
	stillAlive(t, d, "a")
	if n, _, _ := strings.Cut(got, " "); n == "0" || n == "1" {
		t.Errorf("no process could be started: %q", got)
	}
}

func TestFilesEndWithENOSPC(t *testing.T) {
	d := guardedMachine(t, 64)
	got := run(t, d, "a", "", "/init", "files", "300000")
	made, _, _ := strings.Cut(got, " ")
	n, _ := strconv.Atoi(made)
	if !strings.Contains(got, "no space left on device") || n < 5000 {
		t.Fatalf("making 300000 files in 64 MiB: %q, want ENOSPC after some thousands", got)
	}
	stillAlive(t, d, "a")
	// Saving what was made takes several times the memory, and works.
	if err := d.Snapshot(testContext(t), "a", "one"); err != nil {
		t.Fatal(err)
	}
	stillAlive(t, d, "a")
	s := guestSpec(t)
	s.VCPUs, s.MemoryMiB = 2, 64
	s.RestoreFrom = &vm.SnapshotRef{VMID: "a", SnapshotID: "one", ResumeImmediately: true}
	if err := d.Create(testContext(t), "b", s); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Destroy(context.Background(), "b") })
	stillAlive(t, d, "b")
}

// TestMemoryFileSystemsAreBounded also mounts one in the guest: what is bounded
// is the kind, not the mounts that we make.
func TestMemoryFileSystemsAreBounded(t *testing.T) {
	d := guardedMachine(t, 128)
	for _, where := range []string{"/dev/shm", "own"} {
		if got := run(t, d, "a", "", "/init", "size", where); got != fmt.Sprint(64<<20) {
			t.Errorf("%s holds %s bytes, want half of the memory", where, got)
		}
	}
}

func TestStubsDieBeforeTheSandbox(t *testing.T) {
	d := guardedMachine(t, 128)
	run(t, d, "a", "", "/init", "processes", "2")
	m := mustFind(t, d, "a")
	scores := map[string]int{}
	for _, pid := range descendants(m.sandbox.PID) {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid))
		if err != nil {
			continue // It has ended.
		}
		scores[strings.TrimSpace(string(data))]++
		if want := oomScoreStub; pid != m.sandbox.PID && strings.TrimSpace(string(data)) != fmt.Sprint(want) {
			t.Errorf("stub %d has the score %s, want %d", pid, data, want)
		}
	}
	if scores[fmt.Sprint(oomScoreSandbox)] != 1 || scores[fmt.Sprint(oomScoreStub)] < 3 {
		t.Errorf("scores are %v, want one of %d and some of %d", scores, oomScoreSandbox, oomScoreStub)
	}
}

// descendants returns a process and all that come from it.
func descendants(pid int) []int {
	all := []int{pid}
	for i := 0; i < len(all); i++ {
		lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", all[i]))
		for _, list := range lists {
			data, _ := os.ReadFile(list)
			for _, field := range strings.Fields(string(data)) {
				if child, err := strconv.Atoi(field); err == nil {
					all = append(all, child)
				}
			}
		}
	}
	return all
}
