//go:build linux

// Package likelinux mends what gVisor's system calls do differently from Linux's.
//
// It may import gVisor and the packages of sentry below it; package sentry imports it.
package likelinux

import (
	"gvisor.dev/gvisor/pkg/abi/linux"
	"gvisor.dev/gvisor/pkg/errors/linuxerr"
	"gvisor.dev/gvisor/pkg/fspath"
	"gvisor.dev/gvisor/pkg/hostarch"
	"gvisor.dev/gvisor/pkg/sentry/kernel"
	"gvisor.dev/gvisor/pkg/sentry/kernel/auth"
	"gvisor.dev/gvisor/pkg/sentry/vfs"

	"github.com/rundlet/rundlet/vm/gvisor/sentry/calls"
	"github.com/rundlet/rundlet/vm/gvisor/sentry/terminal"
)

// mended are the system calls, by name. Each wrapper asks first for what is cheap to know
// and rare, so that the usual call costs nothing that can be measured. See
// docs/decisions/0042.
var mended = map[string]calls.Wrapper{
	"open": openDirectory(linuxOpen), "openat": openDirectory(linuxOpenat), "openat2": openDirectory(linuxOpenat2),
	"getxattr": readAttribute(byPath(true)), "lgetxattr": readAttribute(byPath(false)), "fgetxattr": readAttribute(byFD),
	"sendto": sendNothing, "sendmsg": sendEmptyMessage, "sendmmsg": sendMessages, "writev": writeNothing,
	"execve": executeUnreadable(false), "execveat": executeUnreadable(true),
	"kill": spareFirst(byPID, 0, 1), "tkill": spareFirst(byPID, 0, 1), "tgkill": spareFirst(byPID, 1, 2),
	"rt_sigqueueinfo": spareFirst(byPID, 0, 1), "rt_tgsigqueueinfo": spareFirst(byPID, 1, 2),
	"pidfd_send_signal": spareFirst(byPIDFD, 0, 1),
	"fork":              boundProcesses(calls.NoFlags), "vfork": boundProcesses(calls.NoFlags),
	"clone": boundProcesses(calls.CloneFlags), "clone3": boundProcesses(calls.Clone3Flags),
}

// terminals come around the others: what those open may be a terminal, too.
var terminals = map[string]calls.Wrapper{
	"open": terminal.Note, "openat": terminal.Note, "openat2": terminal.Note, "creat": terminal.Note, "ioctl": terminal.NotePeer,
	"write": terminal.TypeKeys, "writev": terminal.TypeVector,
}

// tables come around the others: they look at what was opened.
var tables = map[string]calls.Wrapper{"open": listPorts, "openat": listPorts, "openat2": listPorts}

// Install must be called before gVisor's own code runs.
func Install() {
	calls.Wrap(mended)
	calls.Wrap(terminals)
	calls.Wrap(tables)
	calls.Wrap(clocks)
}

// pathArgs are the arguments of a system call that name a file.
type pathArgs struct {
	dirfd   int32
	path    hostarch.Addr
	follow  bool   // The last component, if it is a symbolic link.
	empty   bool   // An empty path is dirfd itself.
	resolve uint64 // RESOLVE_* flags of openat2.
}

// withPath resolves nothing yet: it calls fn with where a path starts.
func withPath(t *kernel.Task, a pathArgs, fn func(*vfs.PathOperation) error) error {
	name, err := t.CopyInString(a.path, linux.PATH_MAX)
	if err != nil {
		return err
	}
	path := fspath.Parse(name)
	switch {
	case !path.Absolute && !path.HasComponents() && !a.empty:
		return linuxerr.ENOENT
	case path.Absolute && a.resolve&linux.RESOLVE_BENEATH != 0:
		return linuxerr.EXDEV
	}
	root := t.FSContext().RootDirectory()
	defer root.DecRef(t)
	start := root
	if !path.Absolute || a.resolve&linux.RESOLVE_IN_ROOT != 0 {
		if start, err = startOf(t, a.dirfd); err != nil {
			return err
		}
		defer start.DecRef(t)
	}
	return fn(&vfs.PathOperation{Root: root, Start: start, Path: path, FollowFinalSymlink: a.follow, ResolveFlags: a.resolve})
}

func startOf(t *kernel.Task, dirfd int32) (vfs.VirtualDentry, error) {
	if dirfd == linux.AT_FDCWD {
		return t.FSContext().WorkingDirectory(), nil
	}
	dir := t.GetFile(dirfd)
	if dir == nil {
		return vfs.VirtualDentry{}, linuxerr.EBADF
	}
	defer dir.DecRef(t)
	start := dir.VirtualDentry()
	start.IncRef()
	return start, nil
}

// resolved calls fn with the file that a path names, found with the rights of the
// task. Whatever happens to the path meanwhile, it is this file.
func resolved(t *kernel.Task, a pathArgs, fn func(*vfs.PathOperation) error) error {
	return withPath(t, a, func(path *vfs.PathOperation) error {
		file, err := t.Kernel().VFS().GetDentryAt(t, t.Credentials(), path, &vfs.GetDentryOptions{})
		if err != nil {
			return err
		}
		defer file.DecRef(t)
		return fn(&vfs.PathOperation{Root: file, Start: file})
	})
}

// ofTheKernel may do what the task may not.
func ofTheKernel(t *kernel.Task) *auth.Credentials {
	return auth.NewRootCredentials(t.Kernel().RootUserNamespace())
}
