package memvm

import (
	"fmt"
	"slices"

	"github.com/rundlet/rundlet/vm"
)

// checkSpec refuses fields that an in-memory guest cannot honour. On restore the cold
// boot fields do not count.
func checkSpec(s vm.Spec) error {
	if ref := s.RestoreFrom; ref != nil {
		if err := vm.ValidateID(ref.VMID); err != nil {
			return err
		}
		if err := vm.ValidateSnapshotID(ref.SnapshotID); err != nil {
			return err
		}
		return checkLimits(s)
	}
	return checkCold(s)
}

func checkCold(s vm.Spec) error {
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"kernel", s.Kernel != ""},
		{"boot_args", s.BootArgs != ""},
		{"drives", len(s.Drives) > 0},
		{"rootfs_rate_limit", s.RootfsRateLimit != nil},
		{"vsock", s.Vsock != nil},
		{"track_dirty_pages", s.TrackDirtyPages},
	} {
		if f.set {
			return fmt.Errorf("%w: %s", vm.ErrUnsupported, f.name)
		}
	}
	return checkLimits(s)
}

func checkLimits(s vm.Spec) error {
	if s.VCPUs < 0 || s.MemoryMiB < 0 || s.DiskMiB < 0 || s.MaxProcesses < 0 {
		return fmt.Errorf("%w: a limit is negative", vm.ErrInvalid)
	}
	if s.Weight < 0 || s.Weight > vm.MaxWeight {
		return fmt.Errorf("%w: a weight of %d", vm.ErrInvalid, s.Weight)
	}
	return nil
}

// checkMounts compares the mounts of a snapshot with those of a restore.
func checkMounts(was, now []vm.Mount) error {
	same := func(a, b vm.Mount) bool { return a.Target == b.Target }
	if !slices.EqualFunc(was, now, same) {
		return fmt.Errorf("%w: the mount targets differ from those of the snapshot", vm.ErrIncompatible)
	}
	return nil
}

// copySpec shares nothing with s that either side could change.
func copySpec(s vm.Spec) vm.Spec {
	s.Mounts = slices.Clone(s.Mounts)
	s.Args = slices.Clone(s.Args)
	s.Env = slices.Clone(s.Env)
	s.Interfaces = slices.Clone(s.Interfaces)
	if s.RestoreFrom != nil {
		ref := *s.RestoreFrom
		ref.NetworkOverrides = slices.Clone(ref.NetworkOverrides)
		s.RestoreFrom = &ref
	}
	return s
}
