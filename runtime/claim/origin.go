package claim

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"

	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
)

// Origin is the source of a restore: a template or a snapshot.
type Origin struct {
	ID         string
	TemplateID string
	Alias      string
	BuildID    string
	// VMID and Snapshot name the driver's snapshot.
	VMID, Snapshot string
	// Spec is the driver's spec, as JSON.
	Spec string
	Size sandbox.Size
	// Holder is the sandbox whose control token the agent in the snapshot has;
	// empty if it has none: in a template, and after a cold boot.
	Holder string
	// HolderToken is that token if the snapshot came from another node; empty: this node derives it.
	HolderToken string
	// Template: it is a template, whose uses are counted by Alias.
	Template bool
	Defaults sandbox.Defaults
	// Freshness is that of the sandbox when it was saved.
	Freshness sandbox.Freshness
	// Copy: it is that of a running sandbox, whose children go on as it was.
	Copy bool
	// Filesystem: the snapshot has no memory, so the machine boots.
	Filesystem bool
	Manifest   string
	// AnyHostFiles: the machine is restored to save its files only; its programs
	// do not run on.
	AnyHostFiles bool
	// Node and Driver have the snapshot; empty: as this one.
	Node, Driver string
}

// OfTemplate returns the origin of sandboxes of a template.
func OfTemplate(t store.Template) Origin {
	return Origin{
		Template: true, ID: t.ID, TemplateID: t.ID, Alias: t.Alias, BuildID: t.BuildID, VMID: t.VMID, Snapshot: t.Snapshot,
		Spec: string(t.Spec), Size: sandbox.Size{VCPUs: t.VCPUs, MemoryMiB: t.MemoryMiB, DiskMiB: t.DiskMiB}, Manifest: t.Manifest,
	}
}

// OfSnapshot returns the origin that a claim is for.
func OfSnapshot(n store.Snapshot) Origin {
	o := Origin{
		ID: n.ID, TemplateID: n.TemplateID, Alias: n.Alias, BuildID: n.BuildID, VMID: n.VMID, Snapshot: n.Snapshot,
		Spec: n.Spec, Size: sandbox.Size{VCPUs: n.VCPUs, MemoryMiB: n.MemoryMiB, DiskMiB: n.DiskMiB}, Manifest: n.Manifest,
		Filesystem: n.Kind == KindFilesystemPause, Node: n.Node, Driver: n.Driver, Template: n.Kind == KindTemplate, Defaults: n.Defaults,
		Freshness: n.Freshness, Copy: n.Kind == KindFork,
	}
	if !o.Filesystem {
		o.Holder, o.HolderToken = n.Source, n.HolderToken
	}
	if n.Kind == KindSnapshot {
		o.TemplateID, o.Alias = templateOf(n)
	}
	return o
}

// templateOf is the template that a snapshot is: one for all tags of a name, and
// a new one without a name.
func templateOf(n store.Snapshot) (id, alias string) {
	if n.Name == "" {
		return n.ID, ""
	}
	name, _, _ := strings.Cut(n.Name, ":")
	return name, name
}

// MachineSpec returns the spec by which the driver restores the origin into a
// network namespace.
func (o Origin) MachineSpec(netNS string, guestIP netip.Addr, hostname string) (spec vm.Spec, err error) {
	if err := json.Unmarshal([]byte(o.Spec), &spec); err != nil {
		return vm.Spec{}, fmt.Errorf("%s: stored spec: %w", o.ID, err)
	}
	spec.RestoreFrom = &vm.SnapshotRef{VMID: o.VMID, SnapshotID: o.Snapshot, ResumeImmediately: true, AnyHostFiles: o.AnyHostFiles}
	spec.VCPUs, spec.MemoryMiB, spec.DiskMiB = o.Size.VCPUs, o.Size.MemoryMiB, o.Size.DiskMiB
	spec.NetNS, spec.GuestIP, spec.Hostname = netNS, guestIP.String(), hostname
	return spec, nil
}
