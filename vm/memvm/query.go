package memvm

import (
	"context"
	"maps"
	"slices"

	"github.com/rundlet/rundlet/vm"
)

// Info implements vm.Query.
func (d *Driver) Info() vm.Info {
	return vm.Info{
		Driver:          "mem",
		Version:         d.opts.Version,
		Isolation:       "none: nothing is run",
		SnapshotCreated: true,
		Capabilities: []vm.Capability{
			vm.CapabilityAdopt, vm.CapabilityConsole, vm.CapabilityDeleteSnapshot, vm.CapabilityDial,
			vm.CapabilityForget, vm.CapabilityInspect, vm.CapabilityPageOut, vm.CapabilityReadLayer, vm.CapabilityRename, vm.CapabilityFilesystem, vm.CapabilityStats,
			vm.CapabilityWait, vm.CapabilityWeight,
		},
	}
}

// List implements vm.Query.
func (d *Driver) List(ctx context.Context) ([]vm.View, error) {
	if err := ctx.Err(); err != nil {
		return nil, fail("list", "", nil, err)
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	out := make([]vm.View, 0, len(d.records))
	for _, id := range sortedKeys(d.records) {
		if r := d.records[id]; r.status != "" {
			out = append(out, d.view(id, r))
		}
	}
	return out, nil
}

func sortedKeys(records map[string]*record) []string { return slices.Sorted(maps.Keys(records)) }

// Get implements vm.Query.
func (d *Driver) Get(ctx context.Context, id string) (vm.View, bool, error) {
	if err := ctx.Err(); err != nil {
		return vm.View{}, false, fail("get", id, nil, err)
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	r := d.records[id]
	if r == nil || r.status == "" {
		return vm.View{}, false, nil
	}
	return d.view(id, r), true, nil
}

// ListSnapshots implements vm.Query.
func (d *Driver) ListSnapshots(ctx context.Context, id string) ([]string, bool, error) {
	v, ok, err := d.Get(ctx, id)
	return v.Snapshots, ok, err
}

// view describes a record; d.mu is held.
func (d *Driver) view(id string, r *record) vm.View {
	v := vm.View{ID: id, Status: r.status, Snapshots: d.host.names(id), Busy: r.turn.Abandoned()}
	if r.guest != nil && r.guest.ended() {
		v.Status, v.ExitReason = vm.StatusStopped, r.guest.exitReason()
	}
	return v
}
