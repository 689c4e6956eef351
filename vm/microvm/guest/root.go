//go:build linux

package guest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The places of the mounts, and of the disks in the order in which the host has them.
const (
	baseDisk, writableDisk = "/dev/vda", "/dev/vdb"
	baseDir, writableDir   = "/run/base", "/run/writable"
	rootDir                = "/run/root"
)

// mountRoot puts the machine's root file system together: the image, and over it, unless it is only read, the machine's own disk.
func mountRoot(readOnly bool) error {
	for _, dir := range []string{baseDir, writableDir, rootDir} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	base := baseDir
	if readOnly {
		base = rootDir
	}
	if err := mountDisk(baseDisk, base, "erofs", unix.MS_RDONLY, ""); err != nil {
		return err
	}
	if readOnly {
		return nil
	}
	if err := mountDisk(writableDisk, writableDir, "ext4", unix.MS_NOATIME, ""); err != nil {
		return err
	}
	upper, work := filepath.Join(writableDir, "upper"), filepath.Join(writableDir, "work")
	for _, dir := range []string{upper, work} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := unix.Mount("overlay", rootDir, "overlay", 0, "lowerdir="+baseDir+",upperdir="+upper+",workdir="+work); err != nil {
		return fmt.Errorf("mount the root: %w", err)
	}
	return nil
}

func mountDisk(disk, dir, kind string, flags uintptr, data string) error {
	for deadline := time.Now().Add(deviceTime); ; <-time.After(devicePause) {
		err := unix.Mount(disk, dir, kind, flags, data)
		if err == nil {
			return nil
		}
		missing := errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ENOTBLK)
		if !missing || time.Now().After(deadline) {
			return fmt.Errorf("mount %s (%s): %w", disk, kind, err)
		}
	}
}

// setUID makes files of root set-uid, where there are such.
func setUID(paths []string) {
	for _, path := range paths {
		name := filepath.Join(rootDir, path)
		if info, err := os.Lstat(name); err == nil && info.Mode().IsRegular() && info.Sys().(*syscall.Stat_t).Uid == 0 {
			_ = os.Chmod(name, info.Mode().Perm()|os.ModeSetuid)
		}
	}
}

// makeGroup makes the control group of the machine's programs.
func (g *guest) makeGroup(maxProcesses int) error {
	const all = "/sys/fs/cgroup"
	if err := os.WriteFile(all+"/cgroup.subtree_control", []byte("+pids"), 0); err != nil && maxProcesses > 0 {
		return err
	}
	g.groups, g.group = all, all+"/machine"
	if err := os.Mkdir(g.group, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if maxProcesses > 0 {
		return os.WriteFile(g.group+"/pids.max", []byte(strconv.Itoa(maxProcesses)), 0)
	}
	return nil
}

// consolePort is what the first program writes to.
const consolePort = "rundlet.console"

// openConsole returns the writing end of what goes to the console. What the host does not take is lost: a program never waits for it.
func (g *guest) openConsole() (*os.File, error) {
	port, err := g.console()
	if err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	go func() {
		buf := make([]byte, 4<<10)
		for {
			n, err := r.Read(buf)
			for rest := buf[:n]; len(rest) > 0; {
				written, err := unix.Write(int(port.Fd()), rest)
				if err != nil || written <= 0 {
					break
				}
				rest = rest[written:]
			}
			if err != nil {
				return
			}
		}
	}()
	return w, nil
}

// enter becomes the machine's first program: it is process 1 of its namespaces, and sees its root only. args are the directory and the
// program with its arguments.
func enter(args []string) error {
	if len(args) < 2 {
		return errors.New("no program")
	}
	if err := os.WriteFile(oomScore, []byte("0"), 0); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return err
	}
	for _, m := range []struct {
		kind, target string
		flags        uintptr
		data         string
	}{
		{"proc", "proc", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
		{"sysfs", "sys", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_RDONLY, ""},
		{"devtmpfs", "dev", unix.MS_NOSUID, ""},
		{"devpts", "dev/pts", unix.MS_NOSUID | unix.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620,gid=5"},
		{"tmpfs", "dev/shm", unix.MS_NOSUID | unix.MS_NODEV, "mode=1777"},
		{"mqueue", "dev/mqueue", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
	} {
		target := filepath.Join(rootDir, m.target)
		if strings.HasPrefix(m.target, "dev/") {
			_ = os.Mkdir(target, 0o755)
		}
		if err := unix.Mount(m.kind, target, m.kind, m.flags, m.data); err != nil && m.kind != "mqueue" {
			return fmt.Errorf("mount /%s: %w", m.target, err)
		}
	}
	for name, to := range map[string]string{"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2"} {
		_ = os.Symlink(to, filepath.Join(rootDir, "dev", name))
	}
	// The root of the kernel's first files cannot be exchanged: the new one is moved over it.
	if err := os.Chdir(rootDir); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move the root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return err
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	if args[0] != "" {
		if err := os.Chdir(args[0]); err != nil {
			return err
		}
	}
	unix.Umask(0o022)
	return unix.Exec(args[1], args[1:], os.Environ())
}
