//go:build linux

package spawn

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/unet"
	"gvisor.dev/gvisor/pkg/urpc"
)

// goferToHostRPC answers the calls of a file server while it sets itself up, before it serves
// a guest. gVisor's protocol calls it by the name of this type.
type goferToHostRPC struct{ pid int }

// OpenMountArgs are the arguments of OpenMount.
type OpenMountArgs struct {
	Mount *specs.Mount
	Flags uint32
}

// OpenMountResult is the result of OpenMount: one file.
type OpenMountResult struct{ urpc.FilePayload }

// serveMounts answers the calls that come over a socket, until the file server closes it.
func serveMounts(calls *unet.Socket, pid int) {
	server := urpc.NewServer()
	server.Register(&goferToHostRPC{pid})
	server.StartHandling(calls)
}

// OpenMount opens the source of a mount, which the file server may not open in its user namespace.
func (g *goferToHostRPC) OpenMount(args *OpenMountArgs, result *OpenMountResult) error {
	if args.Mount == nil || len(args.Mount.UIDMappings)+len(args.Mount.GIDMappings) > 0 {
		return errors.New("a sandbox has no mounts with other users")
	}
	opened := make(chan error, 1)
	go func() {
		// The thread ends with this goroutine: it cannot come back from the mount namespace.
		runtime.LockOSThread()
		f, err := openIn(g.pid, args.Mount.Source)
		if err == nil {
			result.Files = []*os.File{f}
		}
		opened <- err
	}()
	return <-opened
}

// openIn opens a path in the mount namespace of a process, and leaves the thread there.
func openIn(pid int, path string) (*os.File, error) {
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return nil, os.NewSyscallError("unshare", err)
	}
	namespace, err := os.Open(fmt.Sprintf("/proc/%d/ns/mnt", pid))
	if err != nil {
		return nil, err
	}
	defer namespace.Close()
	if err := unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNS); err != nil {
		return nil, os.NewSyscallError("setns", err)
	}
	return os.OpenFile(path, unix.O_PATH, 0)
}
