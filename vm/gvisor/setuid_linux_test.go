package gvisor

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/vmtest"
)

// TestAFileIsSetUIDInTheGuestOnly has snapshots of an earlier version, which had
// the bit on the host, and those of this one, whose guest may give it up.
func TestAFileIsSetUIDInTheGuestOnly(t *testing.T) {
	earlier := newDriver(t)
	ctx := testContext(t)
	root, onHost, _ := setUIDRootfs(t)
	ofAUser := filepath.Join(root, "of-a-user")
	if err := errors.Join(os.WriteFile(ofAUser, nil, 0o755), os.Chown(ofAUser, 1000, 1000), os.Symlink("init", filepath.Join(root, "link"))); err != nil {
		t.Fatal(err)
	}
	spec := func(snapshot string) vm.Spec {
		s := guestSpec(t)
		s.Rootfs = root
		if snapshot != "" {
			s.RestoreFrom = &vm.SnapshotRef{VMID: snapshot, SnapshotID: snapshot, ResumeImmediately: true}
		}
		return s
	}
	start(t, earlier, "memory", spec(""))
	start(t, earlier, "files", spec(""))
	if err := errors.Join(earlier.Snapshot(ctx, "memory", "memory"), earlier.SnapshotFilesystem(ctx, "files", "files")); err != nil {
		t.Fatal(err)
	}

	if err := os.Chmod(onHost, 0o755); err != nil {
		t.Fatal(err)
	}
	d := newDriver(t, func(c *Config) {
		c.StateDir, c.SetUID = earlier.conf.StateDir, []string{"/raise", "/none", "/of-a-user", "/link"}
	})
	start(t, d, "new", spec(""))
	create(t, d, "a", spec("memory"))
	create(t, d, "b", spec("files"))
	for _, id := range []string{"new", "a", "b"} {
		if got := run(t, d, id, "?user=1", "/raise", "uid"); got != "1000 0" {
			t.Errorf("%s: the uids are %q, want 1000 0", id, got)
		}
	}
	for _, path := range []string{"/of-a-user", "/link", "/init"} {
		if got := run(t, d, "new", "", "/init", "mode", path); strings.HasPrefix(got, "u") {
			t.Errorf("%s is set-uid, too: %s", path, got)
		}
	}
	if info, err := os.Stat(onHost); err != nil || info.Mode() != 0o755 {
		t.Errorf("on the host it is %v, %v", info.Mode(), err)
	}

	if got := run(t, d, "a", "", "/init", "chmod", "/raise"); got != "<nil>" {
		t.Fatal(got)
	}
	for _, id := range []string{"new", "a"} {
		if err := d.Snapshot(ctx, id, id); err != nil {
			t.Fatal(err)
		}
	}
	create(t, d, "kept", spec("new"))
	create(t, d, "given-up", spec("a"))
	waits := spec("a")
	waits.RestoreFrom.ResumeImmediately = false
	create(t, d, "waits", waits)
	if err := d.Snapshot(ctx, "waits", "waits"); err != nil {
		t.Fatal(err)
	}
	create(t, d, "given-up-saved-again", spec("waits"))
	for id, want := range map[string]string{"kept": "1000 0", "given-up": "1000 1000", "given-up-saved-again": "1000 1000"} {
		if got := run(t, d, id, "?user=1", "/raise", "uid"); got != want {
			t.Errorf("%s: the uids are %q, want %s", id, got, want)
		}
	}
}

// TestAFileIsSetUIDInAGuestThatRunsOn has machines of an earlier version, which
// had the bit on the host, run on under a daemon that took it away: one that runs
// when it is taken over, and one that is stopped.
func TestAFileIsSetUIDInAGuestThatRunsOn(t *testing.T) {
	earlier := newDriver(t)
	root, onHost, program := setUIDRootfs(t)
	bin := filepath.Join(root, "usr/bin")
	if err := errors.Join(os.MkdirAll(bin, 0o755), os.WriteFile(filepath.Join(bin, "chmod"), program, 0o755)); err != nil {
		t.Fatal(err)
	}
	ctx := testContext(t)
	for _, id := range []string{"a", "b"} {
		spec := guestSpec(t)
		spec.Rootfs = root
		if err := errors.Join(earlier.Create(ctx, id, spec), earlier.Start(ctx, id)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(earlier.Stop(ctx, "b"), earlier.Close(), os.Chmod(onHost, 0o755)); err != nil {
		t.Fatal(err)
	}
	conf := earlier.conf
	for i, want := range []string{"1000 0", "1000 1000"} {
		// The second daemon has one file more, and knows that the others were done.
		conf.SetUID = [][]string{{"/none", "/raise"}, {"/more", "/none", "/raise"}}[i]
		done := [][]string{{"/none", "/raise"}, {"/none", "/raise", "/more"}}[i]
		d := open(t, conf)
		if _, lost, err := vmtest.Adopted(ctx, d); err != nil || len(lost) > 0 {
			t.Fatal(lost, err)
		}
		if i == 0 {
			if err := d.Start(ctx, "b"); err != nil {
				t.Error(err)
			}
		}
		for _, id := range []string{"a", "b"} {
			got := ""
			for end := time.Now().Add(30 * time.Second); got != want && time.Now().Before(end); <-time.After(10 * time.Millisecond) {
				got = run(t, d, id, "?user=1", "/raise", "uid")
			}
			if setUID := mustFind(t, d, id).setUID; got != want || !slices.Equal(setUID, done) {
				t.Errorf("daemon %d: the uids in %s are %q, want %s; set-uid are %q, want %q", i, id, got, want, setUID, done)
			}
			if got := run(t, d, id, "", "/init", "chmod", "/raise"); got != "<nil>" {
				t.Fatal(got)
			}
			if i == 1 {
				if err := d.Destroy(ctx, id); err != nil {
					t.Error(err)
				}
			}
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
