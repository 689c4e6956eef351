//go:build linux

// Package mover takes snapshots to other hosts, and makes snapshots of what comes from them, with their engines. It knows no
// machine. It may import vm, vm/gvisor/engine and vm/gvisor/snapshots; only the driver imports it.
package mover

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/gvisor/engine"
	"github.com/rundlet/rundlet/vm/gvisor/snapshots"
)

// Mover implements vm.SnapshotMover. Only snapshots of machines whose root is an image can go to another host.
type Mover struct {
	kept  engine.Kept
	saved *snapshots.Store
}

// New returns a Mover of snapshots and engines.
func New(kept engine.Kept, saved *snapshots.Store) Mover { return Mover{kept, saved} }

var _ vm.SnapshotMover = Mover{}

func failure(op, id string, err error) error {
	var known *vm.Error
	if errors.As(err, &known) {
		return err
	}
	return &vm.Error{Op: op, ID: id, Err: err}
}

// ExportSnapshot implements vm.SnapshotMover.
func (v Mover) ExportSnapshot(ctx context.Context, vmID, snapshot string) (out vm.MovedSnapshot, err error) {
	fail := func(err error) (vm.MovedSnapshot, error) { return out, failure("export snapshot", vmID, err) }
	if err := errors.Join(vm.ValidateID(vmID), vm.ValidateSnapshotID(snapshot), ctx.Err()); err != nil {
		return fail(err)
	}
	info, err := v.saved.Inspect(vmID, snapshot)
	if errors.Is(err, os.ErrNotExist) {
		return fail(fmt.Errorf("%w: snapshot %s", vm.ErrNotFound, snapshot))
	}
	if err != nil {
		return fail(fmt.Errorf("%w: %w", vm.ErrIncompatible, err))
	}
	description, m, err := v.saved.Export(vmID, snapshot)
	if err != nil {
		return fail(err)
	}
	if err := v.kept.Check(m.Engine); err != nil {
		return fail(fmt.Errorf("%w: the sandbox program %s that made it: %w", vm.ErrIncompatible, m.Engine, err))
	}
	out = vm.MovedSnapshot{Description: description, Root: vm.SnapshotFile{Name: "root", Path: m.Spec.Rootfs},
		Engine: vm.SnapshotFile{Name: m.Engine, Path: v.kept.Path(m.Engine)}}
	for _, f := range info.Files {
		if _, saved := m.Files[f.Name]; saved {
			out.Files = append(out.Files, f)
		}
	}
	return out, nil
}

// CheckImport implements vm.SnapshotMover.
func (v Mover) CheckImport(_ context.Context, description []byte) (missing string, err error) {
	m, err := v.saved.ReadMoved(description)
	if err != nil {
		return "", failure("import snapshot", "", err)
	}
	if v.kept.Check(m.Engine) == nil {
		return "", nil
	}
	return m.Engine, nil
}

// ImportSnapshot implements vm.SnapshotMover.
func (v Mover) ImportSnapshot(ctx context.Context, vmID, snapshot string, in vm.ImportedSnapshot) (vm.Spec, error) {
	fail := func(err error) (vm.Spec, error) { return vm.Spec{}, failure("import snapshot", vmID, err) }
	if err := errors.Join(vm.ValidateID(vmID), vm.ValidateSnapshotID(snapshot), ctx.Err()); err != nil {
		return fail(err)
	}
	m, err := v.saved.ReadMoved(in.Description)
	if err != nil {
		return fail(err)
	}
	unlock, err := v.kept.Lock(ctx) // Until the snapshot needs it, nothing else keeps it.
	if err != nil {
		return fail(err)
	}
	defer unlock()
	if err := v.kept.Check(m.Engine); err != nil {
		if in.Engine == "" {
			return fail(fmt.Errorf("%w: the sandbox program %s that made it: %w", vm.ErrIncompatible, m.Engine, err))
		}
		if err := v.take(m.Engine, in.Engine); err != nil {
			return fail(err)
		}
	}
	spec, err := v.saved.Import(m, in.Dir, in.Root, vmID, snapshot)
	if err != nil {
		return fail(err)
	}
	return spec, nil
}

// take keeps an engine that came with a snapshot. The caller holds the lock.
func (v Mover) take(name, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	// A release finds its own by the name: another one must not lie there.
	switch own, err := engine.NameOf(f); {
	case err != nil:
		return err
	case own != name:
		return fmt.Errorf("%w: its sandbox program must be %s, and is %s", vm.ErrIncompatible, name, own)
	}
	if err := v.kept.Put(name, f); err != nil {
		return err
	}
	if err := v.kept.Check(name); err != nil {
		return errors.Join(fmt.Errorf("%w: its sandbox program: %w", vm.ErrIncompatible, err), os.Remove(v.kept.Path(name)))
	}
	return nil
}
