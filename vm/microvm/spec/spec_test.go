//go:build linux

package spec

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/vm"
)

func image(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	data := make([]byte, 4096)
	copy(data[1024:], []byte{0xe2, 0xe1, 0xf5, 0xe0})
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCheck(t *testing.T) {
	good := vm.Spec{Rootfs: image(t), Args: []string{"/init"}}
	if err := Check(good, 255); err != nil {
		t.Fatal(err)
	}
	dir, text := t.TempDir(), filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte(strings.Repeat("x", 4096)), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*vm.Spec)
		want   error
	}{
		"no root":       {func(s *vm.Spec) { s.Rootfs = "" }, vm.ErrInvalid},
		"no program":    {func(s *vm.Spec) { s.Args = nil }, vm.ErrInvalid},
		"a directory":   {func(s *vm.Spec) { s.Rootfs = dir }, vm.ErrUnsupported},
		"no image":      {func(s *vm.Spec) { s.Rootfs = text }, vm.ErrInvalid},
		"mounts":        {func(s *vm.Spec) { s.Mounts = []vm.Mount{{}} }, vm.ErrUnsupported},
		"processors":    {func(s *vm.Spec) { s.VCPUs = 256 }, vm.ErrInvalid},
		"a kernel":      {func(s *vm.Spec) { s.Kernel = "x" }, vm.ErrUnsupported},
		"drives":        {func(s *vm.Spec) { s.Drives = []vm.Drive{{}} }, vm.ErrUnsupported},
		"little memory": {func(s *vm.Spec) { s.MemoryMiB = 8 }, vm.ErrInvalid},
		"no namespace":  {func(s *vm.Spec) { s.NetNS = "/does/not/exist" }, vm.ErrInvalid},
		"a bad name":    {func(s *vm.Spec) { s.Hostname = "a\nb" }, vm.ErrInvalid},
		"environment":   {func(s *vm.Spec) { s.Env = []string{"X"} }, vm.ErrInvalid},
		"overrides": {func(s *vm.Spec) {
			s.RestoreFrom = &vm.SnapshotRef{VMID: "a", SnapshotID: "b", NetworkOverrides: []vm.NetworkOverride{{}}}
		}, vm.ErrUnsupported},
		"a bad snapshot": {func(s *vm.Spec) { s.RestoreFrom = &vm.SnapshotRef{VMID: "../a", SnapshotID: "b"} }, vm.ErrInvalid},
	} {
		s := good
		c.change(&s)
		if err := Check(s, 255); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func TestLimits(t *testing.T) {
	l, over := Limits{VCPUs: 2, MemoryMiB: 100}, Overhead{MemoryMiB: 28, Threads: 10}
	r := l.Resources(200, over)
	if *r.CPU.Quota != 2*cpuPeriodMicros || *r.CPU.Period != cpuPeriodMicros || r.Pids.Limit != 210 {
		t.Errorf("%+v %+v", *r.CPU, *r.Pids)
	}
	if *r.Memory.Limit != 128<<20 || l.MemoryBytes(over) != *r.Memory.Limit {
		t.Errorf("%+v", *r.Memory)
	}
}
