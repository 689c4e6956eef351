package crashdisk

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// serveEnv makes a test binary the server of the disk in this directory.
const serveEnv = "RUNDLET_CRASHDISK"

// The files and directories of a disk's directory.
const (
	baseFile  = "base" // the content before the first write
	dataFile  = "data" // what was written
	servedDir = "served"
)

const (
	inheritedFD = 3
	// maxWrite divides what is written at once: a cut can be between the parts.
	maxWrite = 128 << 10
)

// ServeIfAsked serves a disk and ends the process, if Start started it for that.
// It is the first call of a TestMain. The server has a separate process so
// that its end, however it comes about, fails the file system above it instead
// of leaving a process that waits for itself and cannot be killed.
func ServeIfAsked() {
	dir := os.Getenv(serveEnv)
	if dir == "" {
		return
	}
	if err := serve(dir); err != nil {
		fmt.Fprintln(os.Stderr, "crashdisk:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// serve ends when standard input does, which its parent holds open.
func serve(dir string) error {
	// Were it in the mount namespace of the file system above it, and the last in
	// there, its end would unmount that file system and wait for its own answers.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	base, err := os.Open(filepath.Join(dir, baseFile))
	if err != nil {
		return err
	}
	defer base.Close()
	info, err := base.Stat()
	if err != nil {
		return err
	}
	data, err := os.OpenFile(filepath.Join(dir, dataFile), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer data.Close()
	// The parent has mounted it, and hands on the descriptor.
	_, err = fs.Mount(fmt.Sprintf("/dev/fd/%d", inheritedFD), &root{log: NewLog(base, info.Size(), data)}, &fs.Options{
		MountOptions: fuse.MountOptions{MaxWrite: maxWrite, DisableXAttrs: true},
	})
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	fmt.Println("ready")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// startServer mounts the served directory and starts the process that answers
// for it.
func (d *Disk) startServer() error {
	// Not by os.OpenFile: the server reads it without a poller.
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open /dev/fuse: %w", err)
	}
	fuseFile := os.NewFile(uintptr(fd), "/dev/fuse")
	defer fuseFile.Close()
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0,max_read=%d", fd, maxWrite)
	if err := unix.Mount("crashdisk", d.served(""), "fuse.crashdisk", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return fmt.Errorf("mount %s: %w", d.served(""), err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), serveEnv+"="+d.dir)
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = []*os.File{fuseFile}
	// A separate group: an interrupt of the tests must not end it before them.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Cloneflags: unix.CLONE_NEWNS}
	if d.stdin, err = cmd.StdinPipe(); err != nil {
		return err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	d.server = cmd
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "ready\n" {
		return fmt.Errorf("start the server of the disk: %q: %w", line, err)
	}
	return nil
}
