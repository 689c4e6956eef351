package statedir

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestLockFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := LockFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := LockFile(path); !errors.Is(err, ErrLocked) {
		t.Errorf("a second time: %v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	unlock()
	if unlock, err = LockFile(path); err != nil {
		t.Fatalf("after it was free: %v", err)
	}
	unlock()
	if _, err := LockFile(filepath.Join(path, "x")); err == nil || errors.Is(err, ErrLocked) {
		t.Errorf("below a file: %v", err)
	}
}

func TestAwaitLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := AwaitLock(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := AwaitLock(ctx, path); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while it is held: %v", err)
	}
	got := make(chan error, 1)
	go func() {
		second, err := AwaitLock(context.Background(), path)
		if err == nil {
			second()
		}
		got <- err
	}()
	unlock()
	if err := <-got; err != nil {
		t.Error(err)
	}
	if _, err := AwaitLock(t.Context(), filepath.Join(path, "x")); err == nil {
		t.Error("waited for what cannot be")
	}
}
