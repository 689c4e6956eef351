//go:build linux

package space

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/rundlet/rundlet/internal/flock"
)

// A pull that was broken off goes on, if it is done again. Until then its files are in the way of everything else.
func TestWhatAPullLeftIsGivenBack(t *testing.T) {
	dirs, db := node(t)
	dir := filepath.Join(dirs.Pulls(), "0123")
	write(t, filepath.Join(dir, "pages.img"), 300)
	if err := os.WriteFile(dir+PullLock, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := Size(Object{Paths: []string{dir}}); err != nil || n < 300*block {
		t.Errorf("its files take %d bytes, %v", n, err)
	}
	now := time.Now()
	survey := func(want Grade) Object {
		t.Helper()
		all, err := Objects(t.Context(), dirs, db, now)
		if err != nil || len(all) != 2 || all[0].Kind != Uploads || all[0].Grade != want { // The other one is the database.
			t.Fatalf("%+v, %v", all, err)
		}
		return all[0]
	}
	before := survey(Upload)
	lock, err := flock.Try(dir + PullLock)
	if err != nil {
		t.Fatal(err)
	}
	survey(Needed)
	if u := blocks(t, dirs)[Uploads]; u.Count != 1 || u.Bytes < 300*block || u.Reclaimable != 0 {
		t.Errorf("a pull that goes on: %+v", u)
	}
	if removed, err := RemoveUpload(before); removed || err != nil {
		t.Errorf("a pull that goes on since it was surveyed: removed %v, %v", removed, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "pages.img")); err != nil {
		t.Error(err)
	}
	lock.Close()
	if u := blocks(t, dirs)[Uploads]; u.Count != 1 || u.Reclaimable < 300*block {
		t.Errorf("%+v", u)
	}
	now = now.Add(uploadKept + time.Hour)
	if removed, err := RemoveUpload(survey(Unneeded)); !removed || err != nil {
		t.Errorf("removed %v, %v", removed, err)
	}
	for _, path := range []string{dir, dir + PullLock} {
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// A pull begins with that: it must leave itself, others that go on, and what one may still go on with.
func TestASweepLeavesPullsThatMayGoOn(t *testing.T) {
	dirs, _ := node(t)
	long := time.Now().Add(-uploadKept - time.Hour)
	for name, at := range map[string]time.Time{"held": long, "recent": time.Now(), "old": long} {
		dir := filepath.Join(dirs.Pulls(), name)
		write(t, filepath.Join(dir, "pages.img"), 1)
		lock, err := flock.Try(dir + PullLock)
		if err != nil {
			t.Fatal(err)
		}
		defer lock.Close()
		if name != "held" {
			lock.Close()
		}
		if err := os.Chtimes(dir+PullLock, at, at); err != nil {
			t.Fatal(err)
		}
	}
	if err := SweepPulls(dirs); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(dirs.Pulls(), "*"))
	for i := range left {
		left[i] = filepath.Base(left[i])
	}
	if want := []string{"held", "held" + PullLock, "recent", "recent" + PullLock}; err != nil || !slices.Equal(left, want) {
		t.Errorf("left are %q, %v", left, err)
	}
}
