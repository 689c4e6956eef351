package memvm_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/memvm"
)

var errInjected = errors.New("injected")

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// run makes a running machine.
func run(t *testing.T, d *memvm.Driver, id string, spec vm.Spec) *memvm.Guest {
	t.Helper()
	must(t, d.Create(t.Context(), id, spec))
	must(t, d.Start(t.Context(), id))
	return d.Guest(id)
}

func TestRestoreTakesOnlyWhatCountsOnRestore(t *testing.T) {
	d := memvm.New(memvm.Options{})
	cold := vm.Spec{
		Rootfs: "/base", Args: []string{"init"}, Hostname: "old", VCPUs: 1, MemoryMiB: 64, NetNS: "/ns/old", GuestIP: "10.0.0.1",
		Mounts:     []vm.Mount{{Source: "/host/old", Target: "/data"}},
		Interfaces: []vm.NetworkInterface{{ID: "eth0", HostDevice: "tap-old"}, {ID: "eth1", HostDevice: "tap-kept"}},
	}
	run(t, d, "a", cold)
	must(t, d.Snapshot(t.Context(), "a", "s"))
	ref := &vm.SnapshotRef{
		VMID: "a", SnapshotID: "s", NetworkOverrides: []vm.NetworkOverride{{InterfaceID: "eth0", HostDevice: "tap-new"}},
	}
	must(t, d.Create(t.Context(), "b", vm.Spec{
		Rootfs: "/other", Args: []string{"other"}, Hostname: "new", VCPUs: 2, NetNS: "/ns/new", GuestIP: "10.0.0.2",
		Mounts: []vm.Mount{{Source: "/host/new", Target: "/data"}}, RestoreFrom: ref,
	}))
	got := d.Guest("b").Spec()
	if got.Rootfs != "/base" || !slices.Equal(got.Args, cold.Args) || got.MemoryMiB != 64 {
		t.Errorf("cold boot fields came from the restore: %+v", got)
	}
	if got.Hostname != "new" || got.VCPUs != 2 || got.NetNS != "/ns/new" || got.GuestIP != "10.0.0.2" ||
		got.Mounts[0].Source != "/host/new" {
		t.Errorf("restore fields came from the snapshot: %+v", got)
	}
	if got.Interfaces[0].HostDevice != "tap-new" || got.Interfaces[1].HostDevice != "tap-kept" {
		t.Errorf("network overrides: %+v", got.Interfaces)
	}
	if was := d.Guest("a").Spec().Interfaces[0].HostDevice; was != "tap-old" {
		t.Errorf("the restore changed the original: %s", was)
	}
}

func TestRestoreWithOtherMountTargetsIsIncompatible(t *testing.T) {
	d := memvm.New(memvm.Options{})
	run(t, d, "a", vm.Spec{Mounts: []vm.Mount{{Source: "/x", Target: "/data"}}})
	must(t, d.Snapshot(t.Context(), "a", "s"))
	for _, mounts := range [][]vm.Mount{nil, {{Source: "/x", Target: "/other"}}} {
		err := d.Create(t.Context(), "b", vm.Spec{Mounts: mounts, RestoreFrom: &vm.SnapshotRef{VMID: "a", SnapshotID: "s"}})
		if !errors.Is(err, vm.ErrIncompatible) {
			t.Errorf("mounts %v: %v", mounts, err)
		}
	}
	if got := d.Host().Objects(); !slices.Equal(got, []string{"guest a", "snapshot a/s"}) {
		t.Errorf("left behind: %q", got)
	}
}

func TestHandlerServesPortsWithoutListener(t *testing.T) {
	d := memvm.New(memvm.Options{Handler: func(id string, port uint16) func(net.Conn) {
		if port != 80 {
			return nil
		}
		return func(c net.Conn) { _, _ = io.WriteString(c, "handler of "+id) }
	}})
	g := run(t, d, "a", vm.Spec{})
	g.Set("name", "guest a")
	g.Listen(81, func(g *memvm.Guest, c net.Conn) { _, _ = io.WriteString(c, g.Get("name")) })
	must(t, d.Snapshot(t.Context(), "a", "s"))
	must(t, d.Create(t.Context(), "b", vm.Spec{
		RestoreFrom: &vm.SnapshotRef{VMID: "a", SnapshotID: "s", ResumeImmediately: true},
	}))
	d.Guest("b").Set("name", "guest b")
	for _, c := range []struct {
		id   string
		port uint16
		want string
	}{{"a", 80, "handler of a"}, {"a", 81, "guest a"}, {"b", 80, "handler of b"}, {"b", 81, "guest b"}} {
		conn, err := d.Dial(t.Context(), c.id, c.port)
		must(t, err)
		got, err := io.ReadAll(conn)
		must(t, err)
		must(t, conn.Close())
		if string(got) != c.want {
			t.Errorf("port %d of %s says %q, want %q", c.port, c.id, got, c.want)
		}
	}
	if _, err := d.Dial(t.Context(), "a", 82); !errors.Is(err, vm.ErrUnavailable) {
		t.Errorf("port 82: %v", err)
	}
}

func TestFailReachesEveryCall(t *testing.T) {
	var failing string
	d := memvm.New(memvm.Options{Fail: func(op, id string) error {
		if op == failing {
			return errInjected
		}
		return nil
	}})
	run(t, d, "a", vm.Spec{})
	calls := map[string]func(ctx context.Context) error{
		"create":          func(ctx context.Context) error { return d.Create(ctx, "b", vm.Spec{}) },
		"stop":            func(ctx context.Context) error { return d.Stop(ctx, "a") },
		"snapshot":        func(ctx context.Context) error { return d.Snapshot(ctx, "a", "s") },
		"delete snapshot": func(ctx context.Context) error { return d.DeleteSnapshot(ctx, "a", "s") },
		"rename":          func(ctx context.Context) error { return d.Rename(ctx, "a", "b") },
	}
	for op, call := range calls {
		failing = op
		if err := call(t.Context()); !errors.Is(err, errInjected) {
			t.Errorf("%s: %v", op, err)
		}
		if got := d.Host().Objects(); !slices.Equal(got, []string{"guest a"}) {
			t.Errorf("%s left behind: %q", op, got)
		}
	}
	failing = "destroy"
	if err := d.Destroy(t.Context(), "a"); !errors.Is(err, errInjected) {
		t.Errorf("destroy: %v", err)
	}
	failing = ""
	must(t, d.Destroy(t.Context(), "a"))
	if got := d.Host().Objects(); len(got) > 0 {
		t.Errorf("destroy left behind: %q", got)
	}
}

func TestConsoleCutsBetweenCharacters(t *testing.T) {
	d := memvm.New(memvm.Options{})
	g := run(t, d, "a", vm.Spec{})
	for _, c := range []struct{ line, want string }{
		{"plain\r\n", "plain"},
		{strings.Repeat("x", 4096), strings.Repeat("x", 4096)},
		{strings.Repeat("x", 4097), strings.Repeat("x", 4096) + "...[truncated]"},
		{strings.Repeat("x", 4095) + "éé", strings.Repeat("x", 4095) + "...[truncated]"},
		{strings.Repeat("\x80", 5000), strings.Repeat("\x80", 4092) + "...[truncated]"},
	} {
		g.Print(c.line)
		got, err := d.ConsoleTail(t.Context(), "a", 1)
		must(t, err)
		if len(got) != 1 || got[0] != c.want {
			t.Errorf("line of %d bytes became %d lines, %d bytes", len(c.line), len(got), len(got[0]))
		}
	}
}

func TestStatsCountWhatTheGuestStored(t *testing.T) {
	d := memvm.New(memvm.Options{})
	g := run(t, d, "a", vm.Spec{MemoryMiB: 2})
	g.Set("key", "12345")
	got, err := d.Stats(t.Context(), "a")
	must(t, err)
	if got.MemoryBytes != 8 || got.MemoryLimitBytes != 2<<20 {
		t.Errorf("stats are %+v", got)
	}
}

func TestBasicHasNoOptionalInterface(t *testing.T) {
	d := memvm.Basic(memvm.New(memvm.Options{}))
	if _, ok := d.(vm.Renamer); ok {
		t.Error("a basic driver renames")
	}
	if caps := d.Info().Capabilities; len(caps) > 0 {
		t.Errorf("a basic driver lists %q", caps)
	}
}

func TestAnotherVersionIsIncompatible(t *testing.T) {
	old := memvm.New(memvm.Options{})
	run(t, old, "a", vm.Spec{Rootfs: "/rootfs"})
	must(t, old.Snapshot(t.Context(), "a", "s"))
	d := memvm.New(memvm.Options{Host: old.Host(), Version: "2"})
	spec := vm.Spec{RestoreFrom: &vm.SnapshotRef{VMID: "a", SnapshotID: "s"}}
	if err := d.Create(t.Context(), "b", spec); !errors.Is(err, vm.ErrIncompatible) {
		t.Errorf("restore: %v", err)
	}
	if v := d.Info().Version; v != "2" {
		t.Errorf("version %s", v)
	}
}

// TestSnapshotWithoutRoomLeavesNothing shows that a file that cannot be written
// fails the snapshot.
func TestSnapshotWithoutRoomLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	host := memvm.NewHostIn(filepath.Join(dir, "file"))
	must(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	d := memvm.New(memvm.Options{Host: host})
	run(t, d, "a", vm.Spec{})
	if err := d.Snapshot(t.Context(), "a", "s"); err == nil {
		t.Error("snapshot succeeded")
	}
	if got := host.Objects(); !slices.Equal(got, []string{"guest a"}) {
		t.Errorf("objects are %q", got)
	}
}

// TestAHungCallFailsHalfWay shows that what an abandoned call comes back with
// is undone, though it is not reported.
func TestAHungCallFailsHalfWay(t *testing.T) {
	released := make(chan struct{})
	d := memvm.New(memvm.Options{
		Hang: func(op, _ string) <-chan struct{} {
			if op == "snapshot" {
				return released
			}
			return nil
		},
		Fail: func(op, _ string) error {
			if op == "snapshot" {
				return errInjected
			}
			return nil
		},
	})
	run(t, d, "a", vm.Spec{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.Snapshot(ctx, "a", "s") }()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("the snapshot ended with %v", err)
	}
	close(released)
	if err := d.Destroy(t.Context(), "a"); err != nil {
		t.Error(err)
	}
	if got := d.Host().Objects(); len(got) > 0 {
		t.Errorf("left behind: %q", got)
	}
}
