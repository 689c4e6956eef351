//go:build linux

// Package prune removes what a node keeps without a need: beside its daemon, or without one. It may import node, the packages
// below it, store, vm, image and runtime/step; cmd may import it.
package prune

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/rundlet/rundlet/image/catalogue"
	"github.com/rundlet/rundlet/layout"
	"github.com/rundlet/rundlet/node"
	"github.com/rundlet/rundlet/node/failpoint"
	"github.com/rundlet/rundlet/node/space"
	"github.com/rundlet/rundlet/node/statedir"
	"github.com/rundlet/rundlet/runtime/step"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
)

// Config says what to remove beside what nothing needs.
type Config struct {
	Dirs layout.Layout
	// Driver is the name of the driver of the node; empty: the first that is available.
	Driver string
	// Layers are the states after the steps of builds, Images those with a name of which nothing is made, and Uploads the files of
	// templates of which no build goes on.
	Layers, Images, Uploads bool
	// DryRun removes nothing.
	DryRun bool
	Log    *slog.Logger
}

func (c Config) removes(o space.Object) bool {
	switch o.Grade {
	case space.Unneeded:
		return true
	case space.Layer:
		return c.Layers
	case space.Named:
		return c.Images
	case space.Upload:
		return c.Uploads
	}
	return false
}

// Removed counts what was removed of a kind.
type Removed struct {
	Kind  string `json:"kind"`
	Count int    `json:"count"`
	Bytes int64  `json:"bytes"`
}

// Do removes what a node keeps without a need: beside its daemon, or without one. Sandboxes, snapshots, templates with a tag and
// orphans stay, and so does what a build, a create or a fork needs that goes on meanwhile. It can be broken off at any time. In a dry
// run, images that only layers need are not counted.
func Do(ctx context.Context, cfg Config) ([]Removed, error) {
	p, err := open(ctx, cfg)
	if err != nil || p == nil {
		return nil, err
	}
	defer p.close()
	// Images come after the claims that name them.
	for _, kinds := range [][]string{{space.Templates, space.Layers}, {space.Images, space.Uploads}} {
		objects, err := space.Objects(ctx, p.dirs, p.store, time.Now())
		if err != nil {
			return p.done, err
		}
		for _, o := range objects {
			if !slices.Contains(kinds, o.Kind) || !cfg.removes(o) {
				continue
			}
			if err := ctx.Err(); err != nil {
				return p.done, err
			}
			if err := p.remove(ctx, o); err != nil {
				return p.done, fmt.Errorf("prune %s: %w", o.Kind, err)
			}
		}
	}
	return p.done, nil
}

// pruner removes the objects of a node.
type pruner struct {
	cfg       Config
	dirs      layout.Layout
	store     *store.Store
	driver    vm.Runtime
	node      string // its id
	die       func(step string)
	catalogue *catalogue.Catalogue
	done      []Removed
	closers   []func() // in the order in which the parts were opened
}

func (p *pruner) close() {
	for _, f := range slices.Backward(p.closers) {
		f()
	}
}

// open opens the parts of a node that know its files; nil if there is no node.
func open(ctx context.Context, cfg Config) (_ *pruner, err error) {
	p := &pruner{cfg: cfg, dirs: cfg.Dirs}
	if _, err := os.Stat(p.dirs.Database()); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	driver, err := vm.FindDriver(cmp.Or(cfg.Driver, vm.AutoDriver))
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	unshare, err := statedir.Share(ctx, p.dirs)
	if err != nil {
		return nil, err
	}
	p.closers = append(p.closers, unshare)
	if p.dirs, err = statedir.Canonical(ctx, p.dirs); err != nil {
		return nil, err
	}
	if !cfg.DryRun {
		node.SweepEphemeral(ctx, driver, p.dirs, cfg.Log)
	}
	if p.die, err = failpoint.Of(); err != nil {
		return nil, err
	}
	if p.store, err = statedir.OpenToChange(ctx, p.dirs); err != nil {
		return nil, err
	}
	p.closers = append(p.closers, func() { p.store.Close() })
	if p.node, err = p.store.Settings.NodeID(ctx); err != nil {
		return nil, err
	}
	return p, p.openDriver(driver)
}

// openDriver opens the driver with a new run directory, as "rundlet run" does beside a daemon.
func (p *pruner) openDriver(driver vm.Driver) error {
	instance := statedir.NewEphemeral()
	unlock, err := statedir.LockInstance(p.dirs, instance)
	if err != nil {
		return err
	}
	run := p.dirs.InstanceDir(instance)
	p.closers = append(p.closers, func() {
		os.RemoveAll(run)
		unlock()
	})
	p.driver, err = driver.New(vm.Options{StateDir: p.dirs.DriverState(driver.Name), RunDir: filepath.Join(run, "vm"), Instance: instance})
	if closer, ok := p.driver.(io.Closer); ok && err == nil {
		p.closers = append(p.closers, func() { closer.Close() })
	}
	return err
}

// remove removes one object, if it is still not needed.
func (p *pruner) remove(ctx context.Context, o space.Object) error {
	bytes, err := space.Size(o)
	if err != nil {
		return err
	}
	removed := true
	switch {
	case p.cfg.DryRun && o.Claim.ID != "":
		removed = p.here(o.Claim)
	case p.cfg.DryRun:
	case o.Claim.ID != "":
		removed, err = p.drop(ctx, o.Claim)
	case o.Kind == space.Images:
		removed, err = p.image(ctx, o)
	default:
		removed, err = space.RemoveUpload(o)
	}
	if err != nil || !removed {
		return err
	}
	i := slices.IndexFunc(p.done, func(d Removed) bool { return d.Kind == o.Kind })
	if i < 0 {
		i, p.done = len(p.done), append(p.done, Removed{Kind: o.Kind})
	}
	p.done[i].Count++
	p.done[i].Bytes += bytes
	return nil
}

// here reports whether the files of a claim are those of this node and driver.
func (p *pruner) here(n store.Snapshot) bool {
	return (n.Node == "" || n.Node == p.node) && (n.Driver == "" || n.Driver == p.driver.Info().Driver)
}

// drop drops a claim, and the driver's snapshot with the last one. A row that was changed, or that a build has by now, stays. From the
// moment in which the row is gone its files are known to be garbage, which the daemon removes too.
func (p *pruner) drop(ctx context.Context, n store.Snapshot) (bool, error) {
	deleter, ok := p.driver.(vm.SnapshotDeleter)
	if !ok || !p.here(n) {
		return false, nil
	}
	last, err := p.store.Snapshots.Drop(ctx, n.ID, n.Version)
	if errors.Is(err, store.ErrStale) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	p.at(step.SnapshotDropped)
	if !last {
		return false, nil
	}
	if err := deleter.DeleteSnapshot(ctx, n.VMID, n.Snapshot); err != nil {
		return false, err
	}
	p.at(step.SnapshotDeleted)
	return true, nil
}

func (p *pruner) at(s step.Step) {
	if p.die != nil {
		p.die(string(s))
	}
}

// image removes an image, unless a build has begun with it or something names it by now.
func (p *pruner) image(ctx context.Context, o space.Object) (removed bool, err error) {
	if p.catalogue == nil {
		if p.catalogue, err = catalogue.Open(catalogue.Config{Dir: p.dirs.Images()}); err != nil {
			return false, err
		}
	}
	keep, known, err := space.Roots(ctx, p.store)
	if err != nil || !known {
		return false, err
	}
	return p.catalogue.PruneOne(o.Paths[0], keep, p.cfg.Images)
}
