//go:build unix

package main

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
	unlock, err := lockFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockFile(path); !errors.Is(err, errLocked) {
		t.Errorf("a second time: %v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	unlock()
	if unlock, err = lockFile(path); err != nil {
		t.Fatalf("after it was free: %v", err)
	}
	unlock()
	if _, err := lockFile(filepath.Join(path, "x")); err == nil || errors.Is(err, errLocked) {
		t.Errorf("below a file: %v", err)
	}
}

func TestAwaitLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := awaitLock(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := awaitLock(ctx, path); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while it is held: %v", err)
	}
	got := make(chan error, 1)
	go func() {
		second, err := awaitLock(context.Background(), path)
		if err == nil {
			second()
		}
		got <- err
	}()
	unlock()
	if err := <-got; err != nil {
		t.Error(err)
	}
	if _, err := awaitLock(t.Context(), filepath.Join(path, "x")); err == nil {
		t.Error("waited for what cannot be")
	}
}
