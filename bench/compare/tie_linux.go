package compare

import (
	"os/exec"
	"syscall"
)

// tie interrupts a daemon when this process is killed, and keeps the terminal's own Ctrl-C
// from it: the order of the end is the comparison's. The kernel signals once for each
// thread that the daemon is handed on to, and a second signal kills a daemon, so that a
// comparison that was killed may leave a sandbox. One that is interrupted leaves none.
func tie(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGINT}
}
