package template

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/rundlet/rundlet/policy/capacity"
	"github.com/rundlet/rundlet/policy/egress"
	"github.com/rundlet/rundlet/policy/latency"
	"github.com/rundlet/rundlet/policy/snapshot"
	"github.com/rundlet/rundlet/runtime/background"
	"github.com/rundlet/rundlet/runtime/fault"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
)

// readySnapshot is the name of a template's snapshot.
const readySnapshot = "ready"

// templateBuilds has a separate line in the queue, beside those of the keys.
const templateBuilds = "template builds"

// bootTimeout bounds the boot of a template and its save.
const bootTimeout = time.Minute

// build returns the stored base if it was made from what the host has
// now, and otherwise boots the image and takes the snapshot.
func (t *Templates) build(ctx context.Context) (store.Template, error) {
	begin := time.Now()
	ctx, release := context.WithCancel(ctx)
	defer release() // The row has the image now, or nothing needs it.
	img, unlock, err := t.image(ctx)
	if err != nil {
		return store.Template{}, fmt.Errorf("prepare the base template: %w", err)
	}
	defer unlock()
	size := t.cfg.Size
	info := t.cfg.Driver.Info()
	stamp := fmt.Sprintf("%s %s %s %+v", info.Driver, strings.TrimSpace(info.Version+" "+info.Build), img.Stamp, size)
	old, found, err := t.Stored(ctx)
	if err != nil {
		return store.Template{}, err
	}
	if found && old.Stamp == stamp {
		return t.sealed(ctx, old)
	}
	if err := t.cfg.Admission.CheckBuild(); err != nil {
		return store.Template{}, fmt.Errorf("prepare the base template: %w", err)
	}
	t.cfg.Progress("building the base template (once) ...")
	spec := img.Spec
	spec.VCPUs, spec.MemoryMiB, spec.DiskMiB = size.VCPUs, size.MemoryMiB, size.DiskMiB
	tpl := store.Template{
		ID: sandbox.NewID()[1:], Alias: BaseAlias, BuildID: uuid.NewString(), VMID: "tpl-" + sandbox.NewID(), Snapshot: readySnapshot,
		Stamp: stamp, VCPUs: size.VCPUs, MemoryMiB: size.MemoryMiB, DiskMiB: size.DiskMiB, CreatedAt: time.Now(),
	}
	if found {
		tpl.ID, tpl.Version = old.ID, old.Version
	}
	if tpl.Spec, err = json.Marshal(spec); err != nil {
		return store.Template{}, err
	}
	// A machine like any other: it waits for its turn, and what it takes is counted.
	reservation, err := t.cfg.Admission.Admit(ctx, templateBuilds, capacity.Sandbox(size.VCPUs, size.MemoryMiB, size.DiskMiB))
	if err != nil {
		return store.Template{}, fmt.Errorf("prepare the base template: %w", err)
	}
	err = t.bootAndSave(ctx, tpl, spec)
	reservation.Release()
	if err != nil {
		return store.Template{}, fmt.Errorf("prepare the base template: %w", err)
	}
	if tpl.Manifest, err = t.manifest(ctx, tpl); err != nil {
		return store.Template{}, fmt.Errorf("prepare the base template: %w", err)
	}
	if err := t.cfg.Store.Templates.Put(ctx, &tpl); err != nil {
		return store.Template{}, fault.Classify(err)
	}
	if found {
		ctx, cancel := background.Detached(ctx) // No row names it any more.
		defer cancel()
		if err := t.cfg.Claims.DeleteFiles(ctx, old.VMID, old.Snapshot); err != nil {
			t.cfg.Log.Warn("could not delete the previous base snapshot", "error", err)
		}
		t.cfg.Claims.Forget(old.VMID, old.Snapshot)
	}
	took := time.Since(begin)
	t.cfg.Steps.Latency.Record(latency.ColdTemplateBuild, took)
	t.cfg.Progress(fmt.Sprintf("the base template is ready (%.1f s)", took.Seconds()))
	return tpl, nil
}

// image returns what the base is made of, with the lock.
func (t *Templates) image(ctx context.Context) (img Image, unlock func(), err error) {
	if t.cfg.BaseUnlocked {
		if img, err = t.cfg.Base(ctx); err != nil {
			return img, nil, err
		}
	}
	if unlock, err = t.cfg.Lock(ctx); err != nil || t.cfg.BaseUnlocked {
		return img, unlock, err
	}
	if img, err = t.cfg.Base(ctx); err != nil {
		unlock()
	}
	return img, unlock, err
}

// sealedBase gives a base its manifest that an earlier version made without.
func (t *Templates) sealed(ctx context.Context, tpl store.Template) (store.Template, error) {
	if tpl.Manifest != "" {
		return tpl, nil
	}
	manifest, err := t.manifest(ctx, tpl)
	if errors.Is(err, vm.ErrNotFound) || errors.Is(err, vm.ErrIncompatible) {
		return tpl, nil // The create that fails for it makes it anew.
	}
	if err != nil || manifest == "" {
		return tpl, err
	}
	tpl.Manifest = manifest
	err = t.cfg.Store.Templates.Put(ctx, &tpl)
	return tpl, err
}

// baseManifest describes the files of a base, so that each create from it can
// check them; empty if the driver keeps none.
func (t *Templates) manifest(ctx context.Context, tpl store.Template) (string, error) {
	inspector, ok := t.cfg.Driver.(vm.SnapshotInspector)
	if !ok {
		return "", nil
	}
	if info, err := inspector.InspectSnapshot(ctx, tpl.VMID, tpl.Snapshot); err != nil || len(info.Files) == 0 {
		return "", err
	}
	manifest, err := t.cfg.Claims.Manifest(ctx, inspector, store.Snapshot{
		ID: tpl.VMID, Kind: string(snapshot.KindBaseTemplate), VMID: tpl.VMID, Snapshot: tpl.Snapshot,
		Spec: string(tpl.Spec), CreatedAt: tpl.CreatedAt,
	})
	return string(manifest), err
}

// bootAndSave boots the spec, waits until the agent answers, and saves it.
func (t *Templates) bootAndSave(ctx context.Context, tpl store.Template, spec vm.Spec) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, bootTimeout, fmt.Errorf("its machine did not boot, and was not saved, within %s", bootTimeout))
	defer cancel()
	defer t.cfg.InUse.Hold(tpl.VMID)()
	slot, err := t.cfg.Network.Acquire(ctx, egress.Policy{})
	if err != nil {
		return fmt.Errorf("network: %w", err)
	}
	defer t.cfg.InUse.Hold(slot.ID)()
	defer func() {
		ctx, cancel := background.Detached(ctx)
		defer cancel()
		if undo := t.cfg.Machines.Destroy(ctx, tpl.VMID); undo != nil {
			err = errors.Join(err, undo)
			return // the slot is still in use; the next Open frees both
		}
		err = errors.Join(err, t.cfg.Machines.Unmark(tpl.VMID), t.cfg.Network.Release(ctx, slot.ID))
	}()
	// If this process ends before the template has its row, nothing else says what
	// these are.
	if err := errors.Join(t.cfg.Machines.Mark(tpl.VMID), t.cfg.Store.Garbage.Mark(ctx, tpl.VMID, tpl.Snapshot)); err != nil {
		return fault.Classify(err)
	}
	spec.NetNS, spec.GuestIP, spec.Hostname = slot.NetNS, slot.GuestIP.String(), "template"
	spec.Weight = vm.MaxWeight // As a key has: users wait for it.
	if err := t.cfg.Driver.Create(ctx, tpl.VMID, spec); err != nil {
		return err
	}
	if err := t.cfg.Driver.Start(ctx, tpl.VMID); err != nil {
		return err
	}
	if err := t.cfg.Machines.AwaitAgent(ctx, tpl.VMID); err != nil {
		return err
	}
	begin := time.Now()
	if err := t.cfg.Driver.Snapshot(ctx, tpl.VMID, tpl.Snapshot); err != nil {
		return err
	}
	t.cfg.Steps.Latency.Record(latency.SnapshotSave, time.Since(begin))
	return nil
}

// Stored returns the base as it is in the store, and whether it is there.
func (t *Templates) Stored(ctx context.Context) (store.Template, bool, error) {
	rows, err := t.cfg.Store.Templates.All(ctx)
	if err != nil {
		return store.Template{}, false, err
	}
	for _, row := range rows {
		if row.Alias == BaseAlias {
			return row, true, nil
		}
	}
	return store.Template{}, false, nil
}

// Prune removes the images of former bases. A running sandbox may have any of
// them as its root, so it waits for a start at which there is none.
func (t *Templates) Prune(ctx context.Context) error {
	if t.cfg.Prune == nil {
		return nil
	}
	live, err := t.cfg.Store.Sandboxes.CountLive(ctx)
	if err != nil || live > 0 {
		return err
	}
	if orphans, err := t.cfg.Store.Orphans.All(ctx); err != nil || len(orphans) > 0 {
		return err // Nothing says which image they need.
	}
	tpl, found, err := t.Stored(ctx)
	if err != nil || !found {
		return err
	}
	return t.cfg.Prune(ctx, func() ([]string, error) { return t.roots(ctx, tpl) })
}

// roots are the root file systems of the base template and of all snapshots.
func (t *Templates) roots(ctx context.Context, base store.Template) (keep []string, err error) {
	specs, err := t.cfg.Store.Specs(ctx) // No sandbox is live: they are those of snapshots.
	if err != nil {
		return nil, err
	}
	for _, text := range append(specs, string(base.Spec)) {
		var spec vm.Spec
		if err := json.Unmarshal([]byte(text), &spec); err != nil {
			return nil, err // Better too many images than one too few.
		}
		keep = append(keep, spec.Rootfs)
	}
	return keep, nil
}
