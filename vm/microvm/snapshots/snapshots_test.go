//go:build linux

package snapshots

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/vm"
)

func store(t *testing.T) *Store {
	t.Helper()
	dir := t.TempDir()
	s := &Store{Dir: filepath.Join(dir, "snapshots"), Pending: filepath.Join(dir, "pending"), Stamp: vm.Stamp{Driver: "mechanism", Version: "7", Arch: runtime.GOARCH}, Deleted: func(string, string) {}}
	for _, d := range []string{s.Dir, s.Pending} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// save makes a snapshot of one file.
func save(t *testing.T, s *Store, spec vm.Spec, id, name string) {
	t.Helper()
	staging, err := os.MkdirTemp(s.Pending, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(staging, "ram"), []byte("memory"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Describe(spec, s.Stamp.Version, 1, staging, false), s.Commit(staging, id, name)); err != nil {
		t.Fatal(err)
	}
}

func TestASnapshotIsWholeOrRefused(t *testing.T) {
	s := store(t)
	root := filepath.Join(t.TempDir(), "root")
	if err := os.WriteFile(root, []byte("image"), 0o600); err != nil {
		t.Fatal(err)
	}
	save(t, s, vm.Spec{Rootfs: root, NetNS: "/ns", Hostname: "old"}, "a", "one")
	save(t, s, vm.Spec{Rootfs: root}, "a", "two")
	if names := s.Of("a"); !slices.Equal(names, []string{"one", "two"}) {
		t.Errorf("%q", names)
	}
	m, err := s.Read("a", "one")
	if err != nil {
		t.Fatal(err)
	}
	out, err := m.Fits(s, vm.Spec{NetNS: "/other", GuestIP: "1.2.3.4", Hostname: "new", Rootfs: "/ignored"})
	if err != nil || out.NetNS != "/other" || out.Hostname != "new" || out.Rootfs != root {
		t.Errorf("%+v, %v", out, err)
	}
	if _, err := m.Fits(s, vm.Spec{}); !errors.Is(err, vm.ErrIncompatible) {
		t.Errorf("without a network: %v", err)
	}
	s.Stamp.Version = "8"
	if _, err := m.Fits(s, vm.Spec{NetNS: "/other"}); !errors.Is(err, vm.ErrIncompatible) || !strings.Contains(err.Error(), "7") {
		t.Errorf("another version: %v", err)
	}
	if _, err := s.Read("a", "none"); !errors.Is(err, vm.ErrNotFound) {
		t.Errorf("none: %v", err)
	}
	if err := os.Truncate(filepath.Join(s.Path("a", "one"), "ram"), 1); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Read("a", "one"); !errors.Is(err, vm.ErrIncompatible) {
		t.Errorf("a file that was cut: %v", err)
	}
	if err := os.WriteFile(filepath.Join(s.Path("a", "two"), manifestFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	all, err := s.Snapshots(t.Context())
	if err != nil || len(all) != 2 || all[0].Damaged == "" || all[1].Damaged == "" {
		t.Errorf("%+v, %v", all, err)
	}
	for _, name := range []string{"one", "two", "never"} {
		if err := s.DeleteSnapshot(t.Context(), "a", name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if left, err := s.HasAny("a"); left || err != nil {
		t.Errorf("something is left: %v, %v", left, err)
	}
	if left, err := os.ReadDir(s.Pending); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// What cannot be looked at is neither gone nor damaged.
func TestAnErrorIsNoAnswer(t *testing.T) {
	s := store(t)
	root := filepath.Join(t.TempDir(), "root")
	if err := os.WriteFile(root, []byte("image"), 0o600); err != nil {
		t.Fatal(err)
	}
	save(t, s, vm.Spec{Rootfs: root}, "a", "one")
	ram := filepath.Join(s.Path("a", "one"), "ram")
	if err := errors.Join(os.Remove(ram), os.Symlink(ram, ram)); err != nil { // A link to itself cannot be followed.
		t.Fatal(err)
	}
	if _, err := s.Read("a", "one"); err == nil || errors.Is(err, vm.ErrIncompatible) || errors.Is(err, vm.ErrNotFound) {
		t.Errorf("read: %v", err)
	}
	if err := os.Symlink(filepath.Join(s.Dir, "b"), filepath.Join(s.Dir, "b")); err != nil {
		t.Fatal(err)
	}
	if any, err := s.HasAny("b"); any || err == nil {
		t.Errorf("%v, %v", any, err)
	}
	if any, err := s.HasAny("none"); any || err != nil {
		t.Errorf("%v, %v", any, err)
	}
}

// The last snapshot of an id is deleted while another one is made.
func TestASnapshotIsMadeWhileTheLastIsDeleted(t *testing.T) {
	s := store(t)
	root := filepath.Join(t.TempDir(), "root")
	if err := os.WriteFile(root, []byte("image"), 0o600); err != nil {
		t.Fatal(err)
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				if err := s.DeleteSnapshot(t.Context(), "a", "none"); err != nil {
					t.Error(err)
				}
			}
		}
	}()
	defer func() { close(stop); <-stopped }()
	for range 500 {
		staging, err := os.MkdirTemp(s.Pending, "save-")
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Commit(staging, "a", "one"); err != nil {
			t.Fatal(err)
		}
		if err := s.DeleteSnapshot(t.Context(), "a", "one"); err != nil {
			t.Fatal(err)
		}
	}
}
