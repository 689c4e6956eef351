//go:build linux

package spawn

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/internal/cgroups"
	"github.com/rundlet/rundlet/vm/gvisor/control"
)

// startSandbox starts the sandbox process. It writes a byte to booted, which the caller closes, when
// it takes calls.
func (s *Sandbox) startSandbox(p *Processes, g *gofer) (booted *os.File, err error) {
	c, err := s.command("sandbox", "boot")
	if err != nil {
		return nil, err
	}
	defer c.given.close()
	memory, err := hostMemory()
	if err != nil {
		return nil, err
	}
	c.Env = []string{}
	c.Args = append(c.Args, "--bundle="+s.Bundle, "--gofer-mount-confs="+s.mountConfs(), "--apply-caps=true", "--setup-root",
		"--total-host-memory="+memory, "--total-memory="+memory)
	var ours files
	defer func() {
		if err != nil {
			ours.close()
		}
	}()
	if booted, err = s.giveSandbox(c, g, &ours); err != nil {
		return nil, err
	}
	var namespace *os.File
	if s.NetNS != "" {
		if namespace, err = c.given.open(s.NetNS); err != nil {
			return nil, err
		}
	}
	p.Sandbox, err = c.start(namespace)
	return booted, err
}

// giveSandbox passes its files to the sandbox process. What it returns is of ours.
func (s *Sandbox) giveSandbox(c *command, g *gofer, ours *files) (booted *os.File, err error) {
	booted, sync, err := pipe(ours, &c.given)
	if err != nil {
		return nil, err
	}
	listen, err := c.given.own(bind(s.Socket))
	if err != nil {
		return nil, err
	}
	spec, err := c.given.open(filepath.Join(s.Bundle, "config.json"))
	if err != nil {
		return nil, err
	}
	// It puts the console of the guest in its place.
	null, err := c.given.own(os.OpenFile(os.DevNull, os.O_RDWR, 0))
	if err != nil {
		return nil, err
	}
	var saved files
	if s.Filesystem != "" {
		if saved, err = control.OpenFilesystem(s.Filesystem); err != nil {
			return nil, err
		}
		c.given = append(c.given, saved...)
	}
	c.give("io-fds", g.io...)
	c.give("dev-io-fd", nil)
	c.give("gofer-filestore-fds", g.layers...)
	c.give("mounts-fd", g.mounts)
	c.give("start-sync-fd", sync)
	c.give("pin-ring-fd", g.ring)
	c.give("controller-fd", listen)
	c.give("spec-fd", spec)
	c.give("fs-restore-fds", saved...)
	c.give("stdio-fds", null, null, null)
	if s.Debug {
		c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	}
	c.Args = append(c.Args, s.Key)
	return booted, nil
}

// bind makes a socket with a name. Its process listens on it.
func bind(path string) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		_ = unix.Close(fd)
		return nil, &os.PathError{Op: "bind", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// hostMemory returns the memory of the host, in bytes.
func hostMemory() (string, error) {
	info, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return "", err
	}
	kib, ok := cgroups.StatField(string(info), "MemTotal:")
	if !ok {
		return "", errors.New("/proc/meminfo has no MemTotal")
	}
	return strconv.FormatInt(kib<<10, 10), nil
}
