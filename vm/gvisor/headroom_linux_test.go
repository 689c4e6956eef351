package gvisor

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/internal/cgroups"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/gvisor/budget"
)

func limitOf(t *testing.T, d *Driver, id string) int64 {
	t.Helper()
	limit, err := cgroups.ReadInt(mustFind(t, d, id).group.MemoryFile("memory.limit_in_bytes", "memory.max"))
	if err != nil {
		t.Fatal(err)
	}
	return limit
}

func TestSaveIsRefusedIfTheHostLacksTheMemory(t *testing.T) {
	d := guardedMachine(t, 128)
	ordinary := limitOf(t, d, "a")
	d.headroom.available = func() (int64, error) { return hostReserve + 10*budget.MiB, nil }
	for _, save := range []func() error{
		func() error { return d.Snapshot(testContext(t), "a", "one") },
		func() error { return d.SnapshotFilesystem(testContext(t), "a", "one") },
	} {
		err := save()
		if !errors.Is(err, vm.ErrOutOfMemory) || !strings.Contains(err.Error(), "the host has 10 MiB") {
			t.Errorf("a save on a host without memory: %v", err)
		}
	}
	stillAlive(t, d, "a")
	if got := limitOf(t, d, "a"); got != ordinary {
		t.Errorf("after a refusal the limit is %d, want %d", got, ordinary)
	}
	d.headroom.available = cgroups.HostAvailable
	if err := d.Snapshot(testContext(t), "a", "one"); err != nil {
		t.Errorf("a save when the host has memory again: %v", err)
	}
	if d.headroom.granted != 0 {
		t.Errorf("%d bytes are still granted", d.headroom.granted)
	}
}

func TestRestoreIsRefusedIfTheHostLacksTheMemory(t *testing.T) {
	d := guardedMachine(t, 128)
	if err := d.Snapshot(testContext(t), "a", "one"); err != nil {
		t.Fatal(err)
	}
	d.headroom.available = func() (int64, error) { return 0, nil }
	s := guestSpec(t)
	s.VCPUs, s.MemoryMiB = 2, 128
	s.RestoreFrom = &vm.SnapshotRef{VMID: "a", SnapshotID: "one", ResumeImmediately: true}
	if err := d.Create(testContext(t), "b", s); !errors.Is(err, vm.ErrOutOfMemory) {
		t.Errorf("a restore on a host without memory: %v", err)
	}
	d.headroom.available = cgroups.HostAvailable
	if err := d.Create(testContext(t), "b", s); err != nil {
		t.Fatalf("the snapshot is lost: %v", err)
	}
	defer d.Destroy(testContext(t), "b")
	stillAlive(t, d, "b")
}

// What a process that died in the middle of a save has lifted is set back by the
// next one.
func TestLimitIsSetBackAfterASave(t *testing.T) {
	d := newDriver(t)
	if !d.limits {
		t.Skip("this host has no usable control groups")
	}
	s := guestSpec(t)
	s.VCPUs, s.MemoryMiB = 2, 128
	if err := errors.Join(d.Create(testContext(t), "a", s), d.Start(testContext(t), "a")); err != nil {
		t.Fatal(err)
	}
	m := mustFind(t, d, "a")
	ordinary := limitOf(t, d, "a")
	lower, err := m.liftForSave(&d.headroom)
	if err != nil {
		t.Fatal(err)
	}
	if got := limitOf(t, d, "a"); got < ordinary+leastHeadroom {
		t.Errorf("while saving the limit is %d, want at least %d", got, ordinary+leastHeadroom)
	}
	lower()
	if got := limitOf(t, d, "a"); got != ordinary {
		t.Errorf("after the save the limit is %d, want %d", got, ordinary)
	}
	if _, err := m.liftForSave(&d.headroom); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	next := open(t, d.conf)
	t.Cleanup(func() { _ = next.Destroy(context.Background(), "a") })
	if _, lost, err := next.Adopt(testContext(t)); err != nil || len(lost) > 0 {
		t.Fatal(lost, err)
	}
	for deadline := time.Now().Add(time.Minute); limitOf(t, next, "a") != ordinary; {
		if time.Now().After(deadline) {
			t.Fatalf("after an adoption the limit is %d, want %d", limitOf(t, next, "a"), ordinary)
		}
		<-time.After(10 * time.Millisecond)
	}
	if err := next.Destroy(testContext(t), "a"); err != nil {
		t.Error(err)
	}
}

// A limit that what is used does not fit is not set.
func TestLimitIsNotSetBelowTheUse(t *testing.T) {
	d := guardedMachine(t, 128)
	m := mustFind(t, d, "a")
	if used, err := m.group.Unreclaimable(); err != nil || used <= 0 {
		t.Fatalf("use: %d, %v", used, err)
	}
	m.spec.MemoryMiB = -128 // A limit of nothing at all.
	before := limitOf(t, d, "a")
	if m.lowerLimit() {
		t.Error("a limit below the use was set")
	}
	if got := limitOf(t, d, "a"); got != before {
		t.Errorf("the limit is %d, want %d as before", got, before)
	}
	m.spec.MemoryMiB = 128
	if !m.lowerLimit() {
		t.Error("the ordinary limit cannot be set")
	}
}

func TestStatField(t *testing.T) {
	text := "cache 1\nrss 22\nrss_huge 333\nbad x\n"
	for name, want := range map[string]int64{"cache": 1, "rss": 22, "rss_huge": 333, "bad": 0, "none": 0} {
		if got, ok := cgroups.StatField(text, name); got != want || ok != (want != 0) {
			t.Errorf("%s: %d, %v", name, got, ok)
		}
	}
	if _, err := os.Stat("/proc/meminfo"); err == nil {
		if n, err := cgroups.HostAvailable(); err != nil || n <= 0 {
			t.Errorf("memory of the host: %d, %v", n, err)
		}
	}
}
