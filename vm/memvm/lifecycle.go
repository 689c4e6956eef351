package memvm

import (
	"context"
	"slices"

	"github.com/rundlet/rundlet/internal/turn"
	"github.com/rundlet/rundlet/vm"
)

// fail wraps an error with the operation and the machine.
func fail(op, id string, kind, err error) error {
	return &vm.Error{Op: op, ID: id, Kind: kind, Err: err}
}

// Create implements vm.Provider.
func (d *Driver) Create(ctx context.Context, id string, spec vm.Spec) error {
	const op = "create"
	if err := vm.ValidateID(id); err != nil {
		return fail(op, id, nil, err)
	}
	if err := ctx.Err(); err != nil {
		return fail(op, id, nil, err)
	}
	if err := checkSpec(spec); err != nil {
		return fail(op, id, nil, err)
	}
	r := &record{}
	if !d.reserve(id, r) {
		return fail(op, id, vm.ErrAlreadyExists, nil)
	}
	spec = copySpec(spec)
	if err := r.turn.Lock(ctx, op); err != nil {
		d.forget(id)
		return fail(op, id, nil, err)
	}
	return r.turn.Run(ctx, turn.Bound, func() error {
		err := d.create(ctx, id, spec, r)
		if err != nil {
			d.forget(id)
		}
		return err
	})
}

func (d *Driver) create(ctx context.Context, id string, spec vm.Spec, r *record) error {
	const op = "create"
	g, err := d.host.boot(id, spec, d.HostStamp())
	if err != nil {
		return fail(op, id, nil, err)
	}
	// The machine of a hanging create is ended, which cancels the create.
	stop := context.AfterFunc(ctx, func() { g.exit(reasonDestroyed) })
	err = d.midway(ctx, op, id, g)
	if !stop() {
		err = fail(op, id, nil, ctx.Err())
	}
	if err != nil {
		d.host.free(g)
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	r.guest, r.status = g, g.state()
	return nil
}

// Start implements vm.Provider.
func (d *Driver) Start(ctx context.Context, id string) error {
	return d.move(ctx, "start", id, vm.StatusRunning, vm.StatusCreated, vm.StatusStopped)
}

// Stop implements vm.Provider.
func (d *Driver) Stop(ctx context.Context, id string) error {
	return d.move(ctx, "stop", id, vm.StatusStopped, vm.StatusRunning)
}

func (d *Driver) move(ctx context.Context, op, id string, to vm.Status, from ...vm.Status) error {
	r, status, err := d.begin(ctx, op, id)
	if err != nil {
		return err
	}
	return r.turn.Run(ctx, turn.Grace, func() error {
		if !slices.Contains(from, status) || r.guest.ended() {
			return vm.TransitionError(op, id, status, to)
		}
		if err := d.midway(ctx, op, id, r.guest); err != nil {
			return err
		}
		r.guest.setState(to)
		d.mu.Lock()
		defer d.mu.Unlock()
		r.status = to
		return nil
	})
}

// Snapshot implements vm.Provider.
func (d *Driver) Snapshot(ctx context.Context, id, snapshot string) error {
	return d.snapshot(ctx, id, snapshot, false)
}

// SnapshotFilesystem implements vm.FilesystemSnapshotter.
func (d *Driver) SnapshotFilesystem(ctx context.Context, id, snapshot string) error {
	return d.snapshot(ctx, id, snapshot, true)
}

func (d *Driver) snapshot(ctx context.Context, id, snapshot string, onlyFiles bool) error {
	const op = "snapshot"
	if err := vm.ValidateSnapshotID(snapshot); err != nil {
		return fail(op, id, nil, err)
	}
	r, status, err := d.begin(ctx, op, id)
	if err != nil {
		return err
	}
	return r.turn.Run(ctx, turn.Grace, func() error {
		if status == vm.StatusDestroyed || r.guest.ended() || onlyFiles && status == vm.StatusCreated {
			return vm.TransitionError(op, id, status, status)
		}
		return d.save(ctx, id, snapshot, r.guest, onlyFiles)
	})
}

// save is for the holder of the turn.
func (d *Driver) save(ctx context.Context, id, snapshot string, g *Guest, onlyFiles bool) error {
	const op = "snapshot"
	img := g.image()
	if onlyFiles {
		img = img.onlyFiles()
	}
	if !d.host.save(id, snapshot, img, d.HostStamp()) {
		return fail(op, id, vm.ErrAlreadyExists, nil)
	}
	if err := d.midway(ctx, op, id, g); err != nil {
		d.host.deleteSnapshot(id, snapshot)
		return err
	}
	if err := d.host.publish(id, snapshot); err != nil {
		d.host.deleteSnapshot(id, snapshot)
		return fail(op, id, nil, err)
	}
	return nil
}

// DeleteSnapshot implements vm.SnapshotDeleter.
func (d *Driver) DeleteSnapshot(ctx context.Context, vmID, snapshot string) error {
	const op = "delete snapshot"
	if err := vm.ValidateID(vmID); err != nil {
		return fail(op, vmID, nil, err)
	}
	if err := vm.ValidateSnapshotID(snapshot); err != nil {
		return fail(op, vmID, nil, err)
	}
	if err := d.midway(ctx, op, vmID, nil); err != nil {
		return err
	}
	d.host.deletePublished(vmID, snapshot)
	return nil
}

// Destroy implements vm.Provider. It runs to its end whatever happens to ctx,
// and ends the guest under a call that does not come back.
func (d *Driver) Destroy(ctx context.Context, id string) error {
	const op = "destroy"
	ctx = context.WithoutCancel(ctx)
	r, err := d.seize(op, id)
	if err != nil {
		return err
	}
	defer r.turn.Unlock()
	d.mu.RLock()
	status, g := r.status, r.guest
	d.mu.RUnlock()
	if status == vm.StatusDestroyed {
		return vm.TransitionError(op, id, status, vm.StatusDestroyed)
	}
	if err := d.midway(ctx, op, id, nil); err != nil {
		return err
	}
	d.mu.Lock()
	r.status, r.guest = vm.StatusDestroyed, nil
	d.mu.Unlock()
	d.host.free(g)
	return nil
}

// seize takes the machine's turn for its end.
func (d *Driver) seize(op, id string) (*record, error) {
	for {
		r, _ := d.lookup(id)
		if r == nil {
			return nil, fail(op, id, vm.ErrNotFound, nil)
		}
		d.mu.RLock()
		g := r.guest
		d.mu.RUnlock()
		if err := r.turn.Seize(op, func() {
			if g != nil {
				g.exit(reasonDestroyed)
			}
		}); err != nil {
			return nil, fail(op, id, nil, err)
		}
		if now, _ := d.lookup(id); now == r {
			return r, nil
		}
		r.turn.Unlock() // Renamed meanwhile.
	}
}

// Rename implements vm.Renamer.
func (d *Driver) Rename(ctx context.Context, oldID, newID string) (retErr error) {
	const op = "rename"
	if err := vm.ValidateID(newID); err != nil {
		return fail(op, oldID, nil, err)
	}
	r, status, err := d.begin(ctx, op, oldID)
	if err != nil {
		return err
	}
	defer r.turn.Unlock()
	switch {
	case status == vm.StatusDestroyed:
		return vm.TransitionError(op, oldID, status, status)
	case oldID == newID:
		return nil
	case d.host.hasSnapshots(newID) || !d.reserve(newID, &record{}):
		return fail(op, oldID, vm.ErrAlreadyExists, nil)
	}
	if err := d.midway(ctx, op, oldID, nil); err != nil {
		d.forget(newID)
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.host.rename(r.guest, oldID, newID); err != nil {
		delete(d.records, newID)
		return fail(op, oldID, nil, err)
	}
	d.records[newID] = r
	delete(d.records, oldID)
	return nil
}

// Forget implements vm.Forgetter.
func (d *Driver) Forget(ctx context.Context, id string) error {
	if err := ctx.Err(); err != nil {
		return fail("forget", id, nil, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.records[id]
	if r == nil {
		return nil
	}
	if r.status != vm.StatusDestroyed {
		return vm.TransitionError("forget", id, r.status, vm.StatusDestroyed)
	}
	delete(d.records, id)
	return nil
}

// reserve takes an unused id.
func (d *Driver) reserve(id string, r *record) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.records[id] != nil {
		return false
	}
	d.records[id] = r
	return true
}

func (d *Driver) forget(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.records, id)
}

// lookup returns a machine and its status, which is empty if it is unknown.
func (d *Driver) lookup(id string) (*record, vm.Status) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	r := d.records[id]
	if r == nil || r.status == "" {
		return nil, ""
	}
	status := r.status
	if r.guest != nil && r.guest.ended() {
		status = vm.StatusStopped
	}
	return r, status
}

// begin waits for the machine's turn. The caller gives it back.
func (d *Driver) begin(ctx context.Context, op, id string) (*record, vm.Status, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, "", fail(op, id, nil, err)
		}
		r, _ := d.lookup(id)
		if r == nil {
			return nil, "", fail(op, id, vm.ErrNotFound, nil)
		}
		if err := r.turn.Lock(ctx, op); err != nil {
			return nil, "", fail(op, id, nil, err)
		}
		// It may have been renamed meanwhile.
		if now, status := d.lookup(id); now == r {
			return r, status, nil
		}
		r.turn.Unlock()
	}
}

// midway is where a call can hang (with a guest), be held, made to fail, and
// cancelled.
func (d *Driver) midway(ctx context.Context, op, id string, g *Guest) error {
	if err := d.hang(op, id, g); err != nil {
		return err
	}
	if d.opts.Delay != nil {
		d.opts.Delay(ctx, op, id)
	}
	if err := ctx.Err(); err != nil {
		return fail(op, id, nil, err)
	}
	if d.opts.Fail != nil {
		if err := d.opts.Fail(op, id); err != nil {
			return fail(op, id, nil, err)
		}
	}
	return nil
}
