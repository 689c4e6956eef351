package vmtest_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/memvm"
	"github.com/rundlet/rundlet/vm/vmtest"
)

// microVM has the form of a driver for microVMs: its root is an image, it boots
// a kernel with devices, and it starts no program and shows no directories.
type microVM struct {
	*broken
	mu      sync.Mutex
	booted  map[string]vm.Spec // What the in-memory driver does not take.
	forgets bool               // Drop the kernel's command line.
}

func (m *microVM) Create(ctx context.Context, id string, spec vm.Spec) error {
	cold := spec.RestoreFrom == nil
	if ref := spec.RestoreFrom; ref != nil {
		info, err := m.InspectSnapshot(ctx, ref.VMID, ref.SnapshotID)
		cold = err == nil && info.Filesystem
	}
	if cold {
		for name, set := range map[string]bool{
			"args": len(spec.Args) > 0, "env": len(spec.Env) > 0, "cwd": spec.Cwd != "", "mounts": len(spec.Mounts) > 0,
			"max_processes": spec.MaxProcesses != 0, "netns": spec.NetNS != "",
			"drive rootfs": slices.ContainsFunc(spec.Drives, func(d vm.Drive) bool { return d.ID == "rootfs" }),
		} {
			if set {
				return &vm.Error{Op: "create", ID: id, Kind: vm.ErrUnsupported, Err: fmt.Errorf("field %s", name)}
			}
		}
	}
	kept := spec
	if m.forgets {
		kept.BootArgs = ""
	}
	spec.Kernel, spec.BootArgs, spec.Drives, spec.RootfsRateLimit, spec.Vsock, spec.TrackDirtyPages = "", "", nil, nil, nil, false
	if err := m.broken.Create(ctx, id, spec); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.booted[id] = kept
	return nil
}

// has is a driver's own check of a field.
func has(field func(s vm.Spec) any) func(*testing.T, vm.Runtime) {
	return func(t *testing.T, d vm.Runtime) {
		spec := vm.Spec{
			Kernel: "/boot/vmlinux", Drives: []vm.Drive{{ID: "data", Path: "/data"}}, Vsock: &vm.Vsock{CID: 3}, TrackDirtyPages: true,
			RootfsRateLimit: &vm.RateLimiter{Ops: &vm.TokenBucket{Size: 1}},
		}
		if err := d.Create(t.Context(), "a", spec); err != nil {
			t.Fatal(err)
		}
		m := d.(*microVM)
		m.mu.Lock()
		defer m.mu.Unlock()
		if got, want := fmt.Sprint(field(m.booted["a"])), fmt.Sprint(field(spec)); got != want {
			t.Errorf("the machine has %s, want %s", got, want)
		}
	}
}

func microVMHarness(forgets bool) vmtest.Harness {
	h := harness(func(d *memvm.Driver) vm.Runtime {
		return &microVM{broken: &broken{Driver: d}, booted: map[string]vm.Spec{}, forgets: forgets}
	})
	image := func(t *testing.T, content string) string {
		file := filepath.Join(roots.of(t), content)
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Error(err)
		}
		return file
	}
	h.Spec = func(t *testing.T) vm.Spec {
		file := filepath.Join(roots.of(t), "file")
		return vm.Spec{Rootfs: file, GuestIP: address().GuestIP}
	}
	h.RestoreSpec = func(*testing.T) vm.Spec { return vm.Spec{GuestIP: address().GuestIP} }
	h.OtherRoot = func(t *testing.T) string { return image(t, "other") }
	h.RootFile = ""
	h.Accepts = []string{"RootfsReadOnly", "Kernel", "BootArgs", "Hostname", "VCPUs", "MemoryMiB", "DiskMiB", "GuestIP", "Interfaces",
		"Drives", "RootfsRateLimit", "Vsock", "TrackDirtyPages"}
	h.Honoured["Kernel"] = has(func(s vm.Spec) any { return s.Kernel })
	h.Honoured["Drives"] = has(func(s vm.Spec) any { return s.Drives })
	h.Honoured["RootfsRateLimit"] = has(func(s vm.Spec) any { return s.RootfsRateLimit.Ops.Size })
	h.Honoured["Vsock"] = has(func(s vm.Spec) any { return s.Vsock.CID })
	h.Honoured["TrackDirtyPages"] = has(func(s vm.Spec) any { return s.TrackDirtyPages })
	look := h.Look
	h.Look = func(ctx context.Context, d vm.Runtime, id string, question ...string) (string, error) {
		if m := d.(*microVM); question[0] == "command-line" {
			m.mu.Lock()
			defer m.mu.Unlock()
			return "console=ttyS0 " + m.booted[id].BootArgs, nil
		}
		return look(ctx, d, id, question...)
	}
	h.Skips = append(slices.DeleteFunc(slices.Clone(skips), func(rule string) bool { return rule == "honour/kernel-command-line" }),
		"honour/disk-of-root-and-mounts-is-one", "honour/processes", "honour/arguments", "honour/environment", "honour/working-directory",
		"honour/mounts", "honour/mounts-of-a-restore-have-their-own-sources", "honour/mount-points-are-not-made-in-the-image",
		"honour/network-namespace-is-that-of-the-spec")
	return h
}

// TestConformanceOfAMicroVM shows that the suite assumes neither a directory as
// root nor a program that the driver starts.
func TestConformanceOfAMicroVM(t *testing.T) {
	vmtest.Run(t, microVMHarness(false))
}
