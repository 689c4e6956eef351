package crashdisk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Disk is a served disk with an ext4 file system on it. It is for one caller at
// a time.
type Disk struct {
	dir    string
	server *exec.Cmd
	stdin  io.Closer
	loop   int // number of the loop device; every mount uses the same
	target string
}

// Start makes a disk of size bytes in dir, which must be empty and in which its
// data is kept, and mounts it at target. It is for a process of a test binary
// whose TestMain calls ServeIfAsked. Close it in every case.
func Start(dir, target string, size int64) (d *Disk, err error) {
	base := filepath.Join(dir, baseFile)
	if err := errors.Join(os.WriteFile(base, nil, 0o600), os.Truncate(base, size), os.Mkdir(filepath.Join(dir, servedDir), 0o700)); err != nil {
		return nil, err
	}
	// Nothing may be left for the kernel to do later: it would be recorded.
	out, err := exec.Command(mkfs(), "-q", "-F", "-b", "4096", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard", base).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("mkfs.ext4: %w: %s", err, out)
	}
	d = &Disk{dir: dir, loop: -1, target: target}
	if err := d.startServer(); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	if err := d.mount(diskName); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// mkfs is in a directory that a search path may lack.
func mkfs() string {
	if path, err := exec.LookPath("mkfs.ext4"); err == nil {
		return path
	}
	return "/usr/sbin/mkfs.ext4"
}

// Position returns the number of writes and flushes so far.
func (d *Disk) Position() (int, error) {
	text, err := os.ReadFile(d.served(positionName))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(string(text))
}

func (d *Disk) served(name string) string { return filepath.Join(d.dir, servedDir, name) }

// Writes returns the positions right behind a write: those that differ from the
// position before, which right behind a flush do not.
func (d *Disk) Writes() ([]int, error) {
	text, err := os.ReadFile(d.served(logName))
	if err != nil {
		return nil, err
	}
	var out []int
	for i, line := range strings.Fields(string(text)) {
		if line != "flush" {
			out = append(out, i+1)
		}
	}
	return out, nil
}

// Unmount ends the recording, or a cut. What had not been written yet is written
// first, behind all positions known so far.
func (d *Disk) Unmount() error {
	if err := unix.Unmount(d.target, 0); err != nil {
		return fmt.Errorf("unmount %s: %w", d.target, err)
	}
	return nil
}

// Cut mounts the disk as it may be found after a power cut; see Log.View. Unmount
// it before the next one.
func (d *Disk) Cut(position int, seed uint64) error { return d.mount(cutName(position, seed)) }

// Close unmounts what is mounted and ends the server. Nothing of the disk is
// left but the files in its directory.
func (d *Disk) Close() error {
	var errs []error
	// The last resort is for what a failed test has left open.
	if err := unix.Unmount(d.target, 0); err != nil && !errors.Is(err, unix.EINVAL) {
		errs = append(errs, fmt.Errorf("unmount %s: %w", d.target, err), detach(d.target))
	}
	errs = append(errs, d.awaitLoopFree(), detach(d.served("")))
	if d.server != nil {
		d.stdin.Close()
		if err := d.server.Wait(); err != nil {
			errs = append(errs, fmt.Errorf("the server of the disk: %w", err))
		}
	}
	return errors.Join(errs...)
}

// detach unmounts what is mounted at a path, if anything is, in use or not.
func detach(path string) error {
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("unmount %s: %w", path, err)
	}
	return nil
}
