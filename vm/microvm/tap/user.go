//go:build linux

package tap

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/vm/microvm/link"
)

// Device is the name of the TAP device in each namespace.
const Device = device

// Make is Open for a process that opens the device by its name, as an ordinary user. The device stays until Bind or Remove, or until the next Make or the
// end of the namespace.
func Make(uid int) (link.Network, error) {
	if old, err := netlink.LinkByName(device); err == nil {
		if old.Attrs().RawFlags&unix.IFF_LOWER_UP != 0 {
			return link.Network{}, fmt.Errorf("TAP device: a process has it open: %w", unix.EBUSY)
		}
		if err := netlink.LinkDel(old); err != nil {
			return link.Network{}, fmt.Errorf("remove the TAP device that a process left: %w", err)
		}
	}
	file, network, err := Open()
	if err != nil {
		return link.Network{}, err
	}
	defer file.Close()
	for _, set := range []struct {
		request uint
		value   int
	}{{unix.TUNSETOWNER, uid}, {unix.TUNSETPERSIST, 1}} {
		if err := unix.IoctlSetInt(int(file.Fd()), set.request, set.value); err != nil {
			return link.Network{}, fmt.Errorf("TAP device for user %d: %w", uid, err)
		}
	}
	return network, nil
}

// Remove removes the device of the present namespace, if there is one.
func Remove() error {
	old, err := netlink.LinkByName(device)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil
	} else if err != nil {
		return err
	}
	return netlink.LinkDel(old)
}

// The device numbers of /dev/net/tun (Documentation/admin-guide/devices.txt).
const tunMajor, tunMinor = 10, 200

// Bind makes the device of Make end with the process that has it open.
func Bind(pid int) error {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	process, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("process %d: %w", pid, err)
	}
	defer unix.Close(process)
	for _, entry := range entries {
		var info unix.Stat_t
		if unix.Stat(filepath.Join(dir, entry.Name()), &info) != nil || info.Mode&unix.S_IFMT != unix.S_IFCHR || info.Rdev != unix.Mkdev(tunMajor, tunMinor) {
			continue
		}
		number, err := strconv.Atoi(entry.Name())
		if err != nil {
			return err
		}
		fd, err := unix.PidfdGetfd(process, number, 0)
		if err != nil {
			return fmt.Errorf("TAP device of process %d: %w", pid, err)
		}
		defer unix.Close(fd)
		if err := unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 0); err != nil {
			return fmt.Errorf("TAP device of process %d: %w", pid, err)
		}
		return nil
	}
	return errors.New("the process has not opened the TAP device")
}
