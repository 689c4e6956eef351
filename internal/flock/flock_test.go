//go:build unix

package flock

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

func TestLocksExcludeEachOther(t *testing.T) {
	for name, c := range map[string]struct {
		first, second func(string) (*os.File, error)
		free          bool
	}{
		"exclusive, exclusive": {Try, Try, false},
		"exclusive, shared":    {Try, TryShared, false},
		"shared, exclusive":    {TryShared, Try, false},
		"shared, shared":       {TryShared, TryShared, true},
		"waited for":           {Wait, Try, false},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "lock")
			first, err := c.first(path)
			if err != nil {
				t.Fatal(err)
			}
			// Another path to the inode is the same lock.
			alias := path + "-alias"
			if err := os.Link(path, alias); err != nil {
				t.Fatal(err)
			}
			second, err := c.second(alias)
			if (err == nil) != c.free || err != nil && !errors.Is(err, ErrHeld) {
				t.Errorf("the second lock: %v", err)
			}
			if err == nil {
				_ = second.Close()
			}
			_ = first.Close()
			again, err := Try(path)
			if err != nil {
				t.Fatalf("after it was free: %v", err)
			}
			_ = again.Close()
			if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
				t.Errorf("%v, %v", info, err)
			}
		})
	}
	if _, err := Try(filepath.Join(t.TempDir(), "none", "lock")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a directory: %v", err)
	}
}

func TestWaitGetsTheLockWhenItIsFree(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, err := Try(path)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan error)
	go func() {
		f, err := Wait(path)
		if err == nil {
			_, err = f.Stat()
			_ = f.Close()
		}
		got <- err
	}()
	_ = first.Close()
	if err := <-got; err != nil {
		t.Error(err)
	}
}

// Who removes the file of a lock that is held leaves no lock on a file without a name to the next one.
func TestALockIsOnTheFileThatHasTheName(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	var holders atomic.Int32
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 2000 {
				f, err := Try(path)
				if errors.Is(err, ErrHeld) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				if n := holders.Add(1); n != 1 {
					t.Errorf("%d hold the lock", n)
				}
				runtime.Gosched()
				holders.Add(-1)
				if err := errors.Join(os.Remove(path), f.Close()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
}

func TestHeldMakesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	if held, err := Held(path); held || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v, %v", held, err)
	}
	f, err := Try(path)
	if err != nil {
		t.Fatal(err)
	}
	if held, err := Held(path); !held || err != nil {
		t.Errorf("a lock: %v, %v", held, err)
	}
	f.Close()
	if held, err := Held(path); held || err != nil {
		t.Errorf("a free one: %v, %v", held, err)
	}
}
