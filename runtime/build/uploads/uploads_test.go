package uploads

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func newStore(t *testing.T) Store {
	return Store{Dir: t.TempDir(), MaxBytes: 100, Room: func() error { return nil }}
}

// files are all below the directory of a store.
func (s Store) files(t *testing.T) (names []string) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(s.Dir, "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range found {
		names = append(names, filepath.Base(path))
	}
	return names
}

func TestAnArchiveIsNamedByWhatItHas(t *testing.T) {
	s := newStore(t)
	if path, _, err := s.Find("t1", "aa"); path != "" || err != nil {
		t.Errorf("before: %q, %v", path, err)
	}
	for _, content := range []string{"first", "second"} {
		if err := s.Put(t.Context(), "t1", "aa", strings.NewReader(content)); err != nil {
			t.Fatal(err)
		}
	}
	sum := sha256.Sum256([]byte("first"))
	path, digest, err := s.Use("t1", "aa")
	if content, readErr := os.ReadFile(path); err != nil || readErr != nil || string(content) != "first" || digest != hex.EncodeToString(sum[:]) {
		t.Errorf("%q with the digest %s: %v, %v", content, digest, err, readErr)
	}
	if path, _, err := s.Find("t2", "aa"); path != "" || err != nil {
		t.Errorf("another template has it: %q, %v", path, err)
	}
	if err := s.Remove("t1"); err != nil || len(s.files(t)) != 0 {
		t.Errorf("left: %v, %v", s.files(t), err)
	}
}

func TestABrokenUploadLeavesNothing(t *testing.T) {
	s := newStore(t)
	gone, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("the client went away"))
	full := Store{Dir: s.Dir, Room: func() error { return errors.New("the disk is full") }}
	for want, put := range map[string]func() error{
		"it broke off": func() error {
			return s.Put(t.Context(), "t1", "aa", io.MultiReader(strings.NewReader("half"), iotest.ErrReader(errors.New("it broke off"))))
		},
		"the client went away": func() error { return s.Put(gone, "t1", "aa", strings.NewReader("x")) },
		"the disk is full":     func() error { return full.Put(t.Context(), "t1", "aa", strings.NewReader("x")) },
	} {
		if err := put(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		if left := s.files(t); len(left) != 0 {
			t.Errorf("%s: %v is left", want, left)
		}
	}
}

func TestTheOldestArchivesMakeRoom(t *testing.T) {
	s := newStore(t)
	for i, hash := range []string{"first", "second", "third"} {
		if err := s.Put(t.Context(), "t"+hash, hash, strings.NewReader(strings.Repeat("x", 40))); err != nil {
			t.Fatal(err)
		}
		if path, _, err := s.Find("t"+hash, hash); err == nil && path != "" {
			at := time.Now().Add(time.Duration(i-10) * time.Minute)
			if err := os.Chtimes(path, at, at); err != nil {
				t.Fatal(err)
			}
		}
		if _, _, err := s.Use("tfirst", "first"); err != nil { // It is the newest from now on.
			t.Fatal(err)
		}
	}
	if left := strings.Join(s.files(t), " "); !strings.Contains(left, "first.") || strings.Contains(left, "second.") || !strings.Contains(left, "third.") {
		t.Errorf("left: %s", left)
	}
	if err := s.Put(t.Context(), "t1", "large", strings.NewReader(strings.Repeat("x", 200))); err != nil {
		t.Fatal(err)
	}
	if left := s.files(t); len(left) != 1 || !strings.HasPrefix(left[0], "large.") {
		t.Errorf("left: %v", left)
	}
}

func TestSweepRemovesWhatIsNotNeeded(t *testing.T) {
	s := newStore(t)
	if err := (Store{Dir: filepath.Join(s.Dir, "none"), Room: s.Room}).Sweep(); err != nil {
		t.Errorf("of nothing: %v", err)
	}
	for _, hash := range []string{"old", "used", "new", "young"} {
		if err := s.Put(t.Context(), "t1", hash, strings.NewReader(hash)); err != nil {
			t.Fatal(err)
		}
	}
	past := time.Now().Add(-keep - time.Hour)
	for _, hash := range []string{"old", "used"} {
		path, _, err := s.Find("t1", hash)
		if err != nil || os.Chtimes(path, past, past) != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := s.Use("t1", "used"); err != nil {
		t.Fatal(err)
	}
	lately := time.Now().Add(-7*24*time.Hour + time.Hour)
	if path, _, err := s.Find("t1", "young"); err != nil || os.Chtimes(path, lately, lately) != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.Dir, "t1", unfinished+"1"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Sweep(); err != nil {
		t.Fatal(err)
	}
	if left := s.files(t); len(left) != 3 || !strings.HasPrefix(left[0], "new.") || !strings.HasPrefix(left[1], "used.") || !strings.HasPrefix(left[2], "young.") {
		t.Errorf("left: %v", left)
	}
}
