//go:build linux

// Command init is the first process of a test machine (internal/testmachine). It mounts
// what programs expect, with control groups of version 2, loads the kernel modules,
// unpacks the machine's files, runs the command of the plan, sends its output and its
// exit code through the port, and ends the machine. It may import
// internal/testmachine and its frames.
package main

import (
	"archive/tar"
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/internal/testmachine"
	"github.com/rundlet/rundlet/internal/testmachine/frame"
)

// root is where the machine's files are unpacked. The first file system cannot be left
// by pivot_root, which file servers of sandboxes need.
const root = "/root"

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "init must be the first process of a test machine")
		os.Exit(2)
	}
	port, plan, err := prepare()
	if err == nil {
		err = run(port, plan)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "init:", err)
		if port != nil {
			_ = frame.Write(port, frame.Failure, []byte(err.Error()))
		}
	}
	if port != nil {
		_ = port.Close()
	}
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
}

// readPlan reads what the machine is for.
func readPlan() (plan testmachine.Plan, err error) {
	data, err := os.ReadFile(testmachine.PlanFile)
	if err != nil {
		return plan, err
	}
	return plan, json.Unmarshal(data, &plan)
}

// prepare returns the port as soon as there is one, with an error too.
func prepare() (port *os.File, plan testmachine.Plan, err error) {
	if err := errors.Join(mount("proc", "/proc", ""), mount("sysfs", "/sys", ""), mount("devtmpfs", "/dev", "")); err != nil {
		return nil, plan, err
	}
	if plan, err = readPlan(); err != nil {
		return nil, plan, err
	}
	for _, module := range plan.Modules {
		if err := load(module); err != nil {
			return port, plan, err
		}
		if port == nil && strings.HasSuffix(module, "virtio_console.ko") {
			if port, err = openPort(); err != nil {
				return nil, plan, err
			}
		}
	}
	return port, plan, unpack(plan)
}

func mount(kind, at, options string) error {
	if err := os.MkdirAll(at, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(kind, at, kind, 0, options); err != nil {
		return fmt.Errorf("mount %s: %w", at, err)
	}
	return nil
}

func load(module string) error {
	f, err := os.Open(module)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("load %s: %w", module, err)
	}
	return nil
}

// deviceWait bounds the wait for a device after its module was loaded.
const deviceWait = 30 * time.Second

// openPort waits for the port with the right name: its number is the machine's choice.
func openPort() (*os.File, error) {
	for deadline := time.Now().Add(deviceWait); ; <-time.After(time.Millisecond) {
		names, _ := filepath.Glob("/sys/class/virtio-ports/*/name")
		for _, name := range names {
			text, _ := os.ReadFile(name)
			if strings.TrimSpace(string(text)) == testmachine.Port {
				return os.OpenFile("/dev/"+filepath.Base(filepath.Dir(name)), os.O_WRONLY, 0)
			}
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("no port %s after %v", testmachine.Port, deviceWait)
		}
	}
}

// disk waits for the disk with a serial number: its name is the kernel's choice.
func disk(serial string) (path string, err error) {
	for deadline := time.Now().Add(deviceWait); ; <-time.After(time.Millisecond) {
		names, _ := filepath.Glob("/sys/block/vd*/serial")
		for _, name := range names {
			path := "/dev/" + filepath.Base(filepath.Dir(name))
			text, _ := os.ReadFile(name)
			if _, err := os.Stat(path); err == nil && strings.TrimSpace(string(text)) == serial {
				return path, nil
			}
		}
		if time.Now().After(deadline) {
			return "", fmt.Errorf("no disk %s after %v", serial, deviceWait)
		}
	}
}

// unpack makes the file system of the command and changes to it.
func unpack(plan testmachine.Plan) error {
	if err := mount("tmpfs", root, "mode=755,size=75%"); err != nil {
		return err
	}
	device, err := disk("files")
	if err != nil {
		return err
	}
	archive, err := os.Open(device)
	if err != nil {
		return err
	}
	defer archive.Close()
	for files := tar.NewReader(bufio.NewReaderSize(archive, 1<<20)); ; {
		header, err := files.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("read the machine's files: %w", err)
		}
		if !filepath.IsLocal(header.Name) {
			return fmt.Errorf("file %q of the machine is not below its root", header.Name)
		}
		if err := write(filepath.Join(root, header.Name), os.FileMode(header.Mode), files); err != nil { //nolint:gosec // It is below the root.
			return err
		}
	}
	for _, dir := range []string{"/proc", "/sys", "/dev"} {
		to := filepath.Join(root, dir)
		if err := errors.Join(os.MkdirAll(to, 0o755), unix.Mount(dir, to, "", unix.MS_MOVE, "")); err != nil {
			return fmt.Errorf("move %s: %w", dir, err)
		}
	}
	if err := errors.Join(unix.Chdir(root), unix.Mount(".", "/", "", unix.MS_MOVE, ""), unix.Chroot("."), unix.Chdir("/")); err != nil {
		return fmt.Errorf("change to the machine's files: %w", err)
	}
	return errors.Join(mountTmp(plan.Disk), mount("tmpfs", "/run", "mode=755"), mount("cgroup2", "/sys/fs/cgroup", ""),
		mount("devpts", "/dev/pts", "ptmxmode=0666"), mount("tmpfs", "/dev/shm", "mode=1777"), links())
}

func mountTmp(onDisk bool) error {
	if !onDisk {
		return mount("tmpfs", "/tmp", "mode=1777,size=75%")
	}
	device, err := disk("scratch")
	if err != nil {
		return err
	}
	if err := os.Mkdir("/tmp", 0o755); err != nil {
		return err
	}
	return errors.Join(unix.Mount(device, "/tmp", "ext4", 0, ""), os.Chmod("/tmp", 0o777|os.ModeSticky))
}

// links are the names in /dev that a kernel does not make.
func links() error {
	var errs []error
	for name, to := range map[string]string{"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"} {
		errs = append(errs, os.Symlink(to, "/dev/"+name))
	}
	return errors.Join(errs...)
}

func write(path string, mode os.FileMode, content io.Reader) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	return errors.Join(err, f.Close())
}

// run runs the command of the plan and sends what it writes and how it ends.
func run(port *os.File, plan testmachine.Plan) error {
	code := 0
	if plan.Command[0] != testmachine.Nothing {
		cmd := exec.CommandContext(context.Background(), plan.Command[0], plan.Command[1:]...)
		out := frame.Writer{To: port}
		cmd.Env, cmd.Stdout, cmd.Stderr = plan.Env, out, out
		err := cmd.Run()
		var exit *exec.ExitError
		switch {
		case errors.As(err, &exit):
			if code = exit.ExitCode(); code < 0 {
				code = 128 + int(exit.Sys().(syscall.WaitStatus).Signal())
			}
		case err != nil:
			return err
		}
	}
	return frame.Write(port, frame.Exit, []byte(strconv.Itoa(code)))
}
