//go:build linux

package spawn

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/pinring"
	"gvisor.dev/gvisor/pkg/unet"

	"github.com/rundlet/rundlet/vm/gvisor/oci"
)

// gofer is what a sandbox process gets of its file systems: from the file server, or the
// images themselves.
type gofer struct {
	files             // All that follows.
	io     []*os.File // One for each source: a connection to the file server, or an image.
	layers []*os.File // One for each source with a writable layer, if there is a file server.
	mounts *os.File   // The mounts as the file server has resolved them; nil without one.
	ring   *os.File   // The ring that frees descriptors; nil where the kernel forbids one.
	ended  *os.File   // Where the file server awaits the sandbox process; nil without a ring.
}

// startGofer starts the file server, if there is a directory to serve, and fills g.
func (s *Sandbox) startGofer(p *Processes, g *gofer) error {
	if !slices.ContainsFunc(s.Sources, func(source oci.Source) bool { return !source.Image }) {
		for _, source := range s.Sources {
			image, err := g.open(source.Path)
			if err != nil {
				return err
			}
			g.io = append(g.io, image)
		}
		return nil
	}
	c, err := s.command("gofer", "gofer")
	if err != nil {
		return err
	}
	defer c.given.close()
	calls, held, err := s.giveGofer(c, g)
	if err != nil {
		return err
	}
	defer held.close() // The file server waits for the end of it before it changes its mounts.
	serve, err := unet.NewSocket(calls)
	if err != nil {
		_ = unix.Close(calls)
		return err
	}
	if p.Gofer, err = s.startInNull(c); err != nil {
		_ = serve.Close()
		return err
	}
	serveMounts(serve, p.Gofer.Pid)
	return s.makeLayers(g, p.Gofer.Pid)
}

// giveGofer passes its files to the file server. calls is where it makes calls, and belongs to
// the caller, as held does.
func (s *Sandbox) giveGofer(c *command, g *gofer) (calls int, held files, err error) {
	c.Env = []string{} // The daemon's may have secrets, and gVisor's file server needs none of it.
	c.Args = append(c.Args, "--bundle", s.Bundle, "--gofer-mount-confs="+s.mountConfs())
	spec, err := c.given.open(filepath.Join(s.Bundle, "config.json"))
	if err != nil {
		return 0, nil, err
	}
	var resolved, theirs *os.File
	if g.mounts, resolved, err = pipe(&g.files, &c.given); err != nil {
		return 0, nil, err
	}
	c.give("spec-fd", spec)
	c.give("mounts-fd", resolved)
	defer func() {
		if err != nil {
			held.close()
			_ = unix.Close(calls)
		}
	}()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, nil, os.NewSyscallError("socketpair", err)
	}
	calls = fds[0]
	theirs, _ = c.given.own(os.NewFile(uintptr(fds[1]), "calls"), nil)
	c.give("rpc-fd", theirs)
	if g.ring, err = pinring.NewDisabledIOURing(); err == nil {
		g.files = append(g.files, g.ring)
		c.give("pin-ring-fd", g.ring)
		if g.ended, theirs, err = pair(unix.SOCK_SEQPACKET, &g.files, &c.given); err != nil {
			return calls, held, err
		}
		c.give("sync-sentry-exit-fd", theirs)
	}
	for _, source := range s.Sources {
		var ours *os.File
		if source.Image {
			ours, err = g.open(source.Path)
		} else if ours, theirs, err = pair(unix.SOCK_STREAM, &g.files, &c.given); err == nil {
			c.give("io-fds", theirs)
		}
		if err != nil {
			return calls, held, err
		}
		g.io = append(g.io, ours)
	}
	if _, theirs, err = pair(unix.SOCK_STREAM, &held, &c.given); err != nil {
		return calls, held, err
	}
	c.give("sync-chroot-fd", theirs)
	c.Args = append(c.Args, s.Key)
	return calls, held, nil
}

// mountConfs says of each source whether it is served or an image, and whether its writable
// layer is a file.
func (s *Sandbox) mountConfs() string {
	var all []string
	for _, source := range s.Sources {
		conf := "lisafs"
		if source.Image {
			conf = "erofs"
		}
		switch {
		case !source.Layer:
			conf += ":none"
		case s.LayerMiB > 0:
			conf += fmt.Sprintf(":anon:size=%dm", s.LayerMiB)
		default:
			conf += ":anon"
		}
		all = append(all, conf)
	}
	return strings.Join(all, ",")
}

// makeLayers makes the files of the writable layers, by the root directory that the file server
// still has, so that file systems of the host can be unmounted.
func (s *Sandbox) makeLayers(g *gofer, pid int) error {
	dir := filepath.Join(fmt.Sprintf("/proc/%d/root", pid), s.LayerDir)
	for _, source := range s.Sources {
		if !source.Layer {
			continue
		}
		f, err := g.own(os.CreateTemp(dir, "runsc-filestore-"))
		if err != nil {
			return err
		}
		if err := unix.Unlink(f.Name()); err != nil {
			return fmt.Errorf("remove the name of %s: %w", f.Name(), err)
		}
		// Where the kernel measures files that are executed (IMA), it does so with a first mapping, and
		// must not when the file is large.
		if m, err := unix.Mmap(int(f.Fd()), 0, os.Getpagesize(), unix.PROT_EXEC, unix.MAP_SHARED); err == nil {
			_ = unix.Munmap(m)
		}
		g.layers = append(g.layers, f)
	}
	return nil
}

// sendPidfd gives the file server a descriptor of the sandbox process: it ends after that, so that
// its end frees what the ring holds.
func (g *gofer) sendPidfd(sandbox int) error {
	if g.ended == nil {
		return nil
	}
	return pinring.SendPidfd(g.ended, sandbox)
}
