package compare

import (
	"os/exec"
	"syscall"
)

// tie ends a daemon as Ctrl-C does when this process ends in whatever way, and keeps
// the terminal's own Ctrl-C from it: the order of the end is the comparison's.
func tie(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGINT}
}
