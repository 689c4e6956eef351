//go:build linux

// Package prune removes what a node keeps without a need: beside its daemon, or without one. It may import node, node/beside,
// node/space, image/catalogue, layout and vm; cmd may import it.
package prune

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/rundlet/rundlet/image/catalogue"
	"github.com/rundlet/rundlet/layout"
	"github.com/rundlet/rundlet/node"
	"github.com/rundlet/rundlet/node/beside"
	"github.com/rundlet/rundlet/node/space"
	"github.com/rundlet/rundlet/node/statedir"
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
	defer p.Close()
	// What is removed without a change of rows comes first, since a disk can be too full for one. Images come again after the
	// claims that name them.
	passes := [][]string{{space.Images, space.Uploads}, {space.Templates, space.Layers}, {space.Images}}
	if cfg.DryRun {
		passes = passes[:2]
	} else {
		defer func() { _ = statedir.Reserve(p.Dirs) }() // The daemon does so as well.
	}
	for _, kinds := range passes {
		objects, err := space.Objects(ctx, p.Dirs, p.Store, time.Now())
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
	*beside.Parts
	cfg       Config
	catalogue *catalogue.Catalogue
	done      []Removed
}

// open opens the parts of a node that know its files. It returns nil if the state directory has no database: it is not a node's.
func open(ctx context.Context, cfg Config) (*pruner, error) {
	if _, err := os.Stat(cfg.Dirs.Database()); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if cfg.DryRun {
		parts, err := beside.OpenToRead(ctx, cfg.Dirs, cfg.Driver)
		return &pruner{Parts: parts, cfg: cfg}, err
	}
	if err := statedir.Spend(cfg.Dirs); err != nil {
		return nil, err
	}
	driver, err := statedir.Driver(ctx, cfg.Dirs, cfg.Driver)
	if err != nil {
		return nil, err
	}
	node.SweepEphemeral(ctx, driver, cfg.Dirs, cfg.Log)
	parts, err := beside.Open(ctx, cfg.Dirs, cfg.Driver)
	return &pruner{Parts: parts, cfg: cfg}, err
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
		removed = p.Here(o.Claim)
	case p.cfg.DryRun:
	case o.Claim.ID != "":
		removed, err = p.Drop(ctx, o.Claim)
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

// errUnknown says that it is not known which images are needed.
var errUnknown = errors.New("the images that are needed are not known")

// image removes an image, unless a build has begun with it or something names it by now.
func (p *pruner) image(ctx context.Context, o space.Object) (removed bool, err error) {
	if p.catalogue == nil {
		if p.catalogue, err = catalogue.Open(catalogue.Config{Dir: p.Dirs.Images()}); err != nil {
			return false, err
		}
	}
	removed, err = p.catalogue.PruneOne(o.Paths[0], func() ([]string, error) {
		keep, known, err := space.Roots(ctx, p.Store)
		if err == nil && !known {
			err = errUnknown
		}
		return keep, err
	}, p.cfg.Images)
	if errors.Is(err, errUnknown) {
		return false, nil
	}
	return removed, err
}
