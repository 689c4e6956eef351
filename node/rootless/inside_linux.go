package rootless

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/internal/flock"
)

// Inside is a command in the namespaces of the user's node.
type Inside struct {
	runDir  string
	lock    *os.File
	outside *outside
	// leaving is the lock of Leave. It ends with the process, so that another one that has it finds this one ending.
	leaving *os.File
}

// leavePatience is how long other commands may take to enter or to leave.
const leavePatience = 5 * time.Second

// Needed reports whether this process has no right to have a node where it is.
func Needed() bool { return os.Geteuid() != 0 }

// Of returns what Enter left to this process, or nil in one that has not entered: then the methods do what they do on the host.
var Of = sync.OnceValue(func() *Inside {
	left, ok := inherit()
	if !ok {
		return nil
	}
	conn, err := unixConn(left.sockets)
	if err != nil {
		return nil
	}
	return &Inside{runDir: left.runDir, lock: left.lock, outside: &outside{conn: conn}}
})

// Listen listens where the host's processes do: by the process outside, or, if in is nil, as net.ListenConfig does.
func (in *Inside) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	if in == nil {
		return (&net.ListenConfig{}).Listen(ctx, network, address)
	}
	f, err := in.outside.ask(network, address)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return net.FileListener(f)
}

// ListenPacket is Listen for packets.
func (in *Inside) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	if in == nil {
		return (&net.ListenConfig{}).ListenPacket(ctx, network, address)
	}
	f, err := in.outside.ask(network, address)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return net.FilePacketConn(f)
}

// Leave ends the namespaces if nothing else is in them: no other command, and no sandbox. What runs keeps them for the next
// command. The process ends then: of commands that leave at the same time, the last one finds no other.
func (in *Inside) Leave() error {
	if in == nil {
		return nil
	}
	in.outside.conn.Close()
	in.lock.Close()
	patient, cancel := context.WithTimeout(context.Background(), leavePatience)
	defer cancel()
	var err error
	if in.leaving, err = flock.Await(patient, enteringPath(in.runDir)); err != nil {
		return nil //nolint:nilerr // Another command enters.
	}
	alone, err := flock.Try(insidePath(in.runDir))
	if err != nil {
		return nil //nolint:nilerr // Another command is inside.
	}
	defer alone.Close()
	k, ok := loadKeeper(in.runDir)
	if !ok || !k.keeps(os.Getpid()) {
		return nil
	}
	others, err := othersInside(os.Getpid(), k.Keeper.PID)
	if err != nil || others {
		return err
	}
	if err := syscall.Kill(k.Keeper.PID, syscall.SIGKILL); err != nil {
		return err
	}
	return os.Remove(k.path)
}

// othersInside reports whether a process that is not one of those is in this process's user namespace, or in one below it.
func othersInside(pids ...int) (bool, error) {
	own, err := os.Readlink("/proc/self/ns/user")
	if err != nil {
		return false, err
	}
	found, err := inside(own)
	return slices.ContainsFunc(found, func(pid int) bool { return !slices.Contains(pids, pid) }), err
}

// inside lists the processes in a user namespace, or in one below it.
func inside(name string) (pids []int, err error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		if _, err := startTime(pid); err != nil {
			continue // It has ended, though its parent may not know yet.
		}
		f, err := os.Open(filepath.Join(dir, "ns", "user"))
		if err != nil {
			continue // It has ended since, or is none of this user's.
		}
		if within(f, name) {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// within reports whether a user namespace has that name or is below the one that has, and closes it. The kernel shows no namespace above.
func within(ns *os.File, name string) bool {
	for {
		is, err := os.Readlink(filepath.Join("/proc/self/fd", strconv.Itoa(int(ns.Fd()))))
		if err == nil && is == name {
			ns.Close()
			return true
		}
		parent, err := unix.IoctlRetInt(int(ns.Fd()), unix.NS_GET_PARENT)
		ns.Close()
		if err != nil {
			return false
		}
		ns = os.NewFile(uintptr(parent), "user namespace")
	}
}
