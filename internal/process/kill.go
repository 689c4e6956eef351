//go:build linux

package process

import (
	"errors"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// CommandLine is the arguments of a process, each of which ends with a zero byte; empty if it has none, has ended, or is not for this user to
// see. An error says that it is not known, as without a free descriptor.
func CommandLine(pid int) (string, error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) || errors.Is(err, fs.ErrPermission) {
		return "", nil
	}
	return string(data), err
}

// KillByArgument ends the processes that have an argument, which is not their first, and not empty.
func KillByArgument(argument string) error {
	if argument == "" {
		return errors.New("the argument of the processes to end must not be empty")
	}
	return KillMatching(func(commandLine string) bool { return strings.Contains(commandLine, "\x00"+argument+"\x00") })
}

// KillMatching ends the processes whose command line matches. Each is asked again when it is held, so that none is ended that has got the number of one. It
// fails, after the others, if one does not end, or could not be looked at: one that matches may be left then.
func KillMatching(match func(commandLine string) bool) (err error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if pid, notPID := strconv.Atoi(entry.Name()); notPID == nil {
			err = errors.Join(err, killIf(pid, match))
		}
	}
	return err
}

func killIf(pid int, match func(commandLine string) bool) error {
	line, err := CommandLine(pid)
	if err != nil || !match(line) {
		return err
	}
	p, err := hold(pid, 0)
	if errors.Is(err, ErrGone) {
		return nil
	}
	if err != nil {
		return err
	}
	defer p.Release()
	if line, err = CommandLine(pid); err != nil || !match(line) {
		return err
	}
	return p.Kill()
}

// KillRecorded ends the process that Open finds: ErrGone if there is none.
func KillRecorded(pid int, start uint64) error {
	p, err := Open(pid, start)
	if err != nil {
		return err
	}
	defer p.Release()
	return p.Kill()
}
