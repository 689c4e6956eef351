package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"
)

func TestBackupIsOneConsistentFileOfALivingDatabase(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	s := open(t, filepath.Join(dir, "db"))
	want := sample("i1", "paused")
	if err := errors.Join(s.Sandboxes.Put(ctx, &want), s.Snapshots.Put(ctx, new(snapshotRow("c", "n", 1))), s.Garbage.Mark(ctx, "v", "s")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Orphans.SetAside(ctx, OrphanSnapshot, "v", "s", time.Now().Add(-365*24*time.Hour)); err != nil {
		t.Fatal(err)
	}
	unfilled := snapshotRow("u", "", 1)
	unfilled.State = SnapshotSaving
	if err := s.Snapshots.Put(ctx, &unfilled); err != nil {
		t.Fatal(err)
	}
	database := filepath.Join(dir, "db")
	file := filepath.Join(dir, "backup")
	size, err := Backup(ctx, database, file, false)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Size() != size || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v; size %d", info, err, size)
	}
	if _, err := Backup(ctx, database, file, false); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over another: %v", err)
	}
	if _, err := Backup(ctx, database, file, true); err != nil {
		t.Error(err)
	}
	if err := s.Sandboxes.Put(ctx, new(sample("i2", "paused"))); err != nil {
		t.Fatal(err)
	}
	s.Close()
	former, err := Restore(ctx, file, filepath.Join(dir, "db"))
	if err != nil {
		t.Fatal(err)
	}
	s = open(t, filepath.Join(dir, "db"))
	if got, err := s.Sandboxes.Get(ctx, "i1"); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := s.Sandboxes.Get(ctx, "i2"); !errors.Is(err, ErrNotFound) {
		t.Errorf("of after the backup: %v", err)
	}
	if got, err := s.Garbage.All(ctx); err != nil || len(got) != 0 {
		t.Errorf("an older database knows garbage: %v, %v", got, err)
	}
	if all, err := s.Orphans.All(ctx); err != nil || len(all) != 0 {
		t.Errorf("an older database knows since when something is set aside: %v, %v", all, err)
	}
	if all, err := s.Snapshots.Claims(ctx); err != nil || len(all) != 1 || all[0].ID != "c" {
		t.Errorf("claims %+v, %v", all, err)
	}
	if got, err := open(t, former).Sandboxes.Get(ctx, "i2"); err != nil || got.ID != "i2" {
		t.Errorf("the former database, at %s: %v", former, err)
	}
	left, _ := filepath.Glob(filepath.Join(dir, ".rundlet-backup-*"))
	more, _ := filepath.Glob(filepath.Join(dir, "*.restoring*"))
	if len(left)+len(more) > 0 {
		t.Errorf("left behind: %v %v", left, more)
	}
}
