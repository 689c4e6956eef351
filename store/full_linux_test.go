package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// smallDisk is a directory that is a file system of a size, in the words of tmpfs.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Fatalf("this test needs root: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

// fill fills the file system of a new file, but for some pages.
func fill(t *testing.T, file string, pages int) {
	t.Helper()
	const page = 4 << 10
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	size := int64(0)
	for piece := make([]byte, page); err == nil; {
		var n int
		n, err = f.Write(piece)
		size += int64(n)
	}
	if err := errors.Join(f.Truncate(max(0, size-int64(pages)*page)), f.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestAFullDiskIsToldAndNothingIsHalfWritten(t *testing.T) {
	ctx, dir := context.Background(), smallDisk(t, "768k")
	s := open(t, filepath.Join(dir, "db"))
	defer s.Close()
	big := sample("i0", "running")
	big.Metadata = map[string]string{"k": strings.Repeat("x", 20<<10)}
	var err error
	written := 0
	for ; err == nil && written < 100; written++ {
		big.ID, big.Version = fmt.Sprintf("i%d", written), 0
		err = s.Sandboxes.Put(ctx, &big)
	}
	if !errors.Is(err, ErrFull) {
		t.Fatalf("after %d rows: %v, want ErrFull", written, err)
	}
	rows, err := s.Sandboxes.Live(ctx, "d1")
	if err != nil || len(rows) != written-1 {
		t.Errorf("%d rows are there, %v; want the %d whose write succeeded", len(rows), err, written-1)
	}
}

// TestADatabaseThatIsOpenedOnAFullDisk: whatever did not fit, it is reported,
// and all is there when there is room.
func TestADatabaseThatIsOpenedOnAFullDisk(t *testing.T) {
	ctx, dir := context.Background(), smallDisk(t, "768k")
	path, filler := filepath.Join(dir, "db"), filepath.Join(dir, "filler")
	s := open(t, path)
	if err := s.Sandboxes.Put(ctx, new(sample("i0", "running"))); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	full := 0
	for room := range 16 {
		fill(t, filler, room)
		s, err := Open(ctx, path)
		if err == nil {
			row := sample("i1", "running")
			if old, err := s.Sandboxes.Get(ctx, row.ID); err == nil { // There was room before.
				row.Version = old.Version
			}
			err = s.Sandboxes.Put(ctx, &row)
			_ = s.Close()
		}
		if errors.Is(err, ErrFull) {
			full++
		} else if err != nil {
			t.Errorf("%d pages of room: %v, want ErrFull", room, err)
		}
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
	}
	if full == 0 {
		t.Error("the disk was never full")
	}
	s = open(t, path)
	defer s.Close()
	if _, err := s.Sandboxes.Get(ctx, "i0"); err != nil {
		t.Error(err)
	}
}
