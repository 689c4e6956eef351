package vmtest

import (
	"maps"
	"slices"
	"time"

	"github.com/rundlet/rundlet/vm"
)

// Fields are the optional Spec fields that a driver may be unable to honour, by
// Go name: what Harness.Accepts chooses from.
func Fields() []string { return slices.Sorted(maps.Keys(fields)) }

// fields set each of them to something harmless.
var fields = map[string]func(*vm.Spec){
	"RootfsReadOnly": func(s *vm.Spec) { s.RootfsReadOnly = true },
	"Mounts":         func(s *vm.Spec) { s.Mounts = append(s.Mounts, vm.Mount{Source: "/usr", Target: "/vmtest"}) },
	"Args":           func(s *vm.Spec) { s.Args = []string{"/bin/sleep", "1000"} },
	"Env":            func(s *vm.Spec) { s.Env = append(s.Env, "VMTEST=1") },
	"Cwd":            func(s *vm.Spec) { s.Cwd = "/" },
	"Kernel":         func(s *vm.Spec) { s.Kernel = "/dev/null" },
	"BootArgs":       func(s *vm.Spec) { s.BootArgs = "quiet" },
	"Hostname":       func(s *vm.Spec) { s.Hostname = "vmtest" },
	"VCPUs":          func(s *vm.Spec) { s.VCPUs = 1 },
	"MemoryMiB":      func(s *vm.Spec) { s.MemoryMiB = 512 },
	"DiskMiB":        func(s *vm.Spec) { s.DiskMiB = 512 },
	"MaxProcesses":   func(s *vm.Spec) { s.MaxProcesses = 512 },
	"NetNS":          func(s *vm.Spec) { s.NetNS = "/proc/self/ns/net" },
	"GuestIP":        func(s *vm.Spec) { s.GuestIP = "10.0.0.2" },
	"Interfaces":     func(s *vm.Spec) { s.Interfaces = []vm.NetworkInterface{{ID: "eth9", HostDevice: "none9"}} },
	"Drives":         func(s *vm.Spec) { s.Drives = []vm.Drive{{ID: "data", Path: "/dev/null"}} },
	"RootfsRateLimit": func(s *vm.Spec) {
		s.RootfsRateLimit = &vm.RateLimiter{Ops: &vm.TokenBucket{Size: 1, Refill: time.Second}}
	},
	"Vsock":           func(s *vm.Spec) { s.Vsock = &vm.Vsock{CID: 3, Path: "/dev/null"} },
	"TrackDirtyPages": func(s *vm.Spec) { s.TrackDirtyPages = true },
}

var specRules = []rule{
	{name: "spec/fields-not-honoured-are-refused-before-any-effect", run: func(e *env) {
		for _, name := range e.h.Accepts {
			if fields[name] == nil {
				e.Errorf("Harness.Accepts names %q, which is none of Fields", name)
			}
		}
		before := e.leftovers()
		for _, name := range Fields() {
			if slices.Contains(e.h.Accepts, name) {
				continue
			}
			s := e.spec()
			fields[name](&s)
			if err := e.d.Create(e.ctx, "a", s); err == nil {
				e.Fatalf("field %s was accepted", name)
			} else {
				e.is(err, vm.ErrUnsupported)
			}
			e.unknown("a")
		}
		e.noLeftovers(before)
		e.created("a")
	}},
	{name: "spec/drive-id-rootfs-is-reserved", run: func(e *env) {
		s := e.spec()
		s.Drives = []vm.Drive{{ID: "rootfs", Path: "/dev/null"}}
		e.is(e.d.Create(e.ctx, "a", s), vm.ErrUnsupported)
		e.unknown("a")
	}},
	{name: "spec/negative-limits-are-invalid", run: func(e *env) {
		before := e.leftovers()
		for name, set := range map[string]func(*vm.Spec){
			"VCPUs":        func(s *vm.Spec) { s.VCPUs = -1 },
			"MemoryMiB":    func(s *vm.Spec) { s.MemoryMiB = -1 },
			"DiskMiB":      func(s *vm.Spec) { s.DiskMiB = -1 },
			"MaxProcesses": func(s *vm.Spec) { s.MaxProcesses = -1 },
		} {
			if !slices.Contains(e.h.Accepts, name) {
				continue
			}
			s := e.spec()
			set(&s)
			e.is(e.d.Create(e.ctx, "a", s), vm.ErrInvalid)
			e.unknown("a")
		}
		e.noLeftovers(before)
	}},
	{name: "spec/stays-the-callers", run: func(e *env) {
		s := e.spec()
		s.Args, s.Env = slices.Clone(s.Args), slices.Clone(s.Env)
		args, env := slices.Clone(s.Args), slices.Clone(s.Env)
		e.ok(e.d.Create(e.ctx, "a", s))
		if !slices.Equal(s.Args, args) || !slices.Equal(s.Env, env) {
			e.Errorf("Create changed the spec: %q %q", s.Args, s.Env)
		}
		// What the caller does to it afterwards reaches no machine.
		for i := range s.Args {
			s.Args[i] = "/does/not/exist"
		}
		e.ok(e.d.Start(e.ctx, "a"))
		e.status("a", vm.StatusRunning)
	}},
}
