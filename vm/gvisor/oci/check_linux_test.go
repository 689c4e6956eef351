package oci

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/vm"
)

func TestCheckSpec(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "point"), 0o700), os.WriteFile(filepath.Join(dir, "file"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	good := vm.Spec{Rootfs: dir, Args: []string{"/init"}}
	if err := Check(good); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*vm.Spec)
		want   error
	}{
		"no rootfs":       {func(s *vm.Spec) { s.Rootfs = "" }, vm.ErrInvalid},
		"relative rootfs": {func(s *vm.Spec) { s.Rootfs = "x" }, vm.ErrInvalid},
		"missing rootfs":  {func(s *vm.Spec) { s.Rootfs = dir + "/x" }, vm.ErrInvalid},
		"no program":      {func(s *vm.Spec) { s.Args = nil }, vm.ErrInvalid},
		"many cpus":       {func(s *vm.Spec) { s.VCPUs = 1 << 20 }, vm.ErrInvalid},
		"huge memory":     {func(s *vm.Spec) { s.MemoryMiB = 1 << 40 }, vm.ErrInvalid},
		"long host name":  {func(s *vm.Spec) { s.Hostname = strings.Repeat("x", 65) }, vm.ErrInvalid},
		"netns":           {func(s *vm.Spec) { s.NetNS = dir + "/x" }, vm.ErrInvalid},
		"mount source":    {func(s *vm.Spec) { s.Mounts = []vm.Mount{{Source: dir + "/x", Target: "/x"}} }, vm.ErrInvalid},
		"mount target":    {func(s *vm.Spec) { s.Mounts = []vm.Mount{{Source: dir, Target: "/a/../x"}} }, vm.ErrInvalid},
		"no mount point":  {func(s *vm.Spec) { s.Mounts = []vm.Mount{{Source: dir, Target: "/none"}} }, vm.ErrInvalid},
		"mount on a file": {func(s *vm.Spec) { s.Mounts = []vm.Mount{{Source: dir, Target: "/file"}} }, vm.ErrInvalid},
		"no mount point in a mount": {func(s *vm.Spec) {
			s.Mounts = []vm.Mount{{Source: dir, Target: "/point/none"}, {Source: dir, Target: "/point"}}
		}, vm.ErrInvalid},
		"mounts": {func(s *vm.Spec) {
			s.Mounts = []vm.Mount{{Source: dir, Target: "/point/point"}, {Source: dir, Target: "/point"}, {Source: dir + "/file", Target: "/file"}}
		}, nil},
		"mount on root": {func(s *vm.Spec) { s.Mounts = []vm.Mount{{Source: dir, Target: "/"}} }, vm.ErrInvalid},
		"mount twice": {func(s *vm.Spec) {
			s.Mounts = []vm.Mount{{Source: dir, Target: "/x"}, {Source: dir, Target: "/x"}}
		}, vm.ErrInvalid},
	} {
		s := good
		c.change(&s)
		if err := Check(s); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
