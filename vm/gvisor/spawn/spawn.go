//go:build linux

// Package spawn starts the processes of a sandbox as gVisor's own library does: the file server,
// if a file system of the sandbox is a directory of the host, and the sandbox process. Each gets
// namespaces, a user namespace with the caller's users, and descriptors whose numbers are
// among its arguments; what holds them further they do themselves (package sentry).
//
// It may import vm/gvisor/launch, vm/gvisor/oci, vm/gvisor/control, internal/netns,
// internal/cgroups, gVisor's protocol and its descriptor ring (pkg/urpc, pkg/unet,
// pkg/pinring), the types of OCI specs and the standard library; only the driver imports it.
package spawn

import (
	"errors"
	"fmt"
	"os"

	"github.com/rundlet/rundlet/vm/gvisor/oci"
)

// Sandbox says what to start. The caller owns the files and directories that it names.
type Sandbox struct {
	Program string   // The path of the program that both processes run: cmd/rundlet-sandbox.
	Flags   []string // gVisor's flags of both processes.
	Key     string   // The name of the sandbox and of its only container.
	Bundle  string   // The directory with config.json, and with launch.FileName.
	Socket  string   // Where the sandbox process takes calls: made here, of at most 107 bytes.
	NetNS   string   // The network namespace of the sandbox process; empty: a new one.
	// NullNetNS is the file that pins an empty network namespace, in which all file servers are.
	// It is made here; the caller unmounts it as often as that succeeds, and removes it.
	NullNetNS string
	Sources   []oci.Source // The root and then the mounts, as in config.json.
	LayerDir  string       // Where the files of writable layers are made, which lose their names at once.
	LayerMiB  int          // The size of each of these; 0 is unlimited.
	// Group is the directory of the control group of version 2 in which the processes are born; nil: that of the caller.
	Group *os.File
	// Filesystem is the directory of a snapshot of file systems that the sandbox begins with; empty: none.
	Filesystem string
	// Debug gives the processes logs in the bundle, and the standard streams of the caller.
	Debug bool
}

// Processes are those of a sandbox, children of this process. The owner calls either Release
// or End.
type Processes struct {
	Sandbox *os.Process
	Gofer   *os.Process // The file server; nil without one.
}

// Release frees what this process has for the processes, which run on. The caller waits for them.
func (p *Processes) Release() {
	for _, process := range p.all() {
		_ = process.Release()
	}
}

// End kills the processes and waits for their end.
func (p *Processes) End() {
	all := p.all()
	for _, process := range all {
		_ = process.Kill()
	}
	for _, process := range all {
		_, _ = process.Wait()
	}
}

func (p *Processes) all() (all []*os.Process) {
	for _, process := range []*os.Process{p.Sandbox, p.Gofer} {
		if process != nil {
			all = append(all, process)
		}
	}
	return all
}

// Start starts the processes, and returns when the sandbox process takes calls. If it fails, none
// is left. It waits as long as the processes live: the caller may end them by their command line.
func Start(s Sandbox) (_ *Processes, err error) {
	if err := prepare(); err != nil {
		return nil, fmt.Errorf("prepare to start processes: %w", err)
	}
	p := &Processes{}
	defer func() {
		if err != nil {
			p.End()
			_ = os.Remove(s.Socket)
		}
	}()
	g := &gofer{}
	defer g.close()
	if err := s.startGofer(p, g); err != nil {
		return nil, fmt.Errorf("start the file server: %w", err)
	}
	booted, err := s.startSandbox(p, g)
	if err != nil {
		return nil, fmt.Errorf("start the sandbox process: %w", err)
	}
	defer booted.Close()
	if err := g.sendPidfd(p.Sandbox.Pid); err != nil {
		return nil, fmt.Errorf("name the sandbox process to its file server: %w", err)
	}
	if n, err := booted.Read(make([]byte, 1)); n != 1 {
		return nil, errors.Join(errors.New("the sandbox process has ended while it started"), err)
	}
	return p, nil
}
