//go:build linux

package agent_test

import (
	"bytes"
	"errors"
	"os"
	"syscall"
	"testing"
)

// TestAnUploadThroughALinkToASmallDiskLeavesTheOldFile: its room is not that beside
// the link.
func TestAnUploadThroughALinkToASmallDiskLeavesTheOldFile(t *testing.T) {
	g := newGuest(t)
	mnt := smallDisk(t)
	link := g.home + "/link"
	if err := errors.Join(os.WriteFile(mnt+"/f", []byte("precious"), 0o644), os.Symlink(mnt+"/f", link)); err != nil {
		t.Fatal(err)
	}
	for size, want := range map[int]int{5 << 20: 507, 7 << 19: 200} {
		if err := os.WriteFile(mnt+"/f", []byte("precious"), 0o644); err != nil {
			t.Fatal(err)
		}
		if status, err := g.post(query("path", link, "username", "user"), octet, bytes.NewReader(make([]byte, size))); status != want {
			t.Errorf("%d bytes: %d, %v", size, status, err)
		}
		b, err := os.ReadFile(mnt + "/f")
		if want == 507 && string(b) != "precious" || want == 200 && len(b) != size {
			t.Errorf("%d bytes: %d are there, %v", size, len(b), err)
		}
	}
}

// TestASmallUploadWithoutRoomLeavesALargerFile, whose holes need room as well.
func TestASmallUploadWithoutRoomLeavesALargerFile(t *testing.T) {
	g := newGuest(t)
	mnt := smallDisk(t)
	f, err := os.Create(mnt + "/f")
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteString("precious")
	if err := errors.Join(err, f.Truncate(1<<20), f.Close()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(mnt+"/filler", make([]byte, 4<<20), 0o644); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	if status, err := g.post(query("path", mnt+"/f", "username", "user"), octet, bytes.NewReader(bytes.Repeat([]byte("n"), 100<<10))); status != 507 {
		t.Errorf("%d, %v", status, err)
	}
	if b, err := os.ReadFile(mnt + "/f"); len(b) != 1<<20 || !bytes.Equal(bytes.TrimRight(b, "\x00"), []byte("precious")) {
		t.Errorf("%d bytes that begin with %.10q, %v", len(b), b, err)
	}
}
