//go:build linux

// Package beside opens the database and the driver of a node for a command that changes its files, beside the node's daemon or
// without one: the rows and their versions say what belongs to whom. It may import node/statedir, node/failpoint, store, vm, layout
// and runtime/step; node/prune and node/move import it.
package beside

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/rundlet/rundlet/layout"
	"github.com/rundlet/rundlet/node/failpoint"
	"github.com/rundlet/rundlet/node/statedir"
	"github.com/rundlet/rundlet/runtime/step"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
)

// Parts are those of a node. The caller closes them.
type Parts struct {
	Dirs  layout.Layout
	Store *store.Store
	// Driver is nil in parts that are for reading.
	Driver vm.Runtime
	// Node is its id.
	Node string

	driver  string // its name
	die     func(step string)
	closers []func() // in the order in which the parts were opened
}

// Open opens the parts; driver is the name of the node's driver, or empty for that of the state directory. A database that is
// not there is made; one of an older program is not changed.
func Open(ctx context.Context, dirs layout.Layout, driver string) (_ *Parts, err error) {
	d, err := statedir.Driver(ctx, dirs, driver)
	if err != nil {
		return nil, err
	}
	p := &Parts{Dirs: dirs, driver: d.Name}
	defer func() {
		if err != nil {
			p.Close()
		}
	}()
	unshare, err := statedir.Share(ctx, dirs)
	if err != nil {
		return nil, err
	}
	p.closers = append(p.closers, unshare)
	if p.Dirs, err = statedir.Canonical(ctx, dirs); err != nil {
		return nil, err
	}
	if p.die, err = failpoint.Of(); err != nil {
		return nil, err
	}
	if p.Store, err = statedir.OpenToChange(ctx, p.Dirs); err != nil {
		return nil, err
	}
	p.closers = append(p.closers, func() { p.Store.Close() })
	if p.Node, err = p.Store.Settings.NodeID(ctx); err != nil {
		return nil, err
	}
	return p, p.open(d)
}

// OpenToRead opens the parts of a node whose database is there, without a driver and without a change of anything: no byte of the
// disk needs to be free.
func OpenToRead(ctx context.Context, dirs layout.Layout, driver string) (_ *Parts, err error) {
	d, err := statedir.Driver(ctx, dirs, driver)
	if err != nil {
		return nil, err
	}
	p := &Parts{driver: d.Name}
	if p.Dirs, err = statedir.Canonical(ctx, dirs); err != nil {
		return nil, err
	}
	if p.Store, err = statedir.OpenToRead(ctx, p.Dirs); err != nil {
		return nil, err
	}
	p.closers = append(p.closers, func() { p.Store.Close() })
	if p.Node, err = p.Store.Settings.KnownNodeID(ctx); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// open opens the driver with a new run directory, as "rundlet run" does beside a daemon.
func (p *Parts) open(driver vm.Driver) error {
	instance := statedir.NewEphemeral()
	unlock, err := statedir.LockInstance(p.Dirs, instance)
	if err != nil {
		return err
	}
	run := p.Dirs.InstanceDir(instance)
	p.closers = append(p.closers, func() {
		os.RemoveAll(run)
		unlock()
	})
	p.Driver, err = driver.New(vm.Options{StateDir: p.Dirs.DriverState(driver.Name), Kernels: p.Dirs.Kernels(), RunDir: filepath.Join(run, "vm"), Instance: instance})
	if closer, ok := p.Driver.(io.Closer); ok && err == nil {
		p.closers = append(p.closers, func() { closer.Close() })
	}
	return err
}

// Close closes the parts.
func (p *Parts) Close() {
	for _, f := range slices.Backward(p.closers) {
		f()
	}
	p.closers = nil
}

// Here reports whether the files of a claim are those of this node and driver.
func (p *Parts) Here(n store.Snapshot) bool {
	return (n.Node == "" || n.Node == p.Node) && (n.Driver == "" || n.Driver == p.driver)
}

// Drop drops a claim as it was read, and the driver's snapshot with the last one. A row that was changed, or that a build with a tag has by
// now, stays, and so do files that have other claims: then removed is false. From the moment in which the row is gone its files
// are known to be garbage, which a daemon removes too.
func (p *Parts) Drop(ctx context.Context, n store.Snapshot) (removed bool, err error) {
	deleter, ok := p.Driver.(vm.SnapshotDeleter)
	if !ok || !p.Here(n) {
		return false, nil
	}
	last, err := p.Store.Snapshots.Drop(ctx, n.ID, n.Version)
	if errors.Is(err, store.ErrStale) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	p.At(step.SnapshotDropped)
	if !last {
		return false, nil
	}
	if err := deleter.DeleteSnapshot(ctx, n.VMID, n.Snapshot); err != nil {
		return false, err
	}
	p.At(step.SnapshotDeleted)
	return true, nil
}

// At passes a step, where a test may end the process.
func (p *Parts) At(s step.Step) {
	if p.die != nil {
		p.die(string(s))
	}
}
