//go:build linux

package gvisor

import (
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/gvisor/snapshots"
)

// gVisor gives each mount that is written to a separate writable layer, and
// each of these the whole size of the disk. So mounts with Overlay are none of the
// sandbox's: its file server mounts them below the root directory, in its own
// mount namespace, before it serves that. The guest then has one file system,
// with one layer and one size. Machines whose root is read-only have no such
// layer, and those restored from snapshots of earlier versions keep theirs.

// oneLayer reports whether a machine made with spec is such a one, by the manifest
// of what it is restored from, or nil.
func oneLayer(spec vm.Spec, from *snapshots.Manifest) bool {
	if from != nil {
		return from.OneLayer
	}
	return !spec.RootfsReadOnly
}
