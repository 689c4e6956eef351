//go:build linux

package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// dirs are the directories of one driver value.
type dirs struct{ state, run, instance string }

// machines has a directory and a record of each running machine.
func (d dirs) machines() string { return filepath.Join(d.run, "machines") }

// machine has the sockets of a machine, and is all that its QEMU process sees of the host.
func (d dirs) machine(key string) string { return filepath.Join(d.machines(), key) }

// record is the file that finds all else of a machine.
func (d dirs) record(key string) string { return filepath.Join(d.machines(), key+".json") }

// snapshots has a directory for each id of a machine, with its snapshots.
func (d dirs) snapshots() string { return filepath.Join(d.state, "snapshots") }

func (d dirs) snapshot(id, name string) string { return filepath.Join(d.snapshots(), id, name) }

// disks has a directory for each machine of this instance: its disk, and the files of the snapshot from which it was restored.
func (d dirs) disks() string { return filepath.Join(d.state, "machines", d.instance) }

func (d dirs) disk(key string) string { return filepath.Join(d.disks(), key) }

// pending has half-made and half-deleted snapshots.
func (d dirs) pending() string { return filepath.Join(d.state, "pending", d.instance) }

func (d dirs) cgroupParent() string { return "/rundlet-" + d.instance + "-" + driverName }

func (d dirs) cgroup(key string) string { return filepath.Join(d.cgroupParent(), key) }

func (d dirs) make() error {
	for _, dir := range []string{d.machines(), d.snapshots(), d.disks(), d.pending()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	return nil
}

// bootID names this boot of the host. Process ids mean nothing in another.
func bootID() string {
	data, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(data))
}

// writeJSON replaces a file, which is never seen half.
func writeJSON(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".tmp", data, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".tmp", path)
}

// syncPath makes a file, or the names in a directory, durable.
func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// makeDisk makes a disk with an empty file system, which has room for a number of bytes, in a file that takes up only what is written to it.
func makeDisk(path string, bytes int64) error {
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

// copySparse copies a file of a given size to a new one, without its holes, by sharing blocks where the file system can. The caller makes it durable.
func copySparse(from *os.File, to string, size int64) error {
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
	for at := int64(0); at < size; {
		begin, err := unix.Seek(int(from.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil // Only holes are left.
		} else if err != nil {
			return err
		}
		end, err := unix.Seek(int(from.Fd()), begin, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		if err := copyRange(out, from, begin, min(end, size)); err != nil {
			return err
		}
		at = end
	}
	return nil
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
