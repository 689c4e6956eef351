package vmtest_test

import (
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/memvm"
	"github.com/rundlet/rundlet/vm/vmtest"
)

const (
	mutantEnv   = "RUNDLET_VMTEST_MUTANT"
	missingHook = "missing hook"
)

// TestMutant runs the suite on the mutant that the environment names: see
// TestSuiteCatchesMutants.
func TestMutant(t *testing.T) {
	name := os.Getenv(mutantEnv)
	if name == "" {
		t.Skip("TestSuiteCatchesMutants runs it, in processes of its own")
	}
	if name == missingHook {
		h := harness(func(d *memvm.Driver) vm.Runtime { return d })
		h.Kill = nil
		vmtest.Run(t, h)
	}
	for _, m := range mutants {
		if m.name == name {
			h := harness(func(d *memvm.Driver) vm.Runtime {
				b := &broken{Driver: d}
				m.plant(b)
				return b
			})
			h.Timeout = 4 * time.Second // some defects block
			vmtest.Run(t, h)
		}
	}
}

// TestSuiteCatchesMutants shows that the suite can fail: each planted defect
// fails the rule that is about it.
func TestSuiteCatchesMutants(t *testing.T) {
	for _, m := range mutants {
		t.Run(strings.ReplaceAll(m.name, " ", "-"), func(t *testing.T) {
			if !slices.Contains(vmtest.Rules(), m.rule) {
				t.Fatalf("there is no rule %s", m.rule)
			}
			catches(t, m.name, m.rule)
		})
	}
	t.Run("a-missing-hook-without-a-reason", func(t *testing.T) {
		catches(t, missingHook, "harness/every-missing-hook-has-a-reason")
	})
}

// catches runs one rule on a mutant: another's failure must not count.
func catches(t *testing.T, mutant, want string) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	group, rule, _ := strings.Cut(want, "/")
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestMutant$/^"+group+"$/^"+rule+"$", "-test.timeout=60s")
	cmd.Env = append(os.Environ(), mutantEnv+"="+mutant, "GORACE=atexit_sleep_ms=0")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || !strings.Contains(string(out), "--- FAIL: TestMutant/"+want+" ") {
		t.Errorf("rule %s did not catch it: %v\n%s", want, err, out)
	}
}
