package host

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Limit is a bounded resource of the host or of this process.
type Limit struct {
	// What is one of the Lack constants.
	What      string
	Used, Max int64
}

// Limits reads the bounded resources that a daemon uses up without noticing:
// this process' descriptors, the host's processes, its tracked connections. One
// that does not exist here is left out; an error does not keep the others from
// being returned.
func (h Host) Limits() (out []Limit, err error) {
	for _, l := range []struct {
		what string
		read func() (used, most int64, err error)
	}{
		{LackDescriptors, h.descriptors},
		{LackProcesses, h.processes},
		{LackConntrack, h.conntrack},
	} {
		used, most, e := l.read()
		switch {
		case e == nil:
			out = append(out, Limit{l.what, used, most})
		case unsupported(e):
		case err == nil:
			err = fmt.Errorf("%s: %w", l.what, e)
		}
	}
	return out, err
}

// descriptors are those of this process: without one that is free it cannot
// even count them.
func (h Host) descriptors() (used, most int64, err error) {
	if most, err = Descriptors(); err != nil {
		return 0, 0, err
	}
	dir, err := os.Open(filepath.Join(h.proc(), "self", "fd"))
	if err != nil {
		if Lack(err) == LackDescriptors {
			return most, most, nil
		}
		return 0, 0, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	return int64(len(names)) - 1, most, err // The directory itself is among them.
}

// processes counts threads, as pid_max does.
func (h Host) processes() (used, most int64, err error) {
	if most, err = h.number("sys/kernel/pid_max"); err != nil {
		return 0, 0, err
	}
	content, err := h.read("loadavg")
	if err != nil {
		return 0, 0, err
	}
	used, err = parseTasks(string(content))
	return used, most, err
}

// parseTasks reads the number of tasks in "0.20 0.18 0.12 1/80 11206".
func parseTasks(content string) (int64, error) {
	fields := strings.Fields(content)
	if len(fields) < 4 {
		return 0, fmt.Errorf("loadavg has %d fields", len(fields))
	}
	_, total, ok := strings.Cut(fields[3], "/")
	n, err := strconv.ParseInt(total, 10, 64)
	if !ok || err != nil || n < 0 {
		return 0, fmt.Errorf("loadavg: %.40q is not a count of tasks", fields[3])
	}
	return n, nil
}

// conntrack is the table of this process' network namespace.
func (h Host) conntrack() (used, most int64, err error) {
	if most, err = h.number("sys/net/netfilter/nf_conntrack_max"); err != nil {
		return 0, 0, err
	}
	used, err = h.number("sys/net/netfilter/nf_conntrack_count")
	return used, most, err
}

func (h Host) number(name string) (int64, error) {
	content, err := h.read(name)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(content)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", name, err)
	}
	return n, nil
}
