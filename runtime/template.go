package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/rundlet/rundlet/agent/control"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/substrate/latency"
	"github.com/rundlet/rundlet/vm"
)

// BaseAlias is the name of the template that is made without a download.
const BaseAlias = "base"

// readySnapshot is the name of a template's snapshot.
const readySnapshot = "ready"

// build is one preparation of the base template, shared by all who wait for it.
type build struct {
	done chan struct{}
	tpl  store.Template
	err  error
}

// Template finds a template by id or alias, with or without the tag "default".
func (r *Runtime) Template(ctx context.Context, name string) (Template, error) {
	all, err := r.Templates(ctx)
	if err != nil {
		return Template{}, err
	}
	bare := strings.TrimSuffix(name, ":default")
	for _, t := range all {
		if t.ID == bare || t.Aliases[0] == bare {
			return t, nil
		}
	}
	return Template{}, fmt.Errorf("template %.128q: %w", name, ErrTemplateNotFound)
}

// Templates lists the templates, the base also before its first use.
func (r *Runtime) Templates(ctx context.Context) ([]Template, error) {
	rows, err := r.cfg.Store.Templates(ctx)
	if err != nil {
		return nil, err
	}
	var out []Template
	base := false
	for _, t := range rows {
		base = base || t.Alias == BaseAlias
		out = append(out, Template{ID: t.ID, Aliases: []string{t.Alias}, BuildID: t.BuildID,
			VCPUs: t.VCPUs, MemoryMiB: t.MemoryMiB, DiskMiB: t.DiskMiB, CreatedAt: t.CreatedAt})
	}
	if !base {
		s := r.cfg.Size
		out = append(out, Template{ID: BaseAlias, Aliases: []string{BaseAlias}, VCPUs: s.VCPUs, MemoryMiB: s.MemoryMiB, DiskMiB: s.DiskMiB})
	}
	return out, nil
}

// resolve finds the template to create from, and prepares the base if this
// process has not checked it yet.
func (r *Runtime) resolve(ctx context.Context, name string) (store.Template, error) {
	t, err := r.Template(ctx, name)
	if err != nil {
		return store.Template{}, err
	}
	if t.Aliases[0] != BaseAlias {
		return store.Template{}, fmt.Errorf("template %.128q: %w", name, ErrTemplateNotFound)
	}
	return r.base(ctx)
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
	return restoreSpec(tpl)
}

// base returns the prepared base. The first call of a process checks that the
// snapshot still fits the host and builds it if not; all who ask meanwhile wait
// for the same build, which goes on when one of them gives up.
func (r *Runtime) base(ctx context.Context) (store.Template, error) {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return store.Template{}, fmt.Errorf("prepare the base template: %w: the daemon is shutting down", ErrUnavailable)
	}
	b := r.building
	if b == nil {
		b = &build{done: make(chan struct{})}
		r.building = b
		r.background.Go(func() {
			b.tpl, b.err = r.prepareBase(r.life)
			if b.err != nil {
				r.dropBase(b) // the next create tries again
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
func (r *Runtime) staleBase(ctx context.Context, tpl store.Template, err error) bool {
	if !errors.Is(err, vm.ErrIncompatible) && !errors.Is(err, vm.ErrNotFound) {
		return false
	}
	r.log.Warn("the base snapshot cannot be restored; making it anew", "error", err)
	tpl.Stamp = ""
	if err := r.cfg.Store.PutTemplate(ctx, tpl); err != nil {
		return false
	}
	r.mu.Lock()
	b := r.building
	r.mu.Unlock()
	if b != nil {
		<-b.done
		if b.tpl.BuildID == tpl.BuildID {
			r.dropBase(b)
		}
	}
	return true
}

// prepareBase returns the stored base if it was made from what the host has
// now, and otherwise boots the image and takes the snapshot.
func (r *Runtime) prepareBase(ctx context.Context) (store.Template, error) {
	begin := time.Now()
	unlock, err := r.cfg.LockTemplates(ctx)
	if err != nil {
		return store.Template{}, fmt.Errorf("prepare the base template: %w", err)
	}
	defer unlock()
	img, err := r.cfg.Base(ctx)
	if err != nil {
		return store.Template{}, fmt.Errorf("prepare the base template: %w", err)
	}
	size := r.cfg.Size
	info := r.cfg.Driver.Info()
	stamp := fmt.Sprintf("%s %s %s %+v", info.Driver, info.Version, img.Stamp, size)
	old, found, err := r.storedBase(ctx)
	if err != nil {
		return store.Template{}, err
	}
	if found && old.Stamp == stamp {
		return old, nil
	}
	r.cfg.Progress("Preparing the template \"base\" (once) ...")
	spec := img.Spec
	spec.VCPUs, spec.MemoryMiB, spec.DiskMiB = size.VCPUs, size.MemoryMiB, size.DiskMiB
	tpl := store.Template{
		ID: newID()[1:], Alias: BaseAlias, BuildID: uuid.NewString(), VMID: "tpl-" + newID(), Snapshot: readySnapshot,
		Stamp: stamp, VCPUs: size.VCPUs, MemoryMiB: size.MemoryMiB, DiskMiB: size.DiskMiB, CreatedAt: time.Now(),
	}
	if found {
		tpl.ID = old.ID
	}
	if tpl.Spec, err = json.Marshal(spec); err != nil {
		return store.Template{}, err
	}
	if err := r.bootAndSave(ctx, tpl, spec); err != nil {
		return store.Template{}, fmt.Errorf("prepare the base template: %w", err)
	}
	if err := r.cfg.Store.PutTemplate(ctx, tpl); err != nil {
		return store.Template{}, err
	}
	if deleter, ok := r.cfg.Driver.(vm.SnapshotDeleter); ok && found {
		if err := deleter.DeleteSnapshot(ctx, old.VMID, old.Snapshot); err != nil {
			r.log.Warn("could not delete the former base snapshot", "error", err)
		}
	}
	took := time.Since(begin)
	r.cfg.Latency.Record(latency.ColdTemplateBuild, took)
	r.cfg.Progress(fmt.Sprintf("Template \"base\" is ready (%.1f s).", took.Seconds()))
	return tpl, nil
}

// bootAndSave boots the spec, waits until the agent answers, and saves it.
func (r *Runtime) bootAndSave(ctx context.Context, tpl store.Template, spec vm.Spec) (err error) {
	ctx, cancel := context.WithTimeout(ctx, createTimeout)
	defer cancel()
	slot, err := r.cfg.Network.Acquire(ctx, false)
	if err != nil {
		return fmt.Errorf("network: %w", err)
	}
	defer func() {
		ctx, cancel := detached(ctx)
		defer cancel()
		if undo := r.destroy(ctx, tpl.VMID); undo != nil {
			err = errors.Join(err, undo)
			return // the slot is still in use; the next Open frees both
		}
		err = errors.Join(err, r.cfg.Network.Release(ctx, slot.ID))
	}()
	spec.NetNS, spec.GuestIP, spec.Hostname = slot.NetNS, slot.GuestIP.String(), "template"
	if err := r.cfg.Driver.Create(ctx, tpl.VMID, spec); err != nil {
		return err
	}
	if err := r.cfg.Driver.Start(ctx, tpl.VMID); err != nil {
		return err
	}
	if err := r.awaitAgent(ctx, tpl.VMID); err != nil {
		return err
	}
	begin := time.Now()
	if err := r.cfg.Driver.Snapshot(ctx, tpl.VMID, tpl.Snapshot); err != nil {
		return err
	}
	r.cfg.Latency.Record(latency.SnapshotSave, time.Since(begin))
	return nil
}

// awaitAgent waits for a cold-booted guest. Nothing tells the host when the
// agent starts to listen, so it asks, with growing pauses.
func (r *Runtime) awaitAgent(ctx context.Context, id string) error {
	for pause := 2 * time.Millisecond; ; pause = min(pause*2, 100*time.Millisecond) {
		err := control.Health(ctx, r.agentDial(id))
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the agent in %s does not answer: %w", id, err)
		case <-time.After(pause):
		}
	}
}

func (r *Runtime) storedBase(ctx context.Context) (store.Template, bool, error) {
	rows, err := r.cfg.Store.Templates(ctx)
	if err != nil {
		return store.Template{}, false, err
	}
	for _, t := range rows {
		if t.Alias == BaseAlias {
			return t, true, nil
		}
	}
	return store.Template{}, false, nil
}

// prune removes the images of former bases. A running sandbox may have any of
// them as its root, so it waits for a start at which there is none.
func (r *Runtime) prune(ctx context.Context) {
	if r.cfg.Prune == nil {
		return
	}
	err := func() error {
		unlock, err := r.cfg.LockTemplates(ctx)
		if err != nil {
			return err
		}
		defer unlock()
		live, err := r.cfg.Store.CountLive(ctx)
		if err != nil || live > 0 {
			return err
		}
		tpl, found, err := r.storedBase(ctx)
		if err != nil || !found {
			return err
		}
		spec, err := restoreSpec(tpl)
		if err != nil {
			return err
		}
		return r.cfg.Prune(ctx, spec.Rootfs)
	}()
	if err != nil {
		r.log.Warn("could not remove the images of former bases", "error", err)
	}
}
