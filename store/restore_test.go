package store

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/store/internal/database"
)

// A database of a daemon that was killed has a log beside it. Neither it nor its
// log may get lost, or mixed with what is restored, wherever a restore is broken
// off: each step of the exchange is tried, with a restore that succeeds after it.
func TestUserDataOutlivesARestoreThatIsBrokenOff(t *testing.T) {
	ctx := t.Context()
	for at := range 10 {
		dir := t.TempDir()
		path, backup := filepath.Join(dir, "db"), filepath.Join(dir, "backup")
		live := open(t, filepath.Join(dir, "live"))
		if err := live.Sandboxes.Put(ctx, new(sample("i1", "paused"))); err != nil {
			t.Fatal(err)
		}
		if _, err := Backup(ctx, filepath.Join(dir, "live"), backup, false); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(live.Checkpoint(ctx), live.Sandboxes.Put(ctx, new(sample("i2", "paused")))); err != nil {
			t.Fatal(err)
		}
		for _, side := range []string{"", "-wal"} { // As a kill leaves it.
			data, err := os.ReadFile(filepath.Join(dir, "live") + side)
			if err := errors.Join(err, os.WriteFile(path+side, data, 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		left := at
		database.Exchanging = func() error {
			if left--; left < 0 {
				return errBroken
			}
			return nil
		}
		_, err := Restore(ctx, backup, path)
		database.Exchanging = func() error { return nil }
		if err != nil && !errors.Is(err, errBroken) {
			t.Fatalf("step %d: %v", at, err)
		}
		if _, err := Restore(ctx, backup, path); err != nil {
			t.Fatalf("step %d, again: %v", at, err)
		}
		s := open(t, path)
		if _, err := s.Sandboxes.Get(ctx, "i1"); err != nil {
			t.Errorf("step %d: %v", at, err)
		}
		if _, err := s.Sandboxes.Get(ctx, "i2"); !errors.Is(err, ErrNotFound) {
			t.Errorf("step %d: what is restored has a row of the former database: %v", at, err)
		}
		if !keptWhole(t, dir) {
			t.Errorf("step %d: no former database has its row of the log", at)
		}
		if at > 0 && err == nil {
			return // All steps were tried.
		}
	}
	t.Error("a restore has more steps than were tried")
}

var errBroken = errors.New("broken off")

// keptWhole reports whether a former database has the row that was in its log.
func keptWhole(t *testing.T, dir string) bool {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(dir, "db.*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range all {
		if strings.HasSuffix(file, "-wal") || strings.HasSuffix(file, "-shm") {
			continue
		}
		s := open(t, file)
		_, err := s.Sandboxes.Get(t.Context(), "i2")
		s.Close() // SQLite takes two names of one file for one database.
		if err == nil {
			return true
		}
	}
	return false
}
