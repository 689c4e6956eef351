package imagelayer

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func TestEachLayerHasAFile(t *testing.T) {
	dir := t.TempDir()
	for confs, want := range map[string]int{"erofs:anon:size=20m": 1, "erofs:none": 0, "erofs:anon,erofs:none,erofs:anon:size=1m": 2} {
		args := []string{"runsc-sandbox", "boot", "--gofer-mount-confs=" + confs, "key"}
		out, err := WithFiles(args, dir)
		if err != nil || len(out) != len(args)+want || out[len(out)-1] != "key" {
			t.Errorf("%s: %q, %v", confs, out, err)
		}
		for _, arg := range out[3 : len(out)-1] {
			var fd int
			if n, err := fmt.Sscanf(arg, "--gofer-filestore-fds=%d", &fd); n != 1 || err != nil {
				t.Fatalf("%q, %v", arg, err)
			}
			if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC != 0 {
				t.Errorf("descriptor %d is not inherited: %v", fd, err)
			}
			_ = unix.Close(fd)
		}
		if same, err := WithFiles(args, ""); err != nil || len(same) != len(args) {
			t.Errorf("without a directory: %q, %v", same, err)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("left are %v, %v", entries, err)
	}
}
