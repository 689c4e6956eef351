// Package warm keeps how many machines of each template shall be warm: as the daemon was started, and as clients have said
// since. What clients say is stored, and holds after the next start. Package pool makes the machines.
package warm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/runtime/fault"
	"github.com/rundlet/rundlet/runtime/pool"
	"github.com/rundlet/rundlet/runtime/template"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// Config holds the dependencies and settings of Targets. All fields are required.
type Config struct {
	Store store.Warm
	// Base is kept of the base, and Named of templates that clients build, if no client says something else.
	Base  pool.Target
	Named map[string]pool.Target
	// Sandboxes is how many sandboxes the node runs.
	Sandboxes int
	// Ephemeral: the node shares its database with the daemon that clients talk to, and keeps what it was started with.
	Ephemeral bool
	Pool      Pool
	Templates Templates
	Builds    Builds
	Log       *slog.Logger
}

// Pool is the part of a pool.Pool that is used here.
type Pool interface {
	SetTarget(name string, t pool.Target)
	// Ready is how many machines run and can be handed out, by the names of templates.
	Ready(now time.Time) map[string]int
}

// Templates gives the pool what machines of the base are made from.
type Templates interface{ KeepBase() }

// Builds knows the templates that clients build, by their names; sandbox.ErrTemplateNotFound.
type Builds interface {
	BuildOrigin(ctx context.Context, name string) (claim.Origin, error)
	// KeepBuild gives the pool what machines of a template are made from.
	KeepBuild(ctx context.Context, name string) error
}

// Targets is safe for concurrent use.
type Targets struct {
	cfg Config
	mu  sync.Mutex // held during changes
}

// Load sets the targets of the pool: what the daemon was started with, and what clients have said. Rows that cannot be read are logged:
// the daemon serves without them.
func Load(ctx context.Context, cfg Config) *Targets {
	t := &Targets{cfg: cfg}
	set, err := t.stored(ctx)
	if err != nil {
		cfg.Log.Warn("could not read how many machines of templates shall be warm; it is as the daemon was started", "error", err)
	}
	for name := range t.all(set) {
		cfg.Pool.SetTarget(name, t.target(name, set))
	}
	return t
}

// stored is what clients have said. A database of another node may have more than this one runs: it keeps as many as it can.
func (t *Targets) stored(ctx context.Context) (map[string]int, error) {
	if t.cfg.Ephemeral {
		return map[string]int{}, nil
	}
	set, err := t.cfg.Store.All(ctx)
	for name, ready := range set {
		set[name] = max(0, min(ready, t.cfg.Sandboxes))
	}
	return set, fault.Classify(err)
}

// all are the names for which there is a number.
func (t *Targets) all(set map[string]int) map[string]bool {
	names := map[string]bool{template.BaseAlias: true}
	for name := range t.cfg.Named {
		names[name] = true
	}
	for name := range set {
		names[name] = true
	}
	return names
}

// started is what the daemon was started with.
func (t *Targets) started(name string) pool.Target {
	if name == template.BaseAlias {
		return t.cfg.Base
	}
	return t.cfg.Named[name]
}

// target is what is kept of a template.
func (t *Targets) target(name string, set map[string]int) pool.Target {
	target := t.started(name)
	if ready, ok := set[name]; ok {
		target.Ready, target.MaxAge = ready, t.cfg.Base.MaxAge
		if ready == 0 { // None, in whatever state.
			target.Prepared = 0
		}
	}
	if target.Ready == 0 && target.Prepared == 0 {
		return pool.Target{}
	}
	return target
}

// WarmTemplates lists what is kept warm, by name.
func (t *Targets) WarmTemplates(ctx context.Context) ([]sandbox.WarmTemplate, error) {
	set, err := t.stored(ctx)
	if err != nil {
		return nil, err
	}
	now := t.cfg.Pool.Ready(time.Now())
	var list []sandbox.WarmTemplate
	for _, name := range slices.Sorted(maps.Keys(t.all(set))) {
		w := sandbox.WarmTemplate{Name: name, Ready: t.target(name, set).Ready, Now: now[name]}
		_, w.Set = set[name]
		switch err := t.known(ctx, name); {
		case errors.Is(err, sandbox.ErrTemplateNotFound):
			w.Missing = true
		case err != nil:
			return nil, err
		}
		list = append(list, w)
	}
	return list, nil
}

// KeepWarm keeps so many machines of a template running from now on, of the build with the default tag; nil: as many as the daemon was
// started with. Machines that are too many end, and those that are missing are made in the background. The errors
// are sandbox.ErrInvalid and, for a template that does not exist and would have machines, sandbox.ErrTemplateNotFound.
func (t *Targets) KeepWarm(ctx context.Context, name string, ready *int) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.cfg.Ephemeral {
		return fmt.Errorf("%w: warm pool: this node keeps as many sandboxes as it was started with", sandbox.ErrInvalid)
	}
	set, err := t.stored(ctx)
	if err != nil {
		return err
	}
	had, before := t.all(set)[name], t.target(name, set)
	delete(set, name)
	if ready != nil && (*ready != 0 || t.started(name) != (pool.Target{})) {
		set[name] = *ready
	}
	target := t.target(name, set)
	if err := t.check(name, before.Ready, set); err != nil {
		return fmt.Errorf("%w: %w", sandbox.ErrInvalid, err)
	}
	if ready != nil && target != (pool.Target{}) || !had {
		if err := t.known(ctx, name); err != nil {
			return err
		}
	}
	ctx = context.WithoutCancel(ctx) // What is stored holds from now on, also for a client that leaves.
	if _, ok := set[name]; ok {
		err = t.cfg.Store.Set(ctx, name, set[name])
	} else {
		err = t.cfg.Store.Unset(ctx, name)
	}
	if err != nil {
		return fault.Classify(err)
	}
	t.cfg.Pool.SetTarget(name, target)
	if name == template.BaseAlias {
		t.cfg.Templates.KeepBase()
		return nil
	}
	if err := t.cfg.Builds.KeepBuild(ctx, name); !errors.Is(err, sandbox.ErrTemplateNotFound) {
		return err
	}
	return nil // It has been deleted, or none of its builds has the default tag yet.
}

// known returns nil if machines can be made of a template, or sandbox.ErrTemplateNotFound; an id is not the name of one.
func (t *Targets) known(ctx context.Context, name string) error {
	if name == template.BaseAlias {
		return nil
	}
	from, err := t.cfg.Builds.BuildOrigin(ctx, name)
	if err == nil && from.Alias != name {
		err = fmt.Errorf("warm pool: template %.128q has the name %s: %w", name, from.Alias, sandbox.ErrTemplateNotFound)
	}
	return err
}

// check refuses a name and a number that no node has, and a number that is raised to more machines than this node runs. Those that are
// too many already can be lowered, one template after the other.
func (t *Targets) check(name string, before int, set map[string]int) error {
	target := t.target(name, set)
	if name == template.BaseAlias {
		// The default may be more than a small node runs.
		if _, isSet := set[name]; isSet && target.Ready > t.cfg.Sandboxes {
			return fmt.Errorf("warm pool: template %s must have at most %d warm sandboxes, as many as run on this machine, got %d", name, t.cfg.Sandboxes, target.Ready)
		}
		return pool.Check(target, name, nil, 0)
	}
	named, most := map[string]int{name: target.Ready}, before
	if target.Ready > before {
		most = t.cfg.Sandboxes
		for other := range t.all(set) {
			if other != template.BaseAlias {
				named[other] = t.target(other, set).Ready
			}
		}
	}
	return pool.Check(pool.Target{}, template.BaseAlias, named, most)
}
