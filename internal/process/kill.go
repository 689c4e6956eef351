//go:build linux

package process

import (
	"errors"
	"os"
	"strconv"
	"strings"
)

// CommandLine is the arguments of a process, each of which ends with a zero byte; empty if it has none, or has ended.
func CommandLine(pid int) string {
	data, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	return string(data)
}

// KillByArgument ends the processes that have an argument, which is not their first, and not empty.
func KillByArgument(argument string) error {
	if argument == "" {
		return errors.New("the argument of the processes to end must not be empty")
	}
	return KillMatching(func(commandLine string) bool { return strings.Contains(commandLine, "\x00"+argument+"\x00") })
}

// KillMatching ends the processes whose command line matches. Each is asked again when it is held, so that none is ended that has got the number of one. It
// fails if one does not end, after the others.
func KillMatching(match func(commandLine string) bool) (err error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return err
	}
	for _, entry := range entries {
		pid, notPID := strconv.Atoi(entry.Name())
		if notPID != nil || !match(CommandLine(pid)) {
			continue
		}
		p, gone := Open(pid, 0)
		if gone != nil {
			continue
		}
		if match(CommandLine(pid)) {
			err = errors.Join(err, p.Kill())
		}
		p.Release()
	}
	return err
}

// KillRecorded ends the process with a number and a start time: ErrGone if there is none.
func KillRecorded(pid int, start uint64) error {
	p, err := Open(pid, start)
	if err != nil {
		return err
	}
	defer p.Release()
	return p.Kill()
}
