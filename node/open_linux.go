package node

import (
	"context"
	"fmt"
	"os"

	"github.com/rundlet/rundlet/node/statedir"
	"github.com/rundlet/rundlet/vm"
)

// open takes the locks of the node and assembles it.
func open(ctx context.Context, driver vm.Driver, cfg Config) (_ *Node, err error) {
	if os.Geteuid() != 0 {
		return nil, &vm.Error{Op: "open node", Kind: vm.ErrUnsupported,
			Err: fmt.Errorf("sandboxes need root for namespaces and control groups"), Hint: "run it with sudo"}
	}
	dirs := cfg.Dirs
	lock := statedir.Lock
	if cfg.Ephemeral {
		lock = statedir.Share
	}
	unlockState, err := lock(ctx, dirs)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			unlockState()
		}
	}()
	if dirs, err = statedir.Canonical(ctx, dirs); err != nil {
		return nil, err
	}
	instance := dirs.Instance()
	if cfg.Ephemeral {
		instance = statedir.NewEphemeral()
	} else if err := statedir.CheckRunDir(dirs); err != nil {
		return nil, err
	}
	if !cfg.AcceptEmptyDatabase {
		if err := statedir.CheckDatabase(ctx, dirs); err != nil {
			return nil, err
		}
	}
	unlock, err := statedir.LockInstance(dirs, instance)
	if err != nil {
		return nil, err
	}
	SweepEphemeral(ctx, driver, dirs, cfg.Log)
	if err := statedir.Reserve(dirs); err != nil {
		cfg.Log.Warn("no room is kept for a prune of a full disk", "error", err)
	}
	n, err := assemble(ctx, driver, dirs, instance, cfg)
	if err != nil {
		unlock()
		return nil, err
	}
	n.closers = append([]func(context.Context) error{func(context.Context) error {
		if cfg.Ephemeral {
			os.RemoveAll(dirs.InstanceDir(instance))
		}
		unlock()
		unlockState()
		return nil
	}}, n.closers...)
	return n, nil
}
