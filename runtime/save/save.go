// Package save saves running sandboxes: it pauses them, by a call or by their timeout,
// and takes snapshots of those that go on. A save that fails is undone, and the sandbox
// runs on.
package save

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/rundlet/rundlet/runtime/admission"
	"github.com/rundlet/rundlet/runtime/background"
	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/runtime/end"
	"github.com/rundlet/rundlet/runtime/events"
	"github.com/rundlet/rundlet/runtime/live"
	"github.com/rundlet/rundlet/runtime/machine"
	"github.com/rundlet/rundlet/runtime/orphan"
	"github.com/rundlet/rundlet/runtime/recovery"
	"github.com/rundlet/rundlet/runtime/rows"
	"github.com/rundlet/rundlet/runtime/step"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
)

// Config holds the dependencies and settings of a Saver. All fields but Journal are required.
type Config struct {
	Driver     vm.Runtime
	Store      Store
	Rows       *rows.Writer
	Live       *live.Set
	Admission  *admission.Controller
	Machines   *machine.Machines
	Claims     *claim.Claims
	Ender      *end.Ender
	Held       *orphan.InUse
	Steps      *step.Recorder
	Background *background.Group
	Notes      *recovery.Notes
	// Journal decides which events a snapshot is; nil: none.
	Journal *events.Journal
	// Ready is closed when the daemon serves.
	Ready <-chan struct{}
	// Watch watches the machine that a sandbox has from now on.
	Watch func(*live.Sandbox)
	Log   *slog.Logger
}

// Store is what a Saver uses of the store, by table.
type Store struct {
	Snapshots interface {
		Get(ctx context.Context, idOrName string) (store.Snapshot, error)
		Put(ctx context.Context, n *store.Snapshot, events ...sandbox.Event) error
	}
	Environments interface {
		Copy(ctx context.Context, to, from string) error
	}
}

// Saver saves sandboxes. Safe for concurrent use.
type Saver struct {
	cfg  Config
	life context.Context
	late chan struct{} // bounds the pauses that a start leaves for later
}

// New returns a Saver.
func New(cfg Config) *Saver {
	return &Saver{cfg: cfg, life: cfg.Background.Context(), late: make(chan struct{}, LatePauses)}
}

// Func saves a machine under a name.
type Func func(ctx context.Context, id, name string) error

// By returns how the driver saves for a kind.
func (v *Saver) By(kind string) (Func, error) {
	if kind != claim.KindFilesystemPause {
		return v.cfg.Driver.Snapshot, nil
	}
	fs, ok := v.cfg.Driver.(vm.FilesystemSnapshotter)
	if !ok {
		return nil, fmt.Errorf("%w: driver %s cannot save the file system alone", sandbox.ErrUnsupported, v.cfg.Driver.Info().Driver)
	}
	return fs.SnapshotFilesystem, nil
}

// Files saves by a function of By, for a claim.
func (v *Saver) Files(ctx context.Context, id string, snap *store.Snapshot, save Func) error {
	if err := v.cfg.Store.Snapshots.Put(ctx, snap); err != nil {
		return err
	}
	if err := save(ctx, id, snap.Snapshot); err != nil {
		return err
	}
	return v.cfg.Claims.Saved(ctx, snap)
}
