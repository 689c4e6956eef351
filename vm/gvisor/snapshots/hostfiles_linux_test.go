package snapshots

import (
	"testing"

	"github.com/rundlet/rundlet/vm"
)

func TestHostPath(t *testing.T) {
	spec := vm.Spec{Rootfs: "/base/", Mounts: []vm.Mount{{Source: "/usr", Target: "/usr"}, {Source: "/empty", Target: "/usr/etc"}, {Source: "/f", Target: "/file"}}}
	for guest, want := range map[string]string{
		"/bin/a": "/base/bin/a", "/usr/lib/b": "/usr/lib/b", "/usr/etc/c": "/empty/c", "/usr/etcetera": "/usr/etcetera", "/file": "/f", "/user": "/base/user",
	} {
		if got := hostPath(guest, spec); got != want {
			t.Errorf("%s is %s, want %s", guest, got, want)
		}
	}
}
