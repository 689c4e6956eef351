package local

import "golang.org/x/sys/unix"

// sameMemory reports whether two processes have one memory, as those have that run the
// threads of a guest's process. A kernel that cannot compare them says no.
func sameMemory(one, other int) bool {
	const kcmpVM = 1
	same, _, errno := unix.Syscall6(unix.SYS_KCMP, uintptr(one), uintptr(other), kcmpVM, 0, 0, 0)
	return errno == 0 && same == 0
}
