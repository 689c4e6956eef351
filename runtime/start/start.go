// Package start makes sandboxes run: it creates them, from a template, a snapshot or a
// warm machine, and resumes paused ones. It undoes failed starts.
package start

import (
	"context"
	"log/slog"
	"time"

	"github.com/rundlet/rundlet/runtime/admission"
	"github.com/rundlet/rundlet/runtime/background"
	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/runtime/end"
	"github.com/rundlet/rundlet/runtime/live"
	"github.com/rundlet/rundlet/runtime/machine"
	"github.com/rundlet/rundlet/runtime/orphan"
	"github.com/rundlet/rundlet/runtime/pool"
	"github.com/rundlet/rundlet/runtime/rows"
	"github.com/rundlet/rundlet/runtime/save"
	"github.com/rundlet/rundlet/runtime/step"
	"github.com/rundlet/rundlet/runtime/template"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
)

// Config holds the dependencies and settings of a Starter. All fields are required.
type Config struct {
	Instance, Node string
	Driver         vm.Runtime
	Network        machine.Network
	Store          Store
	Rows           *rows.Writer
	Live           *live.Set
	Admission      *admission.Controller
	Machines       *machine.Machines
	Claims         *claim.Claims
	Templates      *template.Templates
	// Built finds a template that a client built, by name and tag; sandbox.ErrTemplateNotFound.
	Built func(ctx context.Context, name string) (claim.Origin, error)
	Pool  *pool.Pool
	// Refresh begins the sync that a sandbox waits for, in the machine that it has now.
	Refresh    func(*live.Sandbox)
	Ender      *end.Ender
	Saver      *save.Saver
	Held       *orphan.InUse
	Steps      *step.Recorder
	Background *background.Group
	// MaxTimeout bounds the timeout of a sandbox.
	MaxTimeout time.Duration
	Log        *slog.Logger
}

// Store is what a Starter uses of the store, by table.
type Store struct {
	Snapshots interface {
		Get(ctx context.Context, idOrName string) (store.Snapshot, error)
	}
	Environments interface {
		Get(ctx context.Context, id string) (map[string]string, error)
		Put(ctx context.Context, id string, env map[string]string) error
	}
	SpawnCounts interface {
		Add(ctx context.Context, more map[string]store.Spawns) error
	}
}

// Starter makes sandboxes run. Safe for concurrent use.
type Starter struct {
	cfg  Config
	life context.Context
}

// New returns a Starter.
func New(cfg Config) *Starter { return &Starter{cfg: cfg, life: cfg.Background.Context()} }
