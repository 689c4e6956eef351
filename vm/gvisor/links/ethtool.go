//go:build linux

package links

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// segmentation reports whether an interface divides large segments for its sender.
func segmentation(socket int, name string) (bool, error) {
	value := struct{ command, data uint32 }{command: unix.ETHTOOL_GGSO}
	request := struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte // The kernel copies the largest of several forms.
	}{data: unsafe.Pointer(&value)}
	copy(request.name[:unix.IFNAMSIZ-1], name)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(socket), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request))); errno != 0 {
		return false, errno
	}
	return value.data != 0, nil
}
