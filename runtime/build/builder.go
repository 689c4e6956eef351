// Package build builds templates: it reads a recipe, does its steps in a machine, keeps the state after each for later
// builds, and saves the machine as a build that sandboxes are made from. It may import sandbox, policy, store, vm and the
// parts of the runtime below it.
package build

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	stdruntime "runtime"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/rundlet/rundlet/runtime/background"
	"github.com/rundlet/rundlet/runtime/build/fold"
	"github.com/rundlet/rundlet/runtime/build/layers"
	"github.com/rundlet/rundlet/runtime/build/recipe"
	"github.com/rundlet/rundlet/runtime/build/site"
	"github.com/rundlet/rundlet/runtime/build/turns"
	"github.com/rundlet/rundlet/runtime/build/uploads"
	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/runtime/fault"
	"github.com/rundlet/rundlet/runtime/step"
	"github.com/rundlet/rundlet/runtime/template"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/store/builds"
)

// Store is what a Builder uses of the store, by table.
type Store struct {
	Builds    builds.Tables
	Snapshots interface {
		Get(ctx context.Context, idOrName string) (store.Snapshot, error)
		Page(ctx context.Context, p store.Page) ([]store.Snapshot, error)
	}
	Environments interface {
		Get(ctx context.Context, id string) (map[string]string, error)
	}
	SpawnCounts interface {
		All(ctx context.Context) (map[string]store.Spawns, error)
	}
}

// Config holds the dependencies and settings of a Builder. All fields but Image are required.
type Config struct {
	Site  site.Config
	Store Store
	// Resolve finds what sandboxes, and builds, are made from, by name.
	Resolve func(ctx context.Context, name string) (claim.Origin, error)
	// Image makes an image's root file system; nil: there are no images. progress receives lines for the log of the build.
	Image func(ctx context.Context, name string, registry *sandbox.Registry, progress func(string)) (template.Image, error)
	// HasImage reports whether an image is there already; nil: none is.
	HasImage func(name string) bool
	// Hold keeps the root of a machine until ctx ends; nil: nothing removes any.
	Hold func(ctx context.Context, root string) error
	// Fold makes images of what steps have written; nil: it stays in memory.
	Fold fold.Maker
	// Files is a directory for uploaded files.
	Files string
	Size  sandbox.Size
	// Base has the template that no client builds.
	Base *template.Templates
	// Keep receives what the default tag of a template names, and Drop the id of one that is gone: *pool.Pool keeps machines.
	Keep       func(from claim.Origin)
	Drop       func(templateID string)
	Steps      *step.Recorder
	Background *background.Group
	Log        *slog.Logger
}

// Builder builds templates. Safe for concurrent use.
type Builder struct {
	cfg    Config
	files  uploads.Store
	layers layers.Layers
	turns  *turns.Turns // bounds the builds that do something at the same time, by API key

	keeping sync.Mutex // held from the look at what is kept warm until Keep or Drop has it

	mu   sync.Mutex
	jobs map[string]*job // the latest of each template; guarded by mu
}

// New returns a Builder. RecoverBuilds is called once before the first build.
func New(cfg Config) *Builder {
	files := uploads.Store{Dir: cfg.Files, MaxBytes: maxUploads, Room: cfg.Site.Admission.CheckBuild}
	kept := layers.Layers{Claims: cfg.Site.Claims, Rows: cfg.Store.Snapshots, Uses: cfg.Store.Builds, Log: cfg.Log}
	return &Builder{cfg: cfg, files: files, layers: kept, turns: turns.New(2 * max(2, stdruntime.NumCPU())), jobs: map[string]*job{}}
}

// BeginBuild makes a build that waits for its recipe, and its template unless it is there.
func (b *Builder) BeginBuild(ctx context.Context, req sandbox.TemplateRequest) (sandbox.Build, error) {
	if err := req.Check(); err != nil {
		return sandbox.Build{}, err
	}
	if _, err := b.cfg.Base.Get(ctx, req.Name); err == nil {
		return sandbox.Build{}, fmt.Errorf("%w: the template %q is made by this machine: take another name", sandbox.ErrInvalid, req.Name)
	} else if !errors.Is(err, sandbox.ErrTemplateNotFound) {
		return sandbox.Build{}, err
	}
	if t, err := b.named(ctx, req.Name); err == nil && t.Name != req.Name {
		return sandbox.Build{}, fmt.Errorf("%w: %q is the id of another template: take another name", sandbox.ErrInvalid, req.Name)
	} else if err != nil && !errors.Is(err, sandbox.ErrTemplateNotFound) {
		return sandbox.Build{}, err
	}
	_, err := b.cfg.Store.Snapshots.Get(ctx, req.Name)
	if err == nil {
		return sandbox.Build{}, fmt.Errorf("%w: %q is the name of a snapshot: take another name", sandbox.ErrConflict, req.Name)
	}
	if !errors.Is(err, store.ErrNotFound) {
		return sandbox.Build{}, fault.Classify(err)
	}
	if len(req.Tags) == 0 {
		req.Tags = []string{sandbox.DefaultTag}
	}
	t := builds.Template{ID: sandbox.NewID()[1:], Name: req.Name, KeyID: req.KeyID, CreatedAt: time.Now()}
	row := builds.Build{
		ID: uuid.NewString(), State: sandbox.BuildWaiting, Tags: req.Tags, KeyID: req.KeyID, CreatedAt: time.Now(),
		VCPUs: cmp.Or(req.VCPUs, b.cfg.Size.VCPUs), MemoryMiB: cmp.Or(req.MemoryMiB, b.cfg.Size.MemoryMiB),
		DiskMiB: b.cfg.Size.DiskMiB + req.MinFreeDiskMiB, // The steps have the node's size.
	}
	err = b.cfg.Store.Builds.Begin(ctx, &t, &row, builds.Bounds{Waiting: mostWaiting, Templates: mostTemplates, Since: time.Now().Add(-maxWaiting)})
	var full *builds.BoundError
	switch {
	case errors.As(err, &full) && full.Waiting:
		return sandbox.Build{}, fault.Share("%d builds of this key wait for their recipes: send them first", full.Have)
	case errors.As(err, &full):
		return sandbox.Build{}, fault.Share("this key has %d templates and cannot have more: delete some of them", full.Have)
	case err != nil:
		return sandbox.Build{}, fault.Classify(err)
	}
	return view(t.Name, row), nil
}

// StartBuild gives a build its recipe. The build goes on when ctx ends. A build of the same template that does
// something else ends; one that does the same is waited for instead.
func (b *Builder) StartBuild(ctx context.Context, templateID, buildID string, r sandbox.Recipe) error {
	steps, err := recipe.Read(r)
	if err != nil {
		return err
	}
	t, row, err := b.find(ctx, templateID, buildID)
	if err != nil {
		return err
	}
	if row.State != sandbox.BuildWaiting {
		return fmt.Errorf("%w: build %s is %s already", sandbox.ErrConflict, row.ID, row.State)
	}
	contents, err := b.digests(t.ID, steps)
	if err != nil {
		return err
	}
	row.State = sandbox.BuildBuilding
	if err := b.cfg.Store.Builds.Put(ctx, &row); errors.Is(err, store.ErrStale) {
		return fmt.Errorf("%w: build %s has begun already", sandbox.ErrConflict, row.ID)
	} else if err != nil {
		return fault.Classify(err)
	}
	j := newJob(t, steps, contents, r, row)
	b.mu.Lock()
	defer b.mu.Unlock()
	before := b.jobs[t.ID]
	if before != nil && before.same(j) {
		if len(before.rows) >= maxPast {
			b.breakOff(row, "too many builds waited for the same result")
			return fault.Share("%d builds of this template wait for the same result: wait for one of them", len(before.rows))
		}
		before.rows = append(before.rows, row)
		return nil
	}
	var ended <-chan struct{}
	if before != nil {
		before.cancel(errReplaced)
		ended = before.done
	}
	life := b.cfg.Background.Context()
	j.ctx, j.cancel = context.WithCancelCause(life)
	if !b.cfg.Background.Go(func() {
		if ended != nil {
			<-ended
		}
		b.perform(j)
	}) {
		j.cancel(nil)
		return fmt.Errorf("%w: the daemon is shutting down", sandbox.ErrUnavailable)
	}
	b.jobs[t.ID] = j
	return nil
}

// find returns a build and its template; sandbox.ErrBuildNotFound.
func (b *Builder) find(ctx context.Context, templateID, buildID string) (builds.Template, builds.Build, error) {
	t, err := b.named(ctx, templateID)
	if err != nil {
		return t, builds.Build{}, err
	}
	row, err := b.cfg.Store.Builds.Get(ctx, buildID)
	if errors.Is(err, store.ErrNotFound) || err == nil && row.TemplateID != t.ID {
		err = fmt.Errorf("build %.128q of template %s: %w", buildID, t.ID, sandbox.ErrBuildNotFound)
	}
	return t, row, fault.Classify(err)
}

// named returns a template by id or name; sandbox.ErrTemplateNotFound.
func (b *Builder) named(ctx context.Context, idOrName string) (builds.Template, error) {
	t, err := b.cfg.Store.Builds.Template(ctx, idOrName)
	if errors.Is(err, store.ErrNotFound) {
		err = fmt.Errorf("template %.128q: %w", idOrName, sandbox.ErrTemplateNotFound)
	}
	return t, fault.Classify(err)
}

// view is a build for a client.
func view(name string, row builds.Build) sandbox.Build {
	v := sandbox.Build{
		ID: row.ID, TemplateID: row.TemplateID, Name: name, Tags: row.Tags, State: row.State,
		VCPUs: row.VCPUs, MemoryMiB: row.MemoryMiB, DiskMiB: row.DiskMiB, CreatedAt: row.CreatedAt, FinishedAt: row.FinishedAt, KeyID: row.KeyID,
	}
	if row.State == sandbox.BuildFailed {
		v.Failure = &sandbox.BuildFailure{Step: row.Step, Message: row.Message}
	}
	return v
}
