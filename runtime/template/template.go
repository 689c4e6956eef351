// Package template prepares templates: machines that were booted once and saved,
// for sandboxes to be restored from. Today there is one, base, which is made from
// an image of the host's own /usr. The package may import sandbox, policy, store,
// vm and the parts of the runtime below it: background, step, fault, orphan,
// claim, machine and admission.
package template

import (
	"context"
	"log/slog"
	"sync"

	"github.com/rundlet/rundlet/runtime/admission"
	"github.com/rundlet/rundlet/runtime/background"
	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/runtime/machine"
	"github.com/rundlet/rundlet/runtime/orphan"
	"github.com/rundlet/rundlet/runtime/step"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
)

// Image is the input of a template: a root file system and the program that runs in it.
type Image struct {
	// Spec holds Rootfs, Mounts, Args, Env and Cwd.
	Spec vm.Spec
	// Stamp changes whenever a snapshot made from the image would differ.
	Stamp string
	// Env and Defaults are what the image says about commands.
	Env      map[string]string
	Defaults sandbox.Defaults
}

// Store is what Templates use of the store, by table.
type Store struct {
	Templates interface {
		All(ctx context.Context) ([]store.Template, error)
		Put(ctx context.Context, t *store.Template) error
	}
	Garbage interface {
		Mark(ctx context.Context, vmID, snapshot string) error
	}
	Sandboxes interface {
		CountLive(ctx context.Context) (int, error)
	}
	Orphans interface {
		All(ctx context.Context) ([]store.Orphan, error)
	}
	// Specs returns the specs of the rows of several tables: see store.Store.Specs.
	Specs func(ctx context.Context) ([]string, error)
}

// Config holds the dependencies and settings of Templates. HostStamp and Prune may be nil.
type Config struct {
	// Base makes, or finds, the image of the template base, which stays until ctx ends or a row names it.
	Base func(ctx context.Context) (Image, error)
	// BaseUnlocked: Base may take long, since it pulls an image, and keeps that from others itself. It is called without Lock.
	BaseUnlocked bool
	// HostStamp changes, soon at the latest, when Base would return another image
	// because the host changed. It is cheap.
	HostStamp func() string
	// Prune removes every image but those with these root file systems.
	Prune func(ctx context.Context, keepRootfs func() ([]string, error)) error
	// Lock excludes all others that write rows of templates in the same state
	// directory, in this process and in others.
	Lock func(ctx context.Context) (unlock func(), err error)
	// Size is the size of the base.
	Size       sandbox.Size
	Driver     vm.Runtime
	Network    machine.Network
	Store      Store
	Machines   *machine.Machines
	Claims     *claim.Claims
	Admission  *admission.Controller
	InUse      *orphan.InUse
	Background *background.Group
	Steps      *step.Recorder
	// Keep receives each template that was built: *pool.Pool keeps machines of it.
	Keep func(from claim.Origin)
	// Progress receives a line about each long operation.
	Progress func(line string)
	Log      *slog.Logger
}

// Templates are the templates of one node. Safe for concurrent use.
type Templates struct {
	cfg  Config
	host string // the last HostStamp that Refresh saw

	mu       sync.Mutex
	building *build // the build of the base in flight, or the last; nil if none

	keeping sync.Mutex // held while a build is given to Config.Keep
}

// New returns Templates. Nothing is built before the first use.
func New(cfg Config) *Templates { return &Templates{cfg: cfg} }
