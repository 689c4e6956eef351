package vmtest

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/rundlet/rundlet/vm"
)

// Confined describes one host process of a machine: what it may have and do.
// The rules are strict, and a driver names each exception with its reason. They
// are about hosts with Linux.
type Confined struct {
	// Name says what the process is: "vmm", "file server".
	Name string
	PID  int
	// Capabilities are the numbers of those that it may have.
	Capabilities []uint
	// Files are patterns (see path.Match) of what its descriptors may refer to,
	// as /proc/<pid>/fd shows it. "*" does not match a slash.
	Files []string
	// Private are files and directories on the host that belong to this machine
	// alone. No process of another machine may reach them.
	Private []string
	// Except gives the reason for each thing that is not so: "namespace net" (it
	// shares the driver's), "no_new_privs", "seccomp", "private files".
	Except map[string]string
}

// namespaces are the kinds of which a process of a machine has its own.
var namespaces = []string{"ipc", "mnt", "net", "pid", "user", "uts"}

// finding is something that a process may not have or do. what is how an
// exception is called.
type finding struct{ what, text string }

// status reads a field of /proc/<pid>/status.
func status(pid int, field string) (string, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(line, field+":"); ok {
			return strings.TrimSpace(value), nil
		}
	}
	return "", fmt.Errorf("/proc/%d/status has no %s", pid, field)
}

// sharedNamespaces finds the namespaces that it has in common with this process.
func sharedNamespaces(c Confined) (out []finding) {
	for _, kind := range namespaces {
		own, err := os.Readlink("/proc/self/ns/" + kind)
		theirs, err2 := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", c.PID, kind))
		switch {
		case err != nil || err2 != nil:
			out = append(out, finding{"", fmt.Sprintf("cannot be judged: %v, %v", err, err2)})
		case own == theirs:
			out = append(out, finding{"namespace " + kind, "is in the driver's namespace " + theirs})
		}
	}
	return out
}

func newPrivileges(c Confined) []finding {
	if got, err := status(c.PID, "NoNewPrivs"); got != "1" {
		return []finding{{"no_new_privs", fmt.Sprintf("can get new privileges (%s, %v)", got, err)}}
	}
	return nil
}

// unfiltered finds a process without a filter of its system calls, which is
// seccomp's mode 2.
func unfiltered(c Confined) []finding {
	if got, err := status(c.PID, "Seccomp"); got != "2" {
		return []finding{{"seccomp", fmt.Sprintf("may make any system call (%s, %v)", got, err)}}
	}
	return nil
}

// capabilities finds those that are not allowed.
func capabilities(c Confined) (out []finding) {
	var allowed uint64
	for _, n := range c.Capabilities {
		allowed |= 1 << n
	}
	for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapAmb"} {
		text, err := status(c.PID, set)
		have, err2 := strconv.ParseUint(text, 16, 64)
		if err != nil || err2 != nil || have&^allowed != 0 {
			out = append(out, finding{"capabilities", fmt.Sprintf("has %s %s, of which %x is not allowed (%v, %v)", set, text, have&^allowed, err, err2)})
		}
	}
	return out
}

// descriptors finds open files that are not listed.
func descriptors(c Confined) (out []finding) {
	dir := fmt.Sprintf("/proc/%d/fd", c.PID)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return []finding{{"files", err.Error()}}
	}
	for _, entry := range entries {
		file, err := os.Readlink(filepath.Join(dir, entry.Name()))
		if err != nil {
			continue // Closed meanwhile.
		}
		if !slices.ContainsFunc(c.Files, func(pattern string) bool {
			ok, _ := path.Match(pattern, file)
			return ok
		}) {
			out = append(out, finding{"files", fmt.Sprintf("has descriptor %s of %s open, which is not listed", entry.Name(), file)})
		}
	}
	return out
}

// reaches finds the private files of another machine that a process reaches:
// by its root or working directory, or by a descriptor.
func reaches(c Confined, private []string) (out []finding) {
	proc := fmt.Sprintf("/proc/%d/", c.PID)
	for _, file := range private {
		info, err := os.Stat(file)
		if err != nil {
			out = append(out, finding{"", fmt.Sprintf("cannot be judged: %v", err)})
			continue
		}
		if there, err := os.Stat(proc + "root" + file); err == nil && os.SameFile(info, there) {
			out = append(out, finding{"private files", fmt.Sprintf("reaches %s, which is of another machine", file)})
		}
		links, _ := filepath.Glob(proc + "fd/*")
		for _, link := range append(links, proc+"cwd", proc+"root") {
			if target, err := os.Readlink(link); err == nil && (target == file || strings.HasPrefix(target, file+"/")) {
				out = append(out, finding{"private files", fmt.Sprintf("has %s open, which is of another machine", target)})
			}
		}
	}
	return out
}

// confined is a rule about every host process of a running machine.
func confined(name string, check func(c Confined) []finding) rule {
	return rule{name: "confine/" + name, needs: []string{"Confinement"}, run: func(e *env) {
		e.confined("a")
		processes := e.h.Confinement(e.T, e.d, "a")
		if len(processes) == 0 {
			e.Error("the harness names no processes")
		}
		for _, c := range processes {
			e.judge(c, check(c), name)
		}
	}}
}

// confined makes a machine with limits, as in production, and waits until its
// guest runs: its processes are confined by then.
func (e *env) confined(id string) {
	e.Helper()
	e.with(id, func(s *vm.Spec) {
		if slices.Contains(e.h.Accepts, "MemoryMiB") {
			s.MemoryMiB = 256
		}
		if slices.Contains(e.h.Accepts, "VCPUs") {
			s.VCPUs = 1
		}
	})
	e.write(id, "k", "v")
	e.read(id, "k", "v")
}

// exceptions are the names of exceptions that a rule may have.
var exceptions = map[string][]string{
	"namespaces-are-its-own":                  {"namespace"},
	"it-cannot-get-new-privileges":            {"no_new_privs"},
	"system-calls-are-filtered":               {"seccomp"},
	"other-machines-files-are-out-of-reach":   {"private files"},
	"capabilities-are-those-allowed":          nil,
	"descriptors-are-those-that-are-expected": nil,
}

// judge reports what was found, but for the exceptions, and the exceptions of
// which nothing was found.
func (e *env) judge(c Confined, found []finding, rule string) {
	e.Helper()
	excused := map[string]bool{}
	for _, f := range found {
		if reason := c.Except[f.what]; reason != "" {
			excused[f.what] = true
			e.Logf("%s %d %s: %s", c.Name, c.PID, f.text, reason)
			continue
		}
		e.Errorf("%s %d %s", c.Name, c.PID, f.text)
	}
	for what := range c.Except {
		kind := what
		if strings.HasPrefix(what, "namespace ") {
			kind = "namespace"
		}
		if slices.Contains(exceptions[rule], kind) && !excused[what] {
			e.Errorf("%s %d is as the rule wants, and has an exception for %q", c.Name, c.PID, what)
		}
	}
}

var confineRules = []rule{
	confined("namespaces-are-its-own", sharedNamespaces),
	confined("it-cannot-get-new-privileges", newPrivileges),
	confined("system-calls-are-filtered", unfiltered),
	confined("capabilities-are-those-allowed", capabilities),
	confined("descriptors-are-those-that-are-expected", descriptors),
	{name: "confine/other-machines-files-are-out-of-reach", needs: []string{"Confinement"}, run: func(e *env) {
		e.confined("a")
		e.confined("b")
		var private []string
		for _, c := range e.h.Confinement(e.T, e.d, "b") {
			private = append(private, c.Private...)
		}
		if len(private) == 0 {
			e.Fatal("the harness names no private files")
		}
		// This process reaches them: what is looked for is there to be found.
		if found := reaches(Confined{PID: os.Getpid()}, private); len(found) < len(private) {
			e.Errorf("the driver's own process reaches %d of %q", len(found), private)
		}
		processes := e.h.Confinement(e.T, e.d, "a")
		if len(processes) == 0 {
			e.Error("the harness names no processes")
		}
		for _, c := range processes {
			e.judge(c, reaches(c, private), "other-machines-files-are-out-of-reach")
		}
	}},
}
