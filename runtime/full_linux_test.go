package runtime

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/sandbox"
)

// onSmallDisk is a fixture whose database is on a separate disk, with what fills
// that disk and what makes room again.
func onSmallDisk(t *testing.T) (f *fixture, fill, empty func()) {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=2m"); err != nil {
		t.Fatalf("this test needs root: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	f = newFixture(t)
	db := newDatabase(t, filepath.Join(dir, "db"))
	f.rt.Close()
	f.db, f.cfg.Store = db, db
	f.open()
	path := filepath.Join(dir, "filler")
	fill = func() {
		t.Helper()
		if err := db.Checkpoint(t.Context()); err != nil {
			t.Fatal(err)
		}
		filler, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		defer filler.Close()
		for piece := make([]byte, 4096); err == nil; {
			_, err = filler.Write(piece)
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
	}
	empty = func() {
		t.Helper()
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	return f, fill, empty
}

// Every call that writes to the database says that the disk is full, if it fails
// for that, and loses nothing.
func TestUserDataOutlivesAFullDisk(t *testing.T) {
	ctx := context.Background()
	id := func(id string) func(*fixture) string { return func(*fixture) string { return id } }
	calls := append(entries(),
		entry{"set timeout", 0, func(f *fixture) string { return f.create(long).ID }, func(f *fixture, id string) error { return f.rt.SetTimeout(ctx, id, time.Minute) }},
		entry{"extend", 0, func(f *fixture) string { return f.create(long).ID }, func(f *fixture, id string) error { return f.rt.Extend(ctx, id, 2*time.Hour) }},
		entry{"connect to what runs", 0, func(f *fixture) string { return f.create(long).ID }, func(f *fixture, id string) error {
			_, _, err := f.rt.Connect(ctx, id, 2*time.Hour)
			return err
		}},
		entry{"snapshot of what is paused", 0, func(f *fixture) string { return f.paused() }, func(f *fixture, id string) error {
			_, err := f.rt.Snapshot(ctx, id, "", "")
			return err
		}},
		entry{"delete a snapshot", 0, func(f *fixture) string {
			snap, err := f.rt.Snapshot(ctx, f.create(long).ID, "", "")
			if err != nil {
				f.t.Fatal(err)
			}
			return snap.ID
		}, func(f *fixture, id string) error { return f.rt.DeleteSnapshot(ctx, id) }},
		entry{"kill what is paused", 0, func(f *fixture) string { return f.paused() }, func(f *fixture, id string) error { return f.rt.Kill(ctx, id) }},
		entry{"kill what is not there", 0, id("inothing"), func(f *fixture, id string) error {
			if err := f.rt.Kill(ctx, id); !errors.Is(err, sandbox.ErrNotFound) {
				return err
			}
			return nil
		}},
	)
	refused := 0
	for _, e := range calls {
		t.Run(e.name, func(t *testing.T) {
			f, fill, empty := onSmallDisk(t)
			bystander, saved := f.create(long).ID, f.paused()
			snap, err := f.rt.Snapshot(ctx, bystander, "precious", "")
			if err != nil {
				t.Fatal(err)
			}
			subject := e.ready(f)
			fill()
			err = e.work(f, subject)
			if err != nil && !errors.Is(err, sandbox.ErrDiskFull) {
				t.Errorf("%v", err)
			}
			if err != nil {
				refused++
			}
			f.rt.Close()
			empty()
			f.open()
			for _, id := range []string{bystander, saved} {
				if sb, err := f.rt.Get(ctx, id); err != nil || sb.State == sandbox.StateKilled {
					t.Errorf("%s: %+v, %v", id, sb.State, err)
				}
			}
			if _, err := f.rt.claims.Find(ctx, snap.ID, claim.KindSnapshot); err != nil {
				t.Error(err)
			}
		})
	}
	if refused < len(calls)/2 {
		t.Errorf("%d of %d calls met the full disk", refused, len(calls))
	}
}
