package store

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestAFullDiskIsToldAndNothingIsHalfWritten(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=512k"); err != nil {
		t.Fatalf("this test needs root: %v", err)
	}
	defer syscall.Unmount(dir, syscall.MNT_DETACH)
	s := open(t, filepath.Join(dir, "db"))
	defer s.Close()
	big := sample("i0", "running")
	big.Metadata = map[string]string{"k": strings.Repeat("x", 20<<10)}
	var err error
	written := 0
	for ; err == nil && written < 100; written++ {
		big.ID = fmt.Sprintf("i%d", written)
		err = s.PutSandbox(ctx, big)
	}
	if !errors.Is(err, ErrFull) {
		t.Fatalf("after %d rows: %v, want ErrFull", written, err)
	}
	rows, err := s.LiveSandboxes(ctx, "d1")
	if err != nil || len(rows) != written-1 {
		t.Errorf("%d rows are there, %v; want the %d whose write succeeded", len(rows), err, written-1)
	}
}
