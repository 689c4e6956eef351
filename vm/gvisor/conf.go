package gvisor

import (
	"context"
	"net"
)

// Config says where a driver keeps its files and how it reaches guests.
type Config struct {
	// StateDir holds snapshots, durably, and while machines run their writable
	// layers, in files without a name. It belongs on a disk with room for both.
	// Drivers may share it if their Instances differ. Required; "," and ":" are
	// not allowed in it.
	StateDir string
	// RunDir holds the files of running machines; a tmpfs such as
	// /run/rundlet. Required, at most 70 bytes long because a socket below it
	// must fit into a socket address.
	RunDir string
	// Instance names the parent control group, "rundlet-<Instance>"; "default"
	// if empty.
	Instance string
	// Cgroups is "auto" (the default: limits are enforced where the host has
	// control groups, and a spec that asks for limits is refused where it has
	// none) or "off" (the guest sees the limits, but they are not enforced).
	Cgroups string
	// Engine is the program that runs as the processes of sandboxes: cmd/rundlet-sandbox, or
	// a test that does the same. It must be statically linked. Empty is the one that this
	// program carries. A file of the directory engines of StateDir that is named like the one
	// which is unpacked there is kept for the snapshots that it makes, as that is. Another file is not: its snapshots
	// are restored with the Engine of then.
	Engine string
	// DialContext reaches a guest address; nil is a plain net.Dialer. The
	// network package supplies one that dials inside its router namespace.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
	// SetUID are absolute paths of files in guests, owned by root, that are
	// made set-uid in each guest that has them. On the host they need not be, and
	// should not.
	SetUID []string
	// Debug writes gVisor's own logs to <RunDir>/machines/<key>/log-*.
	Debug bool
	// Failpoint, if not nil, is called at every step of Steps, by the goroutine
	// that does it and with the id of the machine. It is for tests of the
	// state that a process leaves that dies there.
	Failpoint func(step, id string)
}

// maxRunDir leaves room for "/runsc/runsc-<key>.sock" in a socket address.
const maxRunDir = 70
