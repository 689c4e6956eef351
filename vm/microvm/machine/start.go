//go:build linux

package machine

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/internal/process"
	"github.com/rundlet/rundlet/vm/microvm/untrusted"
)

// ErrorFile is the file in State.Dir to which the monitor writes its errors.
const ErrorFile = "error"

// StartProcess starts a command as the process of the machine, in its directory and its control group. The process writes its errors to ErrorFile. It is in the
// present network namespace, or in a new one if the machine has none.
func (m *State) StartProcess(cmd *exec.Cmd) error {
	complaints, err := os.OpenFile(filepath.Join(m.Dir, ErrorFile), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer complaints.Close()
	cmd.Dir, cmd.Stderr = m.Dir, complaints
	if m.Spec.NetNS == "" {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWNET
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	if m.Process, err = process.OpenChild(cmd.Process.Pid); err != nil {
		return errors.Join(err, cmd.Process.Kill(), waitKilled(cmd)) // Nothing else would find it.
	}
	_ = cmd.Process.Release()
	for _, file := range m.Group.ProcsFiles() {
		if err := os.WriteFile(file, []byte(strconv.Itoa(m.Process.PID)), 0); err != nil {
			return fmt.Errorf("control group: %w", err)
		}
	}
	return nil
}

func waitKilled(cmd *exec.Cmd) error {
	if err := cmd.Wait(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		return err
	}
	return nil
}

// Complaint is what the process has written of an error, in one line and without warnings.
func (m *State) Complaint() string {
	f, err := untrusted.Open(filepath.Join(m.Dir, ErrorFile))
	if err != nil {
		return ""
	}
	defer f.Close()
	buf := make([]byte, 4<<10)
	n, _ := f.Read(buf)
	for line := range strings.SplitSeq(strings.TrimSpace(string(buf[:n])), "\n") {
		if !strings.Contains(line, "warning:") {
			return strings.ToValidUTF8(line, "")
		}
	}
	return ""
}
