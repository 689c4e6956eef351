package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
)

// origin is what a machine is restored from: a template or a snapshot.
type origin struct {
	id                         string
	templateID, alias, buildID string
	vmID, snapshot             string
	spec                       string
	size                       Size
	// holder is the sandbox whose control token the agent in the snapshot has;
	// empty if it has none: in a template, and after a cold boot.
	holder string
	// filesystem: there is no memory in it, so the machine boots.
	filesystem bool
	manifest   string
	// anyHostFiles: it is restored to save its files, and no program goes on.
	anyHostFiles bool
}

func originOfTemplate(t store.Template) origin {
	return origin{
		id: t.ID, templateID: t.ID, alias: t.Alias, buildID: t.BuildID, vmID: t.VMID, snapshot: t.Snapshot,
		spec: string(t.Spec), size: Size{t.VCPUs, t.MemoryMiB, t.DiskMiB}, manifest: t.Manifest,
	}
}

func originOfSnapshot(n store.Snapshot) origin {
	o := origin{
		id: n.ID, templateID: n.TemplateID, alias: n.Alias, buildID: n.BuildID, vmID: n.VMID, snapshot: n.Snapshot,
		spec: n.Spec, size: Size{n.VCPUs, n.MemoryMiB, n.DiskMiB}, manifest: n.Manifest,
		filesystem: n.Kind == kindFilesystemPause,
	}
	if !o.filesystem {
		o.holder = n.Source
	}
	if n.Kind == kindSnapshot {
		o.templateID, o.alias = templateOf(n)
	}
	return o
}

// templateOf is the template that a snapshot is: one for all tags of a name, and one
// of its own without a name.
func templateOf(n store.Snapshot) (id, alias string) {
	if n.Name == "" {
		return n.ID, ""
	}
	name, _, _ := strings.Cut(n.Name, ":")
	return name, name
}

// machineSpec says how to make a machine of the origin in a slot.
func (o origin) machineSpec(slot Slot, hostname string) (spec vm.Spec, err error) {
	if err := json.Unmarshal([]byte(o.spec), &spec); err != nil {
		return vm.Spec{}, fmt.Errorf("%s: stored spec: %w", o.id, err)
	}
	spec.RestoreFrom = &vm.SnapshotRef{VMID: o.vmID, SnapshotID: o.snapshot, ResumeImmediately: true, AnyHostFiles: o.anyHostFiles}
	spec.VCPUs, spec.MemoryMiB, spec.DiskMiB = o.size.VCPUs, o.size.MemoryMiB, o.size.DiskMiB
	spec.NetNS, spec.GuestIP, spec.Hostname = slot.NetNS, slot.GuestIP.String(), hostname
	return spec, nil
}

// resolve finds what to create from: a template, which is prepared if this
// process has not checked it yet, or a snapshot.
func (r *Runtime) resolve(ctx context.Context, name string) (origin, error) {
	all, err := r.templates(ctx)
	if err != nil {
		return origin{}, err
	}
	t, err := named(all, name)
	if err == nil {
		if t.Aliases[0] != BaseAlias {
			return origin{}, fmt.Errorf("template %.128q: %w", name, sandbox.ErrTemplateNotFound)
		}
		tpl, err := r.base(ctx)
		return originOfTemplate(tpl), err
	}
	n, serr := r.listed(ctx, name, kindSnapshot)
	if errors.Is(serr, sandbox.ErrSnapshotNotFound) {
		return origin{}, err
	}
	return originOfSnapshot(n), serr
}

// deletedMeanwhile says so if the snapshot was deleted while a sandbox was being
// created from it, whatever it was that failed for that.
func (r *Runtime) deletedMeanwhile(ctx context.Context, from origin, err error) error {
	if err == nil || from.holder == "" {
		return err
	}
	ctx, cancel := detached(ctx)
	defer cancel()
	if _, gone := r.cfg.Store.Snapshot(ctx, from.id); !errors.Is(gone, store.ErrNotFound) {
		return err
	}
	return fmt.Errorf("%w any more: %s was deleted (%w)", sandbox.ErrSnapshotNotFound, from.id, err)
}
