//go:build linux

// Package control asks the control server of a gVisor sandbox for what gVisor's own command
// line would: to start, save, load, freeze and inspect it. The arguments are structs of ours
// with gVisor's names, so that the host's binary has none of its kernel in it; tests compare
// them with gVisor's.
//
// It may import gVisor's protocol (pkg/urpc, pkg/unet), golang.org/x/sys and the standard library;
// only the driver and package links import it.
package control

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/unet"
	"gvisor.dev/gvisor/pkg/urpc"
)

// Sandbox is the control server of a sandbox with one container, whose name is that of the
// sandbox. Its methods may be called at the same time. Each waits for the answer, however
// long that takes: gVisor's protocol knows no cancellation, but the end of the sandbox ends
// the wait. An error that the sandbox answers is a urpc.RemoteError.
type Sandbox struct {
	ID     string
	Socket string // The path of the socket that it listens on, of at most 107 bytes.
}

// The methods of gVisor's server.
const (
	methodStartRoot      = "containerManager.StartRoot"
	methodRestore        = "containerManager.Restore"
	methodSetNetworkArgs = "containerManager.SetNetworkArgs"
	methodCheckpoint     = "containerManager.Checkpoint"
	methodFSSave         = "containerManager.FSSave"
	methodPause          = "containerManager.Pause"
	methodResume         = "containerManager.Resume"
	methodEvent          = "containerManager.Event"
	methodExecuteAsync   = "containerManager.ExecuteAsync"
	methodWaitPID        = "containerManager.WaitPID"
	methodStacks         = "debug.Stacks"
	methodTarUpperLayer  = "Fs.TarRootfsUpperLayer"
)

// connect opens a connection, which the caller closes. No process that is started meanwhile inherits
// it, as it would that of gVisor's client.
func (s Sandbox) connect() (*urpc.Client, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	var conn *unet.Socket
	if err = unix.Connect(fd, &unix.SockaddrUnix{Name: s.Socket}); err == nil {
		conn, err = unet.NewSocket(fd)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, &os.PathError{Op: "connect to the sandbox", Path: s.Socket, Err: err}
	}
	return urpc.NewClient(conn), nil
}

// call makes one call over a separate connection. A result of nil is for methods without one.
func (s Sandbox) call(what, method string, arg, result any) error {
	conn, err := s.connect()
	if err != nil {
		return err
	}
	defer conn.Close()
	return asked(what, conn.Call(method, arg, result))
}

// asked adds to an error what was asked for.
func asked(what string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// Pause freezes the guest, and returns when no thread of it runs.
func (s Sandbox) Pause() error { return s.call("pause the sandbox", methodPause, nil, nil) }

// Resume lets a frozen guest run. It ends a sandbox whose guest runs.
func (s Sandbox) Resume() error { return s.call("resume the sandbox", methodResume, nil, nil) }

// Stacks returns the stacks of all goroutines of the sandbox process.
func (s Sandbox) Stacks() (stacks string, err error) {
	err = s.call("read the stacks of the sandbox", methodStacks, nil, &stacks)
	return stacks, err
}

// Event returns what the sandbox uses, as it counts itself.
func (s Sandbox) Event() (*EventOut, error) {
	var out EventOut
	err := s.call("read the use of the sandbox", methodEvent, &s.ID, &out)
	return &out, err
}

// Execute starts a program in the guest as root, without files, and returns its number there. The
// sandbox keeps its exit status until WaitPID asks for it.
func (s Sandbox) Execute(argv []string, dir string) (pid int32, err error) {
	err = s.call("execute a program in the sandbox", methodExecuteAsync,
		&ExecArgs{Argv: argv, WorkingDirectory: dir, ContainerID: s.ID}, &pid)
	return pid, err
}

// WaitPID waits for the end of a program that Execute has started, and returns its wait status.
func (s Sandbox) WaitPID(pid int32) (status uint32, err error) {
	err = s.call("wait for a program in the sandbox", methodWaitPID, &WaitPIDArgs{PID: pid, CID: s.ID}, &status)
	return status, err
}

// TarUpperLayer writes the writable layer of the root to out as a tar file. The caller
// may close out then.
func (s Sandbox) TarUpperLayer(out *os.File) error {
	return s.call("read the upper layer of the sandbox", methodTarUpperLayer,
		&TarRootfsUpperLayerOpts{ContainerID: s.ID, FilePayload: urpc.FilePayload{Files: []*os.File{out}}}, nil)
}
