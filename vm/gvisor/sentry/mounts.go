//go:build linux

package sentry

import (
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/runsc/specutils"

	"github.com/rundlet/rundlet/vm"
)

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
