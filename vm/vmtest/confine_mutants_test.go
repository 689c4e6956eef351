package vmtest_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/memvm"
	"github.com/rundlet/rundlet/vm/vmtest"
)

// harnessMutant is a harness that hides something, or a driver whose processes
// are not confined, and the rule that must catch it.
type harnessMutant struct {
	name, rule string
	change     func(h *vmtest.Harness)
}

// processes makes a harness whose machines have this process.
func processes(change func(c *vmtest.Confined)) func(h *vmtest.Harness) {
	return func(h *vmtest.Harness) {
		h.Missing, h.Skips = nil, []string{"honour/kernel-command-line"}
		h.Confinement = func(t *testing.T, _ vm.Runtime, id string) []vmtest.Confined {
			private := filepath.Join(os.TempDir(), "vmtest-"+filepath.Base(t.TempDir())+id)
			if err := os.WriteFile(private, nil, 0o600); err != nil {
				t.Error(err)
			}
			t.Cleanup(func() { _ = os.Remove(private) })
			c := vmtest.Confined{Name: "test", PID: os.Getpid(), Private: []string{private}}
			for n := range uint(41) {
				c.Capabilities = append(c.Capabilities, n)
			}
			change(&c)
			return []vmtest.Confined{c}
		}
	}
}

// excused are the exceptions that this process needs: the user that runs the tests may have
// confined it.
func excused() map[string]string {
	const why = "it is the test itself"
	all := map[string]string{"private files": why}
	for _, kind := range []string{"ipc", "mnt", "net", "pid", "user", "uts"} {
		all["namespace "+kind] = why
	}
	if !selfHas("NoNewPrivs:\t1") {
		all["no_new_privs"] = why
	}
	if !selfHas("Seccomp:\t2") {
		all["seccomp"] = why
	}
	return all
}

func selfHas(line string) bool {
	data, _ := os.ReadFile("/proc/self/status")
	return strings.Contains(string(data), line+"\n")
}

// already reports whether this process is confined in a way that a mutant is not.
func already(mutant string) bool {
	return mutant == "new privileges" && selfHas("NoNewPrivs:\t1") || mutant == "any system call" && selfHas("Seccomp:\t2") ||
		mutant == "capabilities" && selfHas("CapPrm:\t0000000000000000")
}

// TestExceptionsWithAReasonPass runs the suite on processes with every exception
// that there is.
func TestExceptionsWithAReasonPass(t *testing.T) {
	h := harness(func(d *memvm.Driver) vm.Runtime { return d })
	processes(func(c *vmtest.Confined) {
		c.Except = excused()
		for pattern := "*"; len(pattern) < 30; pattern += "/*" {
			c.Files = append(c.Files, pattern, "/"+pattern)
		}
	})(&h)
	vmtest.Run(t, h)
}

func unconfined(*vmtest.Confined) {}

var harnessMutants = []harnessMutant{
	{"missing hook", "harness/every-missing-hook-has-a-reason", func(h *vmtest.Harness) { h.Kill = nil }},
	{"a new skip", "harness/every-skip-is-listed", func(h *vmtest.Harness) {
		h.Unshown = map[string]string{"stop/running-becomes-stopped": "it is hard"}
	}},
	{"an old skip", "harness/every-skip-is-listed", func(h *vmtest.Harness) { h.Skips = append(h.Skips, "stop/running-becomes-stopped") }},
	{"a field without a check", "harness/every-accepted-field-has-a-check", func(h *vmtest.Harness) { h.Honoured = nil }},
	{"a field with an own check that fails", "honour/own-check-of-Interfaces", func(h *vmtest.Harness) {
		h.Honoured = map[string]func(*testing.T, vm.Runtime){"Interfaces": func(t *testing.T, _ vm.Runtime) { t.Error("not honoured") }}
	}},
	{"each mount has a separate disk", "honour/disk-of-root-and-mounts-is-one", func(h *vmtest.Harness) {
		look := h.Look
		h.Look = func(ctx context.Context, d vm.Runtime, id string, question ...string) (string, error) {
			if question[0] == "write" && strings.HasPrefix(question[1], "/mnt/") {
				return vmtest.Done, nil
			}
			return look(ctx, d, id, question...)
		}
	}},
	{"the driver's namespaces", "confine/namespaces-are-its-own", processes(unconfined)},
	{"new privileges", "confine/it-cannot-get-new-privileges", processes(unconfined)},
	{"any system call", "confine/system-calls-are-filtered", processes(unconfined)},
	{"capabilities", "confine/capabilities-are-those-allowed", processes(func(c *vmtest.Confined) { c.Capabilities = nil })},
	{"an exception without need", "confine/other-machines-files-are-out-of-reach", processes(func(c *vmtest.Confined) {
		c.PID = 0
		c.Except = map[string]string{"private files": "it needs them"}
	})},
	{"a process that is not there", "confine/namespaces-are-its-own", processes(func(c *vmtest.Confined) {
		c.PID, c.Except = 0, excused()
	})},
	{"no processes", "confine/namespaces-are-its-own", func(h *vmtest.Harness) {
		processes(unconfined)(h)
		h.Confinement = func(*testing.T, vm.Runtime, string) []vmtest.Confined { return nil }
	}},
	{"the kernel's command line is dropped", "honour/kernel-command-line", func(h *vmtest.Harness) { *h = microVMHarness(true) }},
	{"open files", "confine/descriptors-are-those-that-are-expected", processes(unconfined)},
	{"another machine's files", "confine/other-machines-files-are-out-of-reach", processes(unconfined)},
}
