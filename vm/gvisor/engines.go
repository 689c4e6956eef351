//go:build linux

package gvisor

import (
	"errors"
	"fmt"
	"maps"

	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/gvisor/engine"
	"github.com/rundlet/rundlet/vm/gvisor/files"
	"github.com/rundlet/rundlet/vm/gvisor/snapshots"
)

// engines keeps the engine (the program that runs as the processes of a sandbox) that made a
// snapshot, chooses the one of a machine, and removes those that nothing needs any more. Its
// methods may be called at the same time.
type engines struct {
	kept      engine.Kept
	current   string // The name of that of new machines; empty if it is not one of kept.
	dirs      files.Dirs
	machines  *table
	snapshots *snapshots.Store
}

// useEngine selects the engine of new machines, and returns its name; none if it is not kept.
func (c Config) useEngine(dirs files.Dirs) (name string, err error) {
	kept := engine.Kept(dirs.Engines())
	unlock, err := kept.Lock()
	if err != nil {
		return "", err
	}
	defer unlock()
	path := c.Engine
	if path == "" {
		if path, err = engine.Program.Extract(dirs.Engines()); err != nil {
			return "", err
		}
	}
	if name = kept.Name(path); name != "" {
		// A snapshot that names it must not survive it.
		if err := files.Sync(dirs.Engines()); err != nil {
			return "", err
		}
	}
	return name, engine.Use(path)
}

// forSnapshot is the engine of a machine that is made from a snapshot, or from none.
func (e *engines) forSnapshot(from *snapshots.Manifest) string {
	if from == nil || from.Engine == "" {
		return e.current
	}
	return from.Engine
}

// choose gives a machine that is being made from a snapshot, or from none, its engine. The
// machine holds it from then on: it is not removed before the machine is destroyed.
func (e *engines) choose(m *machine, from *snapshots.Manifest) error {
	name := e.forSnapshot(from)
	if name != e.current {
		unlock, err := e.kept.Lock()
		if err != nil {
			return err
		}
		defer unlock()
		if !e.kept.Has(name) {
			return &vm.Error{Op: "create", ID: m.id, Kind: vm.ErrIncompatible,
				Err:  fmt.Errorf("the sandbox program %s that made the snapshot is missing", name),
				Hint: "put it back as " + e.kept.Path(name) + " from a backup of the directory of the driver"}
		}
	}
	e.machines.setEngine(m, name)
	return nil
}

// describe adds to a manifest which engine and which version of gVisor made it. A snapshot
// without memory boots, with the engine of then.
func (e *engines) describe(m *machine, out *snapshots.Manifest) (err error) {
	if m.engine != e.current {
		if out.Version, err = engine.Version(m.sandbox.pid); err != nil {
			return err
		}
	}
	if out.Filesystem || m.engine == "" {
		return nil
	}
	out.Engine = m.engine
	if !e.kept.Has(m.engine) { // It was removed by hand.
		return e.kept.Recover(m.sandbox.pid)
	}
	return nil
}

// remove removes the engines that no snapshot, no machine and no new machine needs. It
// removes none if that is not certain: another driver may be about to save a machine, or a
// manifest cannot be read.
func (e *engines) remove() error {
	return e.kept.Remove(e.current, func() (map[string]bool, error) {
		if others, err := e.dirs.Others(); err != nil || len(others) > 0 {
			return nil, errors.Join(fmt.Errorf("other drivers use the directory: %q", others), err)
		}
		// Machines come first: the last thing that one does can be a snapshot.
		needed := e.machines.engines()
		running, err := engine.Running()
		if err != nil {
			return nil, err
		}
		saved, err := e.snapshots.Engines()
		if err != nil {
			return nil, err
		}
		maps.Copy(needed, running)
		maps.Copy(needed, saved)
		return needed, nil
	})
}

// freed is called when something that needed an engine is gone. What could not be decided
// now is decided at the next start.
func (e *engines) freed(name string) {
	if name != "" && name != e.current {
		_ = e.remove()
	}
}
