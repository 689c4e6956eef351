package runtime

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/rundlet/rundlet/policy/egress"
	"github.com/rundlet/rundlet/runtime/machine"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/memvm"
)

// recordingDriver reports lifecycle calls to the fixture. Destroy fails before
// it does anything, as a driver does that cannot end a process.
type recordingDriver struct {
	*memvm.Driver
	f *fixture
}

func (d recordingDriver) Create(ctx context.Context, id string, spec vm.Spec) error {
	if err := d.f.step("create"); err != nil {
		return err
	}
	return d.Driver.Create(ctx, id, spec)
}

func (d recordingDriver) Destroy(ctx context.Context, id string) error {
	if err := d.f.step("destroy"); err != nil {
		return err
	}
	return d.Driver.Destroy(ctx, id)
}

func (d recordingDriver) Snapshot(ctx context.Context, id, name string) error {
	if err := d.f.step("snapshot"); err != nil {
		return err
	}
	return d.Driver.Snapshot(ctx, id, name)
}

func (d recordingDriver) Start(ctx context.Context, id string) error {
	if err := d.f.step("start"); err != nil {
		return err
	}
	return d.Driver.Start(ctx, id)
}

func (d recordingDriver) Stop(ctx context.Context, id string) error {
	if err := d.f.step("stop"); err != nil {
		return err
	}
	return d.Driver.Stop(ctx, id)
}

func (d recordingDriver) SnapshotFilesystem(ctx context.Context, id, name string) error {
	if err := d.f.step("snapshot files"); err != nil {
		return err
	}
	return d.Driver.SnapshotFilesystem(ctx, id, name)
}

// Snapshots lists what the fixture says is damaged, too.
func (d recordingDriver) Snapshots(ctx context.Context) ([]vm.SnapshotInfo, error) {
	if err := d.f.failing("snapshots"); err != nil {
		return nil, err
	}
	all, err := d.Driver.Snapshots(ctx)
	d.f.mu.Lock()
	defer d.f.mu.Unlock()
	return append(all, d.f.damaged...), err
}

// InspectSnapshot gives every snapshot a file that can be damaged.
func (d recordingDriver) InspectSnapshot(ctx context.Context, id, name string) (vm.SnapshotInfo, error) {
	if err := d.f.failing("inspect"); err != nil {
		// As the driver says it of a snapshot that it cannot open.
		return vm.SnapshotInfo{}, &vm.Error{Op: "inspect snapshot", ID: id, Kind: vm.ErrIncompatible, Err: syscall.EMFILE}
	}
	info, err := d.Driver.InspectSnapshot(ctx, id, name)
	if err != nil {
		return info, err
	}
	path := filepath.Join(d.f.files, id+"-"+name)
	if _, err := os.Stat(path); err != nil {
		if err := os.WriteFile(path, []byte("memory"), 0o600); err != nil {
			return info, err
		}
	}
	info.Files = []vm.SnapshotFile{{Name: "pages.img", Path: path, Bytes: 6}}
	return info, nil
}

func (d recordingDriver) DeleteSnapshot(ctx context.Context, id, name string) error {
	if err := d.f.step("delete snapshot"); err != nil {
		return err
	}
	d.f.mu.Lock()
	defer d.f.mu.Unlock()
	d.f.damaged = slices.DeleteFunc(d.f.damaged, func(s vm.SnapshotInfo) bool { return s.VMID == id && s.SnapshotID == name })
	return d.Driver.DeleteSnapshot(ctx, id, name)
}

// Dial fails as the fixture says.
func (d recordingDriver) Dial(ctx context.Context, id string, port uint16) (net.Conn, error) {
	d.f.mu.Lock()
	fail := d.f.dial
	d.f.mu.Unlock()
	if fail != nil {
		if err := fail(id); err != nil {
			return nil, &vm.Error{Op: "dial", ID: id, Kind: vm.ErrUnavailable, Err: err}
		}
	}
	return d.Driver.Dial(ctx, id, port)
}

// fakeNetwork leases numbered slots.
type fakeNetwork struct {
	f        *fixture
	mu       sync.Mutex
	next     int
	leased   map[string]egress.Policy
	refused  map[string][]sandbox.Refusal
	refusals chan struct{} // Receives after refuse.
	broken   []string
}

func (n *fakeNetwork) Broken() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.broken
}

func (n *fakeNetwork) RefusedPackets() uint64 { return 5 }

func (n *fakeNetwork) Repairs() map[string]uint64 { return map[string]uint64{"uplink": 3} }

func (n *fakeNetwork) lose(what ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.broken = what
}

func (n *fakeNetwork) Acquire(_ context.Context, p egress.Policy) (machine.Slot, error) {
	if err := n.f.step("acquire"); err != nil {
		return machine.Slot{}, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.next++
	id := fmt.Sprintf("slot%d", n.next)
	n.leased[id] = p
	return machine.Slot{ID: id, NetNS: "/netns/" + id, GuestIP: netip.MustParseAddr("10.0.0.2")}, nil
}

func (n *fakeNetwork) Release(_ context.Context, id string) error {
	if err := n.f.step("release"); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.leased, id)
	return nil
}

func (n *fakeNetwork) SetEgress(ctx context.Context, id string, p egress.Policy) error {
	if err := errors.Join(ctx.Err(), n.f.step("set egress")); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, ok := n.leased[id]; !ok {
		return fmt.Errorf("%w: slot %s", sandbox.ErrNotFound, id)
	}
	n.leased[id] = p
	return nil
}

func (n *fakeNetwork) CheckProxy(ctx context.Context, p egress.Policy) error {
	if p.Proxy == (egress.Proxy{}) {
		return nil
	}
	return errors.Join(ctx.Err(), n.f.step("check proxy"))
}

func (n *fakeNetwork) Adopt(_ context.Context, inUse []string) (missing []string, err error) {
	err = n.f.failing("adopt network")
	n.mu.Lock()
	defer n.mu.Unlock()
	for id, p := range n.leased {
		p.Names, p.Headers = nil, nil // They are not known until the policy is set again.
		n.leased[id] = p
		if !slices.Contains(inUse, id) {
			delete(n.leased, id)
		}
	}
	for _, id := range inUse {
		if _, ok := n.leased[id]; !ok {
			missing = append(missing, id)
		}
	}
	return missing, err
}

func (n *fakeNetwork) CheckSelf(context.Context) error { return n.f.failing("check self") }

func (n *fakeNetwork) CheckPath(_ context.Context, slotID string) error {
	return n.f.failing("check path " + slotID)
}

func (n *fakeNetwork) Leased(context.Context) ([]machine.Slot, error) {
	if err := n.f.step("leased"); err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []machine.Slot
	for id := range n.leased {
		out = append(out, machine.Slot{ID: id, NetNS: "/netns/" + id})
	}
	return out, nil
}

func (n *fakeNetwork) has(id string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	_, ok := n.leased[id]
	return ok
}

// internet reports whether a leased slot has internet access.
func (n *fakeNetwork) internet(id string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.leased[id].Equal(egress.Everything)
}

func (n *fakeNetwork) Refusals() <-chan struct{} { return n.refusals }

// refuse makes a list of what a leased slot was refused.
func (n *fakeNetwork) refuse(id string, list ...sandbox.Refusal) {
	defer func() {
		select {
		case n.refusals <- struct{}{}:
		default: // It is to be received yet.
		}
	}()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.refused == nil {
		n.refused = map[string][]sandbox.Refusal{}
	}
	n.refused[id] = list
}

func (n *fakeNetwork) Refused(id string, since time.Time) ([]sandbox.Refusal, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, ok := n.leased[id]; !ok {
		return nil, errInjected
	}
	if list := n.refused[id]; len(list) > 0 && list[0].Last.After(since) {
		return list, nil
	}
	return nil, nil
}

func (n *fakeNetwork) Traffic(id string) (sandbox.Traffic, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, ok := n.leased[id]; !ok {
		return sandbox.Traffic{}, errInjected
	}
	return sandbox.Traffic{}, nil
}

// egress is what a leased slot reaches.
func (n *fakeNetwork) egress(id string) egress.Policy {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.leased[id]
}

func (n *fakeNetwork) count() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.leased)
}
