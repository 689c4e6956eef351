//go:build linux

// Package move takes templates from one node to another, by way of a registry, a directory or a file. It works on the state
// directory, beside the node's daemon or without one. What comes from elsewhere may have been made by anybody. It may import
// node/beside, node/space, image, the packages of runtime, store, sandbox, policy, layout and vm; cmd imports it.
package move

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/rundlet/rundlet/image/artifact"
	"github.com/rundlet/rundlet/image/oci"
	"github.com/rundlet/rundlet/image/oci/archive"
	"github.com/rundlet/rundlet/image/oci/registry"
	"github.com/rundlet/rundlet/layout"
	"github.com/rundlet/rundlet/node/beside"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/store/builds"
	"github.com/rundlet/rundlet/vm"
)

// Config says which node a template is of, and how a place is reached.
type Config struct {
	Dirs layout.Layout
	// Driver is the name of the node's driver; empty: the first that is available.
	Driver   string
	Registry registry.Config
	// TrustEngine permits a pull to bring the sandbox program that made the snapshot, which runs on this host as root. It is
	// needed if the template was made by another version of rundlet.
	TrustEngine bool
	// Progress, which may be nil, receives how many bytes of the template are done.
	Progress func(done, total int64)
	Log      *slog.Logger
}

func (c Config) progress(done, total int64) {
	if c.Progress != nil {
		c.Progress(done, total)
	}
}

// Moved describes a template that was pushed or pulled.
type Moved struct {
	Template string `json:"template"`
	// Place and Digest are where it is, or was.
	Place  string `json:"place"`
	Digest string `json:"digest"`
	// Bytes are those of its files, without compression.
	Bytes   int64  `json:"bytes"`
	BuildID string `json:"build_id"`
}

// place is what a user names: "oci:DIR", a file whose name ends in .tar, or a reference in a registry.
type place struct{ dir, file, reference string }

func placeOf(text string) place {
	if dir, ok := strings.CutPrefix(text, "oci:"); ok {
		return place{dir: dir}
	}
	if strings.HasSuffix(text, ".tar") {
		return place{file: text}
	}
	return place{reference: text}
}

// sink opens a place for a template with a name. done removes what is not whole.
func (p place) sink(ctx context.Context, name string, cfg registry.Config) (sink artifact.Sink, done func() error, err error) {
	done = func() error { return nil }
	switch {
	case p.dir != "":
		sink, err = archive.WriteDirectory(p.dir, name)
	case p.file != "":
		var t *archive.Tar
		if t, err = archive.WriteTar(p.file, name); err == nil {
			sink, done = t, t.Close
		}
	default:
		sink, err = registry.Push(ctx, p.reference, cfg)
	}
	return sink, done, err
}

// open finds the artifact in a place; name chooses one of several in a directory. A file that is compressed takes so many bytes of the disk
// of spool at most. The caller calls done when it has what it needs.
func (p place) open(ctx context.Context, name, spool string, most int64, cfg registry.Config) (blobs oci.Blobs, d v1.Descriptor, done func() error, err error) {
	if p.reference != "" {
		blobs, d, err = registry.Open(ctx, p.reference, cfg)
		return blobs, d, func() error { return nil }, err
	}
	a, err := archive.Open(ctx, cmp.Or(p.dir, p.file), spool, min(most, artifact.MaxBytes))
	if err != nil {
		return nil, d, nil, err
	}
	if d, err = a.Artifact(name); err != nil {
		return nil, d, nil, errors.Join(err, a.Close())
	}
	return a, d, a.Close, nil
}

// split reads NAME or NAME:TAG.
func split(text string) (name, tag string) {
	name, tag, found := strings.Cut(text, ":")
	if !found {
		tag = sandbox.DefaultTag
	}
	return name, tag
}

// find returns the claim of the build that a name means.
func find(ctx context.Context, db *store.Store, template string) (builds.Template, builds.Build, store.Snapshot, error) {
	name, tag := split(template)
	var n store.Snapshot
	t, err := db.Builds.Template(ctx, name)
	if errors.Is(err, store.ErrNotFound) {
		return t, builds.Build{}, n, fmt.Errorf("template %.128q: %w", name, sandbox.ErrTemplateNotFound)
	}
	if err != nil {
		return t, builds.Build{}, n, err
	}
	b, err := db.Builds.Tagged(ctx, t.ID, tag)
	if errors.Is(err, store.ErrNotFound) {
		return t, b, n, fmt.Errorf("template %s has no build with the tag %.128q: %w", name, tag, sandbox.ErrTemplateNotFound)
	}
	if err == nil {
		n, err = db.Snapshots.Get(ctx, b.SnapshotID)
	}
	return t, b, n, err
}

// mover returns the driver's part that moves snapshots.
func mover(p *beside.Parts) (vm.SnapshotMover, error) {
	m, ok := p.Driver.(vm.SnapshotMover)
	if !ok {
		return nil, fmt.Errorf("%w: the driver %s does not move snapshots", sandbox.ErrUnsupported, p.Driver.Info().Driver)
	}
	return m, nil
}
