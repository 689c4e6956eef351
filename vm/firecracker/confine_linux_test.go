package firecracker

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/rundlet/rundlet/vm/microvm/drivertest"
)

// TestWhatAGuestThatBreaksOutHas looks at the process of a machine that runs: what a guest would be and have that took it over.
func TestWhatAGuestThatBreaksOutHas(t *testing.T) {
	needsKVM(t)
	d := fc.NewDriver(t)
	d.DestroyAll(t)
	ctx := drivertest.Context(t)
	if err := errors.Join(d.Create(ctx, "a", drivertest.Spec(t)), d.Start(ctx, "a"), d.Create(ctx, "b", drivertest.Spec(t))); err != nil {
		t.Fatal(err)
	}
	a, b := d.Find(t, "a"), d.Find(t, "b")
	user := uint32(0)
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", a.PID))
	if err != nil || len(threads) < 3 {
		t.Fatalf("%d threads, %v", len(threads), err)
	}
	for _, thread := range threads {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/status", a.PID, thread.Name()))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
			value = strings.Join(strings.Fields(value), " ")
			switch name {
			case "Uid", "Gid":
				var ids [4]uint32
				if _, err := fmt.Sscan(value, &ids[0], &ids[1], &ids[2], &ids[3]); err != nil || ids[0] < 60_000 || slices.Max(ids[:]) != slices.Min(ids[:]) {
					t.Errorf("thread %s: %s %s", thread.Name(), name, value)
				}
				user = ids[0]
			case "Groups":
				if value != "" {
					t.Errorf("thread %s is in groups %s", thread.Name(), value)
				}
			case "CapInh", "CapPrm", "CapEff", "CapAmb":
				if strings.Trim(value, "0") != "" {
					t.Errorf("thread %s: %s %s", thread.Name(), name, value)
				}
			case "NSpid":
				if len(strings.Fields(value)) < 2 {
					t.Errorf("thread %s is in the host's process namespace: %s", thread.Name(), value)
				}
			}
			for field, want := range map[string]string{"Seccomp": "2", "NoNewPrivs": "1"} {
				if name == field && value != want {
					t.Errorf("thread %s: %s is %s", thread.Name(), name, value)
				}
			}
		}
	}
	root := fmt.Sprintf("/proc/%d/root", a.PID)
	if mounts, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", a.PID)); err != nil || strings.Count(string(mounts), "\n") != 1 {
		t.Errorf("its mounts are not the jail alone: %v\n%s", err, mounts)
	}
	var writable []string
	err = filepath.WalkDir(root+"/", func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		owner, mode := info.Sys().(*syscall.Stat_t), info.Mode().Perm()
		if mode&0o002 != 0 || owner.Uid == user && mode&0o200 != 0 || owner.Gid == user && mode&0o020 != 0 {
			writable = append(writable, strings.TrimPrefix(path, root))
		}
		return nil
	})
	want := []string{"/", "/api", "/dev", "/dev/kvm", "/dev/net", "/dev/net/tun", "/dev/urandom", "/dev/userfaultfd", "/disk", "/guest", "/initramfs", "/kernel", "/run"}
	if _, err := os.Stat("/dev/userfaultfd"); err != nil {
		want = slices.DeleteFunc(want, func(path string) bool { return path == "/dev/userfaultfd" })
	}
	if slices.Sort(writable); err != nil || !slices.Equal(writable, want) {
		t.Errorf("it can write %q, want %q, %v", writable, want, err)
	}
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", a.PID))
	if err != nil || !strings.Contains(string(limits), "Max file size") || strings.Contains(string(limits), "Max file size             unlimited") {
		t.Errorf("files have no limit: %v\n%s", err, limits)
	}
	if here, there := ownerOf(t, a.PID), ownerOf(t, b.PID); here == there {
		t.Errorf("two machines have the same user %d", here)
	}
}

func ownerOf(t *testing.T, pid int) uint32 {
	t.Helper()
	info, err := os.Stat(fmt.Sprintf("/proc/%d", pid))
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t).Uid
}
