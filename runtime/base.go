package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/rundlet/rundlet/policy/latency"
	"github.com/rundlet/rundlet/policy/snapshot"
	"github.com/rundlet/rundlet/runtime/admission"
	"github.com/rundlet/rundlet/runtime/background"
	"github.com/rundlet/rundlet/runtime/fault"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
)

// readySnapshot is the name of a template's snapshot.
const readySnapshot = "ready"

// templateBuilds has a line of its own in the queue, beside those of the keys.
const templateBuilds = "template builds"

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
		return r.sealedBase(ctx, old)
	}
	if err := r.admission.CheckBuild(); err != nil {
		return store.Template{}, fmt.Errorf("prepare the base template: %w", err)
	}
	r.cfg.Progress("Preparing the template \"base\" (once) ...")
	spec := img.Spec
	spec.VCPUs, spec.MemoryMiB, spec.DiskMiB = size.VCPUs, size.MemoryMiB, size.DiskMiB
	tpl := store.Template{
		ID: sandbox.NewID()[1:], Alias: BaseAlias, BuildID: uuid.NewString(), VMID: "tpl-" + sandbox.NewID(), Snapshot: readySnapshot,
		Stamp: stamp, VCPUs: size.VCPUs, MemoryMiB: size.MemoryMiB, DiskMiB: size.DiskMiB, CreatedAt: time.Now(),
	}
	if found {
		tpl.ID = old.ID
	}
	if tpl.Spec, err = json.Marshal(spec); err != nil {
		return store.Template{}, err
	}
	// A machine like any other: it waits for its turn, and what it takes is counted.
	reservation, err := r.admission.Admit(ctx, templateBuilds, admission.Budget(size))
	if err != nil {
		return store.Template{}, fmt.Errorf("prepare the base template: %w", err)
	}
	err = r.bootAndSave(ctx, tpl, spec)
	reservation.Release()
	if err != nil {
		return store.Template{}, fmt.Errorf("prepare the base template: %w", err)
	}
	if tpl.Manifest, err = r.baseManifest(ctx, tpl); err != nil {
		return store.Template{}, fmt.Errorf("prepare the base template: %w", err)
	}
	if err := r.cfg.Store.PutTemplate(ctx, tpl); err != nil {
		return store.Template{}, fault.Classify(err)
	}
	if found {
		if err := r.claims.DeleteFiles(ctx, old.VMID, old.Snapshot); err != nil {
			r.log.Warn("could not delete the former base snapshot", "error", err)
		}
		r.claims.Forget(old.VMID, old.Snapshot)
	}
	took := time.Since(begin)
	r.steps.Latency.Record(latency.ColdTemplateBuild, took)
	r.cfg.Progress(fmt.Sprintf("Template \"base\" is ready (%.1f s).", took.Seconds()))
	return tpl, nil
}

// sealedBase gives a base its manifest that an earlier version made without.
func (r *Runtime) sealedBase(ctx context.Context, tpl store.Template) (store.Template, error) {
	if tpl.Manifest != "" {
		return tpl, nil
	}
	manifest, err := r.baseManifest(ctx, tpl)
	if errors.Is(err, vm.ErrNotFound) || errors.Is(err, vm.ErrIncompatible) {
		return tpl, nil // The create that fails for it makes it anew.
	}
	if err != nil || manifest == "" {
		return tpl, err
	}
	tpl.Manifest = manifest
	return tpl, r.cfg.Store.PutTemplate(ctx, tpl)
}

// baseManifest describes the files of a base, so that each create from it can
// check them; empty if the driver keeps none.
func (r *Runtime) baseManifest(ctx context.Context, tpl store.Template) (string, error) {
	inspector, ok := r.cfg.Driver.(vm.SnapshotInspector)
	if !ok {
		return "", nil
	}
	if info, err := inspector.InspectSnapshot(ctx, tpl.VMID, tpl.Snapshot); err != nil || len(info.Files) == 0 {
		return "", err
	}
	manifest, err := r.claims.Manifest(ctx, inspector, store.Snapshot{
		ID: tpl.VMID, Kind: string(snapshot.KindBaseTemplate), VMID: tpl.VMID, Snapshot: tpl.Snapshot,
		Spec: string(tpl.Spec), CreatedAt: tpl.CreatedAt,
	})
	return string(manifest), err
}

// bootAndSave boots the spec, waits until the agent answers, and saves it.
func (r *Runtime) bootAndSave(ctx context.Context, tpl store.Template, spec vm.Spec) (err error) {
	ctx, cancel := context.WithTimeout(ctx, createTimeout)
	defer cancel()
	defer r.own(tpl.VMID)()
	slot, err := r.cfg.Network.Acquire(ctx, false)
	if err != nil {
		return fmt.Errorf("network: %w", err)
	}
	defer r.own(slot.ID)()
	defer func() {
		ctx, cancel := background.Detached(ctx)
		defer cancel()
		if undo := r.machines.Destroy(ctx, tpl.VMID); undo != nil {
			err = errors.Join(err, undo)
			return // the slot is still in use; the next Open frees both
		}
		err = errors.Join(err, r.machines.Unmark(tpl.VMID), r.cfg.Network.Release(ctx, slot.ID))
	}()
	// If this process ends before the template has its row, nothing else says what
	// these are.
	if err := errors.Join(r.machines.Mark(tpl.VMID), r.cfg.Store.MarkGarbage(ctx, tpl.VMID, tpl.Snapshot)); err != nil {
		return fault.Classify(err)
	}
	spec.NetNS, spec.GuestIP, spec.Hostname = slot.NetNS, slot.GuestIP.String(), "template"
	if err := r.cfg.Driver.Create(ctx, tpl.VMID, spec); err != nil {
		return err
	}
	if err := r.cfg.Driver.Start(ctx, tpl.VMID); err != nil {
		return err
	}
	if err := r.machines.AwaitAgent(ctx, tpl.VMID); err != nil {
		return err
	}
	begin := time.Now()
	if err := r.cfg.Driver.Snapshot(ctx, tpl.VMID, tpl.Snapshot); err != nil {
		return err
	}
	r.steps.Latency.Record(latency.SnapshotSave, time.Since(begin))
	return nil
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
