//go:build linux

package kernel

import (
	"errors"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// Wait waits for the process of a kernel, which leads its process group, and kills the rest of that group.
func Wait(cmd *exec.Cmd) error {
	pid := cmd.Process.Pid
	for {
		// Until it is waited for, no other process group has its id.
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	_ = syscall.Kill(-pid, syscall.SIGKILL)
	return cmd.Wait()
}
