//go:build linux

package spawn

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/internal/netns"
	"github.com/rundlet/rundlet/vm/gvisor/launch"
)

// command is a process that is to be started.
type command struct {
	*exec.Cmd
	given files // Only of the caller, until it is started.
}

// command makes that of a process with a name and gVisor's command for it. The process is
// root in a new user namespace, with the same users and groups as this process has.
func (s *Sandbox) command(name, gvisor string) (*command, error) {
	users, groups, err := mappings()
	if err != nil {
		return nil, err
	}
	c := &command{Cmd: &exec.Cmd{
		Path: s.Program,
		Args: append([]string{launch.ProcessPrefix + name}, s.Flags...),
		SysProcAttr: &syscall.SysProcAttr{
			Setsid:      true, // It must not get the signals of this process's terminal.
			Cloneflags:  unix.CLONE_NEWIPC | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWUSER,
			UidMappings: users, GidMappings: groups,
			Credential: &syscall.Credential{},
		},
	}}
	if s.Group != nil {
		c.SysProcAttr.UseCgroupFD, c.SysProcAttr.CgroupFD = true, int(s.Group.Fd())
	}
	if s.Debug {
		log, err := c.given.own(os.OpenFile(filepath.Join(s.Bundle, "log-"+gvisor), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644))
		if err != nil {
			return nil, err
		}
		c.give("debug-log-fd", log)
	}
	c.Args = append(c.Args, gvisor)
	return c, nil
}

// give passes files to the process: a flag has the number that each has there, or -1 for nil.
func (c *command) give(flag string, files ...*os.File) {
	for _, f := range files {
		number := -1
		if f != nil {
			number = 3 + len(c.ExtraFiles)
			c.ExtraFiles = append(c.ExtraFiles, f)
		}
		c.Args = append(c.Args, fmt.Sprintf("--%s=%d", flag, number))
	}
}

// start starts the process in a network namespace; nil is a new one.
func (c *command) start(namespace *os.File) (*os.Process, error) {
	start := c.Start
	if namespace == nil {
		c.SysProcAttr.Cloneflags |= unix.CLONE_NEWNET
	} else {
		start = func() error { return netns.In(namespace, c.Start) }
	}
	err := start()
	return c.Process, err
}
