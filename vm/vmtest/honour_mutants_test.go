package vmtest_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rundlet/rundlet/vm"
)

// forgets makes a driver that does not honour a part of a Spec.
func forgets(change func(s *vm.Spec)) func(b *broken) {
	return func(b *broken) {
		b.create = func(ctx context.Context, id string, spec vm.Spec) error {
			change(&spec)
			return b.Driver.Create(ctx, id, spec)
		}
	}
}

// onRestore is a defect of restores alone.
func onRestore(change func(s *vm.Spec)) func(s *vm.Spec) {
	return func(s *vm.Spec) {
		if s.RestoreFrom != nil {
			change(s)
		}
	}
}

// mounts changes each mount of a copy.
func mounts(change func(m *vm.Mount)) func(s *vm.Spec) {
	return func(s *vm.Spec) {
		s.Mounts = append([]vm.Mount(nil), s.Mounts...)
		for i := range s.Mounts {
			change(&s.Mounts[i])
		}
	}
}

// reasons changes why machines end.
func reasons(change func(reason string) string) func(b *broken) {
	return func(b *broken) {
		b.get = func(ctx context.Context, id string) (vm.View, bool, error) {
			v, ok, err := b.Driver.Get(ctx, id)
			v.ExitReason = change(v.ExitReason)
			return v, ok, err
		}
		b.wait = func(ctx context.Context, id string) (string, error) {
			reason, err := b.Driver.Wait(ctx, id)
			return change(reason), err
		}
	}
}

// honourMutants do not honour what they accept.
var honourMutants = []mutant{
	{"the host name is dropped", "honour/hostname", forgets(func(s *vm.Spec) { s.Hostname = "localhost" })},
	{"a restore keeps the host name", "honour/hostname", forgets(onRestore(func(s *vm.Spec) { s.Hostname = "" }))},
	{"memory is not limited", "honour/memory-is-what-the-guest-has", forgets(func(s *vm.Spec) { s.MemoryMiB = 8192 })},
	{"memory is a constant", "honour/memory-is-what-the-guest-has", forgets(func(s *vm.Spec) { s.MemoryMiB = 64 })},
	{"a guest that eats goes on", "honour/out-of-memory-is-the-reason", forgets(func(s *vm.Spec) { s.MemoryMiB = 0 })},
	{"out of memory is a signal", "honour/out-of-memory-is-the-reason", reasons(func(reason string) string {
		return strings.Replace(reason, "oom", "signal: killed", 1)
	})},
	{"every signal is out of memory", "honour/out-of-memory-is-the-reason", reasons(func(reason string) string {
		return strings.Replace(reason, "signal: killed", "oom", 1)
	})},
	{"a restore has no memory limit", "honour/out-of-memory-is-the-reason-after-a-restore", func(b *broken) {
		b.get = func(ctx context.Context, id string) (vm.View, bool, error) {
			v, ok, err := b.Driver.Get(ctx, id)
			if g := b.Driver.Guest(id); g != nil && g.Spec().RestoreFrom != nil && v.ExitReason == "oom" {
				v.Status, v.ExitReason = vm.StatusRunning, ""
			}
			return v, ok, err
		}
	}},
	{"processors are not limited", "honour/processors-are-what-the-guest-has", forgets(func(s *vm.Spec) { s.VCPUs = 64 })},
	{"processor time is not limited", "honour/processor-time-is-limited", func(b *broken) {
		began := time.Now()
		b.stats = func(ctx context.Context, id string) (vm.Stats, error) {
			s, err := b.Driver.Stats(ctx, id)
			s.CPUTime = 4 * time.Since(began)
			return s, err
		}
	}},
	{"the disk is not limited", "honour/disk", forgets(func(s *vm.Spec) { s.DiskMiB = 0 })},
	{"the disk is a constant", "honour/disk", forgets(func(s *vm.Spec) { s.DiskMiB = 20 })},
	{"a restore does not limit processes", "honour/processes", func(b *broken) {
		b.create = func(ctx context.Context, id string, spec vm.Spec) error {
			if ref := spec.RestoreFrom; ref != nil {
				cold := b.Driver.Guest(ref.VMID).Spec()
				cold.MaxProcesses, cold.RestoreFrom = 0, nil
				return errors.Join(b.Driver.Create(ctx, id, cold), b.Driver.Start(ctx, id))
			}
			return b.Driver.Create(ctx, id, spec)
		}
	}},
	{"processes are not limited", "honour/processes", forgets(func(s *vm.Spec) { s.MaxProcesses = 0 })},
	{"there may be no processes", "honour/processes", forgets(func(s *vm.Spec) { s.MaxProcesses = 1 })},
	{"the root is never read-only", "honour/read-only-root", forgets(func(s *vm.Spec) { s.RootfsReadOnly = false })},
	{"the root is always read-only", "honour/read-only-root", forgets(func(s *vm.Spec) { s.RootfsReadOnly = true })},
	{"mounts are writable", "honour/mounts", forgets(mounts(func(m *vm.Mount) { m.Overlay = true }))},
	{"mounts are all read-only", "honour/mounts", forgets(mounts(func(m *vm.Mount) { m.Overlay = false }))},
	{"mounts are not shown", "honour/mounts", forgets(func(s *vm.Spec) { s.Mounts = nil })},
	{"a restore keeps the mounts' sources", "honour/mounts-of-a-restore-have-their-own-sources", func(b *broken) {
		b.create = func(ctx context.Context, id string, spec vm.Spec) error {
			if ref := spec.RestoreFrom; ref != nil {
				spec.Mounts = b.Driver.Guest(ref.VMID).Spec().Mounts
			}
			return b.Driver.Create(ctx, id, spec)
		}
	}},
	{"arguments are dropped", "honour/arguments", forgets(func(s *vm.Spec) { s.Args = s.Args[:min(1, len(s.Args))] })},
	{"the environment is dropped", "honour/environment", forgets(func(s *vm.Spec) { s.Env = nil })},
	{"machines share an environment", "honour/environment", forgets(func(s *vm.Spec) { s.Env = []string{"VMTEST=its value = this"} })},
	{"the working directory is the root", "honour/working-directory", forgets(func(s *vm.Spec) { s.Cwd = "/" })},
	{"all have one address", "honour/address-is-that-of-the-spec", forgets(func(s *vm.Spec) { s.GuestIP = "10.0.0.1" })},
	{"a restore keeps the address", "honour/network-namespace-is-that-of-the-spec", func(b *broken) {
		b.create = func(ctx context.Context, id string, spec vm.Spec) error {
			if ref := spec.RestoreFrom; ref != nil {
				spec.GuestIP = b.Driver.Guest(ref.VMID).Spec().GuestIP
			}
			return b.Driver.Create(ctx, id, spec)
		}
	}},
	{"a start writes to the image", "honour/guest-writes-never-reach-the-host", writesToImage},
	{"a start writes to the image, in any rule", "stop/running-becomes-stopped", writesToImage},
	{"mount points are made in the image", "honour/mount-points-are-not-made-in-the-image", func(b *broken) {
		b.create = func(ctx context.Context, id string, spec vm.Spec) error {
			for _, m := range spec.Mounts {
				_ = os.MkdirAll(filepath.Join(spec.Rootfs, m.Target), 0o700)
			}
			return b.Driver.Create(ctx, id, spec)
		}
	}},
	{"a write reaches a mount", "honour/guest-writes-never-reach-the-host", func(b *broken) {
		b.destroy = func(ctx context.Context, id string) error {
			for _, m := range b.Driver.Guest(id).Spec().Mounts {
				if old := filepath.Join(m.Source, "old"); m.Overlay {
					// The size stays the same.
					_ = os.WriteFile(old, []byte("#verlay"), 0o600)
				}
			}
			return b.Driver.Destroy(ctx, id)
		}
	}},
}

func writesToImage(b *broken) {
	b.start = func(ctx context.Context, id string) error {
		_ = os.WriteFile(filepath.Join(b.Driver.Guest(id).Spec().Rootfs, "vmtest-new"), nil, 0o600)
		return b.Driver.Start(ctx, id)
	}
}
