//go:build linux

package qemu

import (
	"context"
	"net"
	"time"
)

// Config says where a driver keeps its files and how it reaches guests.
type Config struct {
	// StateDir holds snapshots, durably, and the disks of machines. Required.
	StateDir string
	// RunDir holds the sockets of running machines. Required, at most 70 bytes long because a socket below it must fit into an address.
	RunDir string
	// Kernels is where guest kernels are installed: see vm/microvm/kernel. "kernels" beside StateDir if empty.
	Kernels string
	// Instance names the parent control group, "rundlet-<Instance>-qemu"; "default" if empty.
	Instance string
	// Program is QEMU; "qemu-system-x86_64" of the search path if empty.
	Program string
	// DialContext reaches a guest address; nil is a plain net.Dialer.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
	// SetUID are absolute paths of files in guests, owned by root, that are made set-uid in each guest that has them.
	SetUID []string
	// Failpoint, if not nil, is called at every step of a lifecycle operation, with the id of the machine. It is for tests.
	Failpoint func(step, id string)
}

const (
	driverName = "qemu"
	maxRunDir  = 70
	// firstUID and uids are the users of QEMU processes: no account of a system has them, and a user namespace of 65,536 does.
	firstUID, uids = 60_000, 4_000
	// answerTime is for a question to QEMU, and adoptTime for Adopt and one machine.
	answerTime, adoptTime = 5 * time.Second, 3 * time.Second
)
