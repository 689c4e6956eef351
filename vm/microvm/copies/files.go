//go:build linux

// Package copies makes the disks of microVMs, and copies them and the memory of guests without what is empty. It may import golang.org/x/sys;
// drivers import it.
package copies

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// MakeDisk makes a disk with an empty file system, which has room for a number of bytes, in a file that takes up only what is written to it.
func MakeDisk(path string, bytes int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	// What the file system takes for itself: its journal, and an inode for each 16 KiB.
	own := int64(journalMiB)<<20 + bytes/50 + 8<<20
	if err := errors.Join(f.Truncate((bytes+own)&^(1<<20-1)), f.Close()); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "mkfs.ext4", "-q", "-F", "-m", "0", "-J", "size="+strconv.Itoa(journalMiB), "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard", path)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH") + ":/usr/sbin:/sbin"} // Debian has it where an ordinary search path does not lead to.
	if cmd.Err != nil {
		cmd.Path, cmd.Err = "/usr/sbin/mkfs.ext4", nil
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("make the disk: mkfs.ext4: %w: %.300s", err, out)
	}
	return nil
}

// journalMiB is the size of the journal of a disk; 4 is the least that mkfs.ext4 makes.
const journalMiB = 4

// Sparse copies a file of a given size to a new one, without its holes, by sharing blocks where the file system can. The caller makes it durable.
func Sparse(from *os.File, to string, size int64) error {
	out, err := os.OpenFile(to, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	if unix.IoctlFileClone(int(out.Fd()), int(from.Fd())) == nil {
		return nil
	}
	if err := out.Truncate(size); err != nil {
		return err
	}
	return extents(from, size, func(begin, end int64) error { return copyRange(out, from, begin, end) })
}

// copyRange copies the bytes of a range to the same place of another file, by the kernel where it can.
func copyRange(out, from *os.File, begin, end int64) error {
	buf := []byte(nil)
	for begin < end {
		in, to := begin, begin
		n, err := unix.CopyFileRange(int(from.Fd()), &in, int(out.Fd()), &to, int(min(end-begin, 1<<30)), 0)
		if err == nil && n > 0 {
			begin += int64(n)
			continue
		}
		if buf == nil {
			buf = make([]byte, 1<<20)
		}
		n, err = from.ReadAt(buf[:min(int64(len(buf)), end-begin)], begin)
		if n == 0 {
			return err
		}
		if _, err := out.WriteAt(buf[:n], begin); err != nil {
			return err
		}
		begin += int64(n)
	}
	return nil
}
