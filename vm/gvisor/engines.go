//go:build linux

package gvisor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"

	"github.com/rundlet/rundlet/internal/durable"
	"github.com/rundlet/rundlet/internal/machines"
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
	program   string // The path by which processes start it.
	version   string // That of gVisor in it.
	dirs      files.Dirs
	machines  *machines.Table[*machine]
	snapshots *snapshots.Store

	mu sync.Mutex // of the engine of each machine
}

// useEngine selects the engine of new machines. It returns its name, which is empty if it is not kept, and
// the path by which processes start it.
func (c Config) useEngine(dirs files.Dirs) (name, program string, err error) {
	kept := engine.Kept(dirs.Engines())
	unlock, err := kept.Lock(context.Background())
	if err != nil {
		return "", "", err
	}
	defer unlock()
	path := c.Engine
	if path == "" {
		if path, err = engine.Program.Extract(dirs.Engines()); err != nil {
			return "", "", err
		}
	}
	if name = kept.Name(path); name != "" {
		// A snapshot that names it must not survive it.
		if err := durable.Sync(dirs.Engines()); err != nil {
			return "", "", err
		}
	}
	program, err = engine.Use(path)
	return name, program, err
}

// forSnapshot is the engine of a machine that is made from a snapshot, or from none. One without
// memory boots anew, and so with the present engine, unless another version of gVisor saved its
// files.
func (e *engines) forSnapshot(from *snapshots.Manifest) string {
	if from == nil || from.Engine == "" || from.Filesystem && from.Version == e.version {
		return e.current
	}
	return from.Engine
}

// choose gives a machine that is being made from a snapshot, or from none, its engine. The
// machine holds it from then on: it is not removed before the machine is destroyed.
func (e *engines) choose(ctx context.Context, m *machine, from *snapshots.Manifest) error {
	name := e.forSnapshot(from)
	if name != e.current {
		unlock, err := e.kept.Lock(ctx)
		if err != nil {
			return err
		}
		defer unlock()
		if err := e.kept.Check(name); err != nil {
			return &vm.Error{Op: "create", ID: m.ID(), Kind: vm.ErrIncompatible,
				Err:  fmt.Errorf("the sandbox program %s that made the snapshot cannot be used: %w", name, err),
				Hint: "put it back as " + e.kept.Path(name) + " from a backup of the directory of the driver"}
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	m.engine = name
	return nil
}

// inUse are the engines of the machines that are not destroyed.
func (e *engines) inUse() map[string]bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	names := map[string]bool{}
	for _, m := range e.machines.All() {
		if _, status, _ := e.machines.State(m); status != vm.StatusDestroyed {
			names[m.engine] = true
		}
	}
	return names
}

// describe adds to a manifest which engine and which version of gVisor made it.
func (e *engines) describe(m *machine, out *snapshots.Manifest) (err error) {
	if m.engine != e.current {
		if out.Version, err = engine.Version(m.sandbox.PID); err != nil {
			return err
		}
	}
	if out.Engine = m.engine; m.engine == "" || e.kept.Same(m.engine, m.sandbox.PID) {
		return nil
	}
	return e.kept.Recover(m.sandbox.PID) // It was removed by hand, or damaged.
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
		needed := e.inUse()
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
	if name == "" || name == e.current || e.inUse()[name] {
		return
	}
	// With many snapshots one that needs it is soon found, and all are looked at for the last.
	if needed, err := e.snapshots.NeedEngine(name); err == nil && !needed {
		_ = e.remove()
	}
}
