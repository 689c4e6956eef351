// Package layers keeps the states after the steps of builds, which are called layers, as snapshots for later builds. It may import
// sandbox, store, vm, runtime/claim and runtime/fault.
package layers

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/runtime/fault"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
)

const (
	// Most is how many layers a node keeps: those that were used last.
	Most = 64
	// MostBroken is how many layers a build tries that the driver fails to restore: each may take as long as a start may.
	MostBroken = 3
)

// Layers are those of one node. All fields are required. Safe for concurrent use.
type Layers struct {
	Claims interface {
		Find(ctx context.Context, idOrName, kind string) (store.Snapshot, error)
		Drop(ctx context.Context, id string) error
	}
	Rows interface {
		Page(ctx context.Context, p store.Page) ([]store.Snapshot, error)
	}
	Uses interface {
		UseLayer(ctx context.Context, claim string, now time.Time) error
	}
	Log *slog.Logger
}

// Name is the name of the claim of a layer, whose state has a name. No client can give a snapshot such a name.
func Name(state string) string { return "#" + state }

// Find returns the layer of a state, and whether it is there.
func (l Layers) Find(ctx context.Context, state string) (store.Snapshot, bool, error) {
	layer, err := l.Claims.Find(ctx, Name(state), claim.KindLayer)
	if errors.Is(err, sandbox.ErrSnapshotNotFound) {
		return layer, false, nil
	}
	return layer, err == nil, err
}

// Last restores the last of the layers of n states, and returns its index; -1 if there is none. state returns the name of a state, or
// an empty one for a state that has no layer. A layer that restore fails with is left out: failed is called, and broken has it. They are
// for Drop when something else was restored, which shows that the host can. An error is that of the host.
func (l Layers) Last(ctx context.Context, n int, state func(i int) string, restore func(store.Snapshot) error, failed func(i int, err error)) (last int, broken []store.Snapshot, err error) {
	tries := 0
	for i := n - 1; i >= 0; i-- {
		if state(i) == "" {
			continue
		}
		layer, found, err := l.Find(ctx, state(i))
		if err != nil {
			return -1, nil, err
		}
		if !found {
			continue
		}
		if tries < MostBroken { // Otherwise it is made anew as well.
			if err = restore(layer); err == nil {
				l.used(ctx, layer.ID)
				return i, broken, nil
			}
			switch FaultOf(ctx, err) {
			case OfHost:
				return -1, nil, err
			case Unknown:
				tries++
			}
			l.Log.Warn("a layer of a template cannot be restored, and is built anew", "snapshot_id", layer.ID, "error", err)
			failed(i, err)
		}
		broken = append(broken, layer)
	}
	return -1, broken, nil
}

func (l Layers) used(ctx context.Context, id string) {
	if err := l.Uses.UseLayer(ctx, id, time.Now()); err != nil {
		l.Log.Warn("could not note the use of a layer of a template", "snapshot_id", id, "error", err)
	}
}

// Drop drops layers.
func (l Layers) Drop(ctx context.Context, all []store.Snapshot) {
	for _, layer := range all {
		l.drop(ctx, layer.ID)
	}
}

func (l Layers) drop(ctx context.Context, id string) {
	if err := l.Claims.Drop(ctx, id); err != nil {
		l.Log.Warn("could not delete a layer of a template", "snapshot_id", id, "error", err)
	}
}

// Fault says whose fault it is that a layer was not restored.
type Fault int

// The faults: of the host, or of the build that ended, which say nothing about the layer; of the layer, as the driver says; and of one of
// the two, as far as the error says.
const (
	OfHost Fault = iota
	OfLayer
	Unknown
)

// FaultOf returns whose fault an error of a restore is.
func FaultOf(ctx context.Context, err error) Fault {
	err = fault.Classify(err)
	for _, host := range []error{sandbox.ErrCapacity, sandbox.ErrLacking, sandbox.ErrDiskFull, sandbox.ErrOutOfMemory, sandbox.ErrUnavailable, vm.ErrUnavailable} {
		if errors.Is(err, host) {
			return OfHost
		}
	}
	switch {
	case ctx.Err() != nil:
		return OfHost
	case errors.Is(err, vm.ErrIncompatible), errors.Is(err, vm.ErrNotFound):
		return OfLayer
	}
	return Unknown
}

// DropBut drops all but the layers that were used last. A build that begins with one goes on.
func (l Layers) DropBut(ctx context.Context, keep int) {
	layers, err := l.Rows.Page(ctx, store.Page{Kind: claim.KindLayer})
	if err != nil {
		l.Log.Warn("could not list the layers of templates", "error", err)
		return
	}
	l.Drop(ctx, layers[min(keep, len(layers)):])
}
