package vmtest_test

import (
	"context"
	"slices"
	"sync"

	"github.com/rundlet/rundlet/vm"
)

// infos makes a defect of what Snapshots returns.
func infos(change func([]vm.SnapshotInfo) []vm.SnapshotInfo) func(b *broken) {
	return func(b *broken) {
		b.all = func(ctx context.Context) ([]vm.SnapshotInfo, error) {
			all, err := b.Driver.Snapshots(ctx)
			return change(all), err
		}
	}
}

// info makes a defect of what InspectSnapshot returns.
func info(change func(*vm.SnapshotInfo)) func(b *broken) {
	return func(b *broken) {
		b.inspect = func(ctx context.Context, id, name string) (vm.SnapshotInfo, error) {
			i, err := b.Driver.InspectSnapshot(ctx, id, name)
			change(&i)
			return i, err
		}
	}
}

// snapshotMutants are defects of file system snapshots and of inspection.
var snapshotMutants = []mutant{
	{"a file system snapshot has memory", "restore-filesystem/is-a-cold-boot-with-the-saved-files", func(b *broken) {
		b.files = b.Driver.Snapshot
	}},
	{"a cold boot keeps the boot id", "restore-filesystem/is-a-cold-boot-with-the-saved-files", func(b *broken) {
		b.files = func(ctx context.Context, id, name string) error {
			if g := b.Driver.Guest(id); g != nil {
				was := g.Get("k")
				g.Set("k", "")
				defer g.Set("k", was)
			}
			return b.Driver.Snapshot(ctx, id, name)
		}
	}},
	{"a file system snapshot loses files", "restore-filesystem/sees-the-moment-of-the-snapshot-and-is-independent", func(b *broken) {
		b.files = func(ctx context.Context, id, name string) error {
			if g := b.Driver.Guest(id); g != nil {
				was := g.File("f")
				g.SetFile("f", "")
				defer g.SetFile("f", was)
			}
			return b.Driver.SnapshotFilesystem(ctx, id, name)
		}
	}},
	{"a file system snapshot stops the machine", "snapshot-filesystem/running-goes-on-running", func(b *broken) {
		b.files = func(ctx context.Context, id, name string) error {
			_ = b.Driver.Stop(ctx, id)
			return b.Driver.SnapshotFilesystem(ctx, id, name)
		}
	}},
	{"a created machine has files to save", "snapshot-filesystem/created-destroyed-and-unknown-are-refused", func(b *broken) {
		b.files = func(ctx context.Context, id, name string) error {
			return ignoring(vm.ErrInvalidTransition, func(ctx context.Context, id string) error {
				return b.Driver.SnapshotFilesystem(ctx, id, name)
			})(ctx, id)
		}
	}},
	{"the kinds have separate names", "snapshot-filesystem/shares-its-names-with-the-other-kind", func(b *broken) {
		b.files = func(ctx context.Context, id, name string) error {
			return ignoring(vm.ErrAlreadyExists, func(ctx context.Context, id string) error {
				return b.Driver.SnapshotFilesystem(ctx, id, name)
			})(ctx, id)
		}
	}},
	{"a failed file system snapshot stays", "snapshot-filesystem/half-way-leaves-nothing", func(b *broken) {
		b.files = func(ctx context.Context, id, name string) error {
			err := b.Driver.SnapshotFilesystem(ctx, id, name)
			if err != nil {
				_ = b.Driver.SnapshotFilesystem(ctx, id, name)
			}
			return err
		}
	}},
	{"a cold boot ignores its fields", "restore-filesystem/cold-boot-fields-count", func(b *broken) {
		b.create = func(ctx context.Context, id string, spec vm.Spec) error {
			spec.Drives = nil
			return b.Driver.Create(ctx, id, spec)
		}
	}},
	{"a cold boot takes any root", "restore-filesystem/another-root-is-incompatible", func(b *broken) {
		b.create = func(ctx context.Context, id string, spec vm.Spec) error {
			if ref := spec.RestoreFrom; ref != nil {
				spec.Rootfs = b.Driver.Guest(ref.VMID).Spec().Rootfs
			}
			return b.Driver.Create(ctx, id, spec)
		}
	}},
	{"a cold boot never starts", "restore-filesystem/without-resume-is-stopped-until-start", func(b *broken) {
		b.create = func(ctx context.Context, id string, spec vm.Spec) error {
			if ref := spec.RestoreFrom; ref != nil {
				spec.RestoreFrom = &vm.SnapshotRef{VMID: ref.VMID, SnapshotID: ref.SnapshotID, ResumeImmediately: true}
			}
			return b.Driver.Create(ctx, id, spec)
		}
	}},
	{"snapshots are not sorted", "inspect/lists-all-sorted-also-of-machines-that-are-gone", infos(func(all []vm.SnapshotInfo) []vm.SnapshotInfo {
		slices.Reverse(all)
		return all
	})},
	{"snapshots of the gone are not listed", "inspect/lists-all-sorted-also-of-machines-that-are-gone", func(b *broken) {
		b.all = func(ctx context.Context) ([]vm.SnapshotInfo, error) {
			all, err := b.Driver.Snapshots(ctx)
			return slices.DeleteFunc(all, func(i vm.SnapshotInfo) bool { return b.Driver.Guest(i.VMID) == nil }), err
		}
	}},
	{"inspection has another time", "inspect/one-is-as-in-the-list", info(func(i *vm.SnapshotInfo) { i.CreatedAt = i.CreatedAt.Add(1) })},
	{"inspection has wrong sizes", "inspect/files-are-there-with-their-sizes", info(func(i *vm.SnapshotInfo) {
		for n := range i.Files {
			i.Files[n].Bytes++
		}
	})},
	{"inspection confuses the kinds", "inspect/distinguishes-the-kinds", info(func(i *vm.SnapshotInfo) { i.Filesystem = !i.Filesystem })},
	{"the host stamp is of another version", "inspect/made-here-has-the-stamp-of-the-host", func(b *broken) {
		b.stamp = func() vm.Stamp {
			s := b.Driver.HostStamp()
			s.Version += ".1"
			return s
		}
	}},
	{"inspection of nothing succeeds", "inspect/unknown-is-not-found-and-bad-is-invalid", func(b *broken) {
		b.inspect = func(ctx context.Context, id, name string) (vm.SnapshotInfo, error) {
			i, err := b.Driver.InspectSnapshot(ctx, id, name)
			return i, ignoring(vm.ErrNotFound, func(context.Context, string) error { return err })(ctx, id)
		}
	}},
	{"inspection waits for a snapshot", "inspect/unfinished-is-not-listed-and-not-waited-for", func(b *broken) {
		var mu sync.Mutex
		b.snapshot = func(ctx context.Context, id, name string) error {
			mu.Lock()
			defer mu.Unlock()
			return b.Driver.Snapshot(ctx, id, name)
		}
		b.all = func(ctx context.Context) ([]vm.SnapshotInfo, error) {
			mu.Lock()
			defer mu.Unlock()
			return b.Driver.Snapshots(ctx)
		}
	}},
	{"inspection remembers the deleted", "inspect/follows-deletion-and-renaming", func(b *broken) {
		var seen []vm.SnapshotInfo
		b.remove = func(ctx context.Context, id, name string) error {
			seen, _ = b.Driver.Snapshots(ctx)
			return b.Driver.DeleteSnapshot(ctx, id, name)
		}
		b.all = func(ctx context.Context) ([]vm.SnapshotInfo, error) {
			if seen != nil {
				return seen, nil
			}
			return b.Driver.Snapshots(ctx)
		}
	}},
	{"a deleted snapshot is needed for a start", "delete-snapshot/of-it-a-machine-that-waits-can-still-start", func(b *broken) {
		from := map[string]vm.SnapshotRef{}
		b.create = func(ctx context.Context, id string, spec vm.Spec) error {
			if spec.RestoreFrom != nil {
				from[id] = *spec.RestoreFrom
			}
			return b.Driver.Create(ctx, id, spec)
		}
		b.start = func(ctx context.Context, id string) error {
			if ref, restored := from[id]; restored {
				if _, err := b.Driver.InspectSnapshot(ctx, ref.VMID, ref.SnapshotID); err != nil {
					return err
				}
			}
			return b.Driver.Start(ctx, id)
		}
	}},
}
