//go:build linux

package gvisor

import (
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/runsc/specutils"

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

// mountBelow shows mounts below a root directory, to this process and what comes
// from it only, and for reading only.
func mountBelow(root string, mounts []vm.Mount) error {
	if len(mounts) == 0 {
		return nil
	}
	if err := unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("keep mounts private: %w", err)
	}
	root, err := filepath.EvalSymlinks(root)
	if err != nil {
		return err
	}
	for _, m := range mounts {
		target := filepath.Join(root, m.Target)
		if err := specutils.SafeSetupAndMount(m.Source, target, "bind", unix.MS_BIND|unix.MS_REC, "/proc"); err != nil {
			return fmt.Errorf("mount %s: %w", m.Target, err)
		}
		if err := onlyRead(target); err != nil {
			return fmt.Errorf("mount %s for reading: %w", m.Target, err)
		}
	}
	return nil
}

// onlyRead forbids writes to a mount and, where the kernel can (since 5.12), to
// those in it. gVisor does not write there anyway.
func onlyRead(target string) error {
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV}
	err := unix.MountSetattr(unix.AT_FDCWD, target, unix.AT_RECURSIVE|unix.AT_SYMLINK_NOFOLLOW, &attr)
	if err != unix.ENOSYS {
		return err
	}
	return unix.Mount("", target, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, "")
}
