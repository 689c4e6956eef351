package snapshots

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"gvisor.dev/gvisor/pkg/cpuid"

	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/gvisor/files"
)

func opened(t *testing.T) *Store {
	t.Helper()
	cpuid.Initialize()
	dir := t.TempDir()
	dirs := files.Dirs{State: filepath.Join(dir, "state"), Run: filepath.Join(dir, "run"), Instance: "one"}
	if err := dirs.Make(); err != nil {
		t.Fatal(err)
	}
	s, err := Open(dirs, "gvisor", "v1")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// sealed stages a snapshot that has no name yet.
func sealed(t *testing.T, s *Store) (staging string) {
	t.Helper()
	staging, err := s.Stage()
	if err != nil {
		t.Fatal(err)
	}
	m, err := s.Describe(vm.Spec{Rootfs: t.TempDir(), Args: []string{"/init"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(staging, "pages.img"), []byte("12345"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Seal(staging, m); err != nil {
		t.Fatal(err)
	}
	return staging
}

func TestASnapshotIsOneWhileItHasItsName(t *testing.T) {
	s := opened(t)
	staging := sealed(t, s)
	if all, err := s.List(); err != nil || len(all) > 0 || s.Exists("a", "one") || s.HasAny("a") {
		t.Fatalf("before it has its name: %+v, %v", all, err)
	}
	if err := s.Commit(staging, "a", "one", func() {}); err != nil {
		t.Fatal(err)
	}
	info, err := s.Inspect("a", "one")
	if err != nil || len(info.Files) != 2 || info.Files[1].Name != "pages.img" || info.Files[1].Bytes != 5 || info.Stamp.Version != "v1" {
		t.Errorf("%+v, %v", info, err)
	}
	if _, m, _, err := s.Resolve(&vm.SnapshotRef{VMID: "a", SnapshotID: "one"}, vm.Spec{}); err != nil || m.Files["pages.img"] != 5 {
		t.Errorf("%+v, %v", m, err)
	}
	trash, err := s.Detach("a", "one")
	if err != nil || s.Exists("a", "one") || s.HasAny("a") {
		t.Fatalf("it has its name still: %v", err)
	}
	if _, err := os.Stat(filepath.Join(trash, ManifestFile)); err != nil {
		t.Error(err)
	}
	if owners, err := os.ReadDir(s.dirs.Snapshots()); err != nil || len(owners) > 0 {
		t.Errorf("the directory for its name is left: %v, %v", owners, err)
	}
	if _, err := s.Inspect("a", "one"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if _, err := s.Detach("a", "one"); err != nil {
		t.Errorf("the second time: %v", err)
	}
}

// A deletion by another process removes the directory for a snapshot's name, for it is
// empty until the snapshot is in it.
func TestACommitSurvivesADeletion(t *testing.T) {
	s := opened(t)
	times := 0
	err := s.Commit(sealed(t, s), "a", "one", func() {
		if times++; times == 1 {
			if err := os.Remove(filepath.Join(s.dirs.Snapshots(), "a")); err != nil {
				t.Error(err)
			}
		}
	})
	if err != nil || times != 2 || !s.Exists("a", "one") {
		t.Errorf("after %d tries: %v", times, err)
	}
	if err := s.Commit(sealed(t, s), "a", "one", func() {}); err == nil {
		t.Error("a second snapshot has the same name")
	}
}

func TestSnapshotsMoveToAnIDWithoutAny(t *testing.T) {
	s := opened(t)
	for _, name := range []string{"two", "one"} {
		if err := s.Commit(sealed(t, s), "a", name, func() {}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Commit(sealed(t, s), "b", "other", func() {}); err != nil {
		t.Fatal(err)
	}
	if got := s.Of("a"); !slices.Equal(got, []string{"two", "one"}) {
		t.Errorf("%q, want the oldest first", got)
	}
	if err := s.Move("a", "b"); err == nil || len(s.Of("b")) != 1 {
		t.Errorf("%q, %v", s.Of("b"), err)
	}
	if err := s.Move("a", "c"); err != nil || s.HasAny("a") || len(s.Of("c")) != 2 {
		t.Errorf("%q, %v", s.Of("c"), err)
	}
}

func TestASnapshotWithoutItsManifestIsListedAsDamaged(t *testing.T) {
	s := opened(t)
	if err := s.Commit(sealed(t, s), "a", "one", func() {}); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(s.dirs.Snapshot("a", "one"), ManifestFile)); err != nil {
		t.Fatal(err)
	}
	if all, err := s.List(); err != nil || len(all) != 1 || all[0].Damaged == "" {
		t.Errorf("%+v, %v", all, err)
	}
	if got := s.Of("a"); len(got) > 0 {
		t.Errorf("%q", got)
	}
}
