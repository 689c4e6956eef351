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

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/internal/flock"
)

// Inside is a command in the namespaces of the user's node.
type Inside struct {
	runDir  string
	lock    *os.File
	outside *outside
}

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
// command.
func (in *Inside) Leave() error {
	if in == nil {
		return nil
	}
	defer in.lock.Close()
	defer in.outside.conn.Close()
	entering, err := flock.Try(enteringPath(in.runDir))
	if err != nil {
		return nil //nolint:nilerr // Another command enters.
	}
	defer entering.Close()
	if err := unix.Flock(int(in.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil //nolint:nilerr // Another command is inside.
	}
	k, ok := loadKeeper(in.runDir)
	if !ok {
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
	own, err := os.Stat("/proc/self/ns/user")
	if err != nil {
		return false, err
	}
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return false, err
	}
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || slices.Contains(pids, pid) {
			continue
		}
		if _, err := startTime(pid); err != nil {
			continue // It has ended, though its parent may not know yet.
		}
		f, err := os.Open(filepath.Join(dir, "ns", "user"))
		if err != nil {
			continue // It has ended since, or is none of this user's.
		}
		if within(f, own) {
			return true, nil
		}
	}
	return false, nil
}

// within reports whether a user namespace is own or one below it, and closes it. The kernel shows no namespace above.
func within(ns *os.File, own os.FileInfo) bool {
	for {
		info, err := ns.Stat()
		if err == nil && os.SameFile(info, own) {
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
