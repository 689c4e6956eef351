package runtime

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/runtime/fault"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
)

// BaseAlias is the name of the template that is made without a download.
const BaseAlias = "base"

// build is one preparation of the base template, shared by all who wait for it.
type build struct {
	done chan struct{}
	tpl  store.Template
	err  error
	host string // Config.HostStamp from before it
}

// Template finds a template by id or alias, with or without the tag "default".
func (r *Runtime) Template(ctx context.Context, name string) (sandbox.Template, error) {
	all, err := r.Templates(ctx)
	if err != nil {
		return sandbox.Template{}, err
	}
	return named(all, name)
}

func named(all []sandbox.Template, name string) (sandbox.Template, error) {
	bare := strings.TrimSuffix(name, ":default")
	for _, t := range all {
		if t.ID == bare || t.Aliases[0] == bare {
			return t, nil
		}
	}
	return sandbox.Template{}, fmt.Errorf("template %.128q: %w", name, sandbox.ErrTemplateNotFound)
}

// Templates lists the templates, the base also before its first use.
func (r *Runtime) Templates(ctx context.Context) ([]sandbox.Template, error) {
	all, err := r.templates(ctx)
	if err != nil {
		return nil, err
	}
	spawns, err := r.cfg.Store.Spawns(ctx)
	if err != nil {
		return nil, fault.Classify(err)
	}
	for i, t := range all {
		all[i].SpawnCount, all[i].LastSpawnedAt = spawns[t.Aliases[0]].Count, spawns[t.Aliases[0]].Last
	}
	return all, nil
}

// templates is Templates without their counts.
func (r *Runtime) templates(ctx context.Context) ([]sandbox.Template, error) {
	rows, err := r.cfg.Store.Templates(ctx)
	if err != nil {
		return nil, fault.Classify(err)
	}
	var out []sandbox.Template
	base := false
	for _, t := range rows {
		base = base || t.Alias == BaseAlias
		out = append(out, sandbox.Template{ID: t.ID, Aliases: []string{t.Alias}, BuildID: t.BuildID,
			VCPUs: t.VCPUs, MemoryMiB: t.MemoryMiB, DiskMiB: t.DiskMiB, CreatedAt: t.CreatedAt})
	}
	if !base {
		s := r.cfg.Size
		out = append(out, sandbox.Template{ID: BaseAlias, Aliases: []string{BaseAlias}, VCPUs: s.VCPUs, MemoryMiB: s.MemoryMiB, DiskMiB: s.DiskMiB})
	}
	return out, nil
}

// Prepare makes the base template ready, so that the first create need not.
func (r *Runtime) Prepare(ctx context.Context) error {
	_, err := r.base(ctx)
	return err
}

// BaseSpec returns the spec by which a driver restores the prepared base, apart
// from what each sandbox has of its own. It is for measuring.
func (r *Runtime) BaseSpec(ctx context.Context) (vm.Spec, error) {
	tpl, err := r.base(ctx)
	if err != nil {
		return vm.Spec{}, err
	}
	return claim.OfTemplate(tpl).MachineSpec("", netip.Addr{}, "")
}

// base returns the prepared base. The first call of a process checks that the
// snapshot still fits the host and builds it if not; all who ask meanwhile wait
// for the same build, which goes on when one of them gives up.
func (r *Runtime) base(ctx context.Context) (store.Template, error) {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return store.Template{}, fmt.Errorf("prepare the base template: %w: the daemon is shutting down", sandbox.ErrUnavailable)
	}
	b := r.building
	if b == nil {
		b = &build{done: make(chan struct{})}
		r.building = b
		r.background.Go(func() {
			if r.cfg.HostStamp != nil {
				b.host = r.cfg.HostStamp()
			}
			b.tpl, b.err = r.prepareBase(r.life)
			if b.err != nil {
				r.dropBase(b) // the next create tries again
			} else {
				r.pool.Keep(claim.OfTemplate(b.tpl))
			}
			close(b.done)
		})
	}
	r.mu.Unlock()
	select {
	case <-b.done:
		return b.tpl, b.err
	case <-ctx.Done():
		return store.Template{}, fmt.Errorf("wait for the base template: %w", ctx.Err())
	}
}

func (r *Runtime) dropBase(b *build) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.building == b {
		r.building = nil
	}
}

// staleBase forgets a base whose snapshot turned out to be unusable, and
// reports whether err means that.
func (r *Runtime) staleBase(ctx context.Context, from claim.Origin, err error) bool {
	if !errors.Is(err, vm.ErrIncompatible) && !errors.Is(err, vm.ErrNotFound) {
		return false
	}
	tpl, found, dbErr := r.storedBase(ctx)
	if dbErr != nil || !found || from.ID != tpl.ID {
		return false // a snapshot cannot be made anew
	}
	r.log.Warn("the base snapshot cannot be restored; making it anew", "error", err)
	if tpl.BuildID == from.BuildID {
		tpl.Stamp = ""
		if err := r.cfg.Store.PutTemplate(ctx, tpl); err != nil {
			return false
		}
	}
	r.mu.Lock()
	b := r.building
	r.mu.Unlock()
	if b != nil {
		<-b.done
		if b.tpl.BuildID == from.BuildID {
			r.dropBase(b)
		}
	}
	return true
}

// unusable prepares the base anew if a warm machine could not be made from it
// because its snapshot cannot be restored.
func (r *Runtime) unusable(from claim.Origin, err error) {
	if r.staleBase(r.life, from, err) {
		r.background.Go(func() { _ = r.Prepare(r.life) }) // It tells the pool when it is made.
	}
}
