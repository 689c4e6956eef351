package firecracker

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/rundlet/rundlet/internal/netns"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/microvm/copies"
	"github.com/rundlet/rundlet/vm/microvm/drivertest"
	"github.com/rundlet/rundlet/vm/microvm/snapshots"
	"github.com/rundlet/rundlet/vm/microvm/tap"
)

// TestTheMemoryOfASnapshotIsThatOfItsMachine compares each page with what the process, whose machine stands still, has in its memory: in the first snapshot
// after a restore and in the next one, after one that failed, after a restart of the driver, and with a new name. Packets come before each.
func TestTheMemoryOfASnapshotIsThatOfItsMachine(t *testing.T) {
	needsKVM(t)
	ctx := drivertest.Context(t)
	d := memories{Driver: fc.NewDriver(t), t: t}
	d.DestroyAll(t)
	d.must(d.Create(ctx, "a", drivertest.Spec(t)), d.Start(ctx, "a"), d.Snapshot(ctx, "a", "s0"))

	d.restore(ctx, "b", "a", "s0")
	d.check(ctx, "b", "s1")
	d.check(ctx, "b", "s2")

	d.restore(ctx, "c", "b", "s2")
	inTheWay := filepath.Join(d.Disks(), d.Find(t, "c").Key, "firecracker", d.Find(t, "c").Key, "root", "memory")
	d.must(os.MkdirAll(filepath.Join(inTheWay, "full"), 0o700))
	d.change(ctx, "c", "failed")
	if err := d.Snapshot(ctx, "c", "failed"); err == nil {
		t.Fatal("a snapshot without memory")
	}
	d.must(os.RemoveAll(inTheWay))
	d.check(ctx, "c", "s3")

	d.restore(ctx, "d", "c", "s3")
	d.must(d.Close())
	d.Driver = fc.Open(t, d.Options)
	d.DestroyAll(t)
	if views, lost, err := d.Adopt(ctx); err != nil || len(lost) > 0 || len(views) != 1 {
		t.Fatalf("adopted %v, lost %v, %v", views, lost, err)
	}
	d.must(d.Rename(ctx, "d", "e"))
	d.check(ctx, "e", "s4")
	d.check(ctx, "e", "s5")
}

// memories is a driver with one machine, that was restored.
type memories struct {
	*drivertest.Driver
	t *testing.T
	// mapped is the inode of the memory from which it was restored.
	mapped uint64
	netNS  string
}

func (d *memories) must(errs ...error) {
	d.t.Helper()
	if err := errors.Join(errs...); err != nil {
		d.t.Fatal(err)
	}
}

// restore makes a machine of a snapshot, and ends the machine that the snapshot is of, and the snapshot.
func (d *memories) restore(ctx context.Context, id, from, snapshot string) {
	d.t.Helper()
	var st syscall.Stat_t
	d.must(syscall.Stat(d.memory(from, snapshot), &st))
	spec := drivertest.Spec(d.t)
	d.mapped, d.netNS = st.Ino, spec.NetNS
	d.must(d.Create(ctx, id, vm.Spec{NetNS: spec.NetNS, GuestIP: spec.GuestIP, RestoreFrom: &vm.SnapshotRef{VMID: from, SnapshotID: snapshot, ResumeImmediately: true}}),
		d.Destroy(ctx, from), d.DeleteSnapshot(ctx, from, snapshot))
}

// memory is the file of a snapshot.
func (d *memories) memory(id, snapshot string) string {
	return filepath.Join(d.Options.StateDir, "snapshots", id, snapshot, snapshots.MemoryFile)
}

// change sends as many packets as the guest has given its network device buffers, and writes to the disk.
func (d *memories) change(ctx context.Context, id, name string) {
	d.t.Helper()
	noise := make([]byte, 256<<10)
	_, _ = rand.Read(noise)
	c := drivertest.Client{D: d.Driver}
	d.must(c.Write(ctx, id, name, string(noise)), drivertest.Disk{Client: c}.Write(ctx, id, name, string(noise)))
}

// check saves a machine that has changed, and compares.
func (d *memories) check(ctx context.Context, id, name string) {
	d.t.Helper()
	d.change(ctx, id, name)
	// A packet that came after the snapshot would be a difference.
	d.network(false)
	defer d.network(true)
	d.must(d.Stop(ctx, id), d.Snapshot(ctx, id, name))
	d.same(id, name)
	d.must(d.Start(ctx, id))
}

// network lets packets to the guest, or none.
func (d *memories) network(on bool) {
	d.t.Helper()
	d.must(netns.At(d.netNS, func() error {
		device, err := netlink.LinkByName(tap.Device)
		if err != nil {
			return err
		}
		if on {
			return netlink.LinkSetUp(device)
		}
		return netlink.LinkSetDown(device)
	}))
}

// same compares a snapshot with the memory of the process.
func (d *memories) same(id, name string) {
	d.t.Helper()
	const size, page = 128 << 20, 4096
	pid := d.Find(d.t, id).PID
	mapping, err := copies.FindMemory(pid, d.mapped, size)
	d.must(err)
	process, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	d.must(err)
	defer process.Close()
	saved, err := os.Open(d.memory(id, name))
	d.must(err)
	defer saved.Close()
	live := io.NewSectionReader(process, mapping.Begin(), size)
	x, y := make([]byte, page), make([]byte, page)
	differ, zero := []int{}, 0
	for i := range size / page {
		_, errX := io.ReadFull(saved, x)
		_, errY := io.ReadFull(live, y)
		d.must(errX, errY)
		if !bytes.Equal(x, y) {
			differ = append(differ, i)
		}
		if len(bytes.Trim(y, "\x00")) == 0 {
			zero++
		}
	}
	if n, err := saved.Read(x); err != io.EOF {
		d.t.Errorf("%s: %d bytes more, %v", name, n, err)
	}
	d.t.Logf("%s: %d of %d pages are zero", name, zero, size/page)
	if len(differ) > 0 || zero == size/page {
		d.t.Errorf("%s: %d pages differ: %d", name, len(differ), differ)
	}
}
