package memvm_test

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

const mutantEnv = "RUNDLET_VMTEST_MUTANT"

// TestMutant runs the suite on the mutant that the environment names: see
// TestSuiteCatchesMutants.
func TestMutant(t *testing.T) {
	name := os.Getenv(mutantEnv)
	for _, m := range mutants {
		if m.name == name {
			h := harness(func(d *memvm.Driver) vm.Runtime {
				b := &broken{Driver: d}
				m.plant(b)
				return b
			})
			h.Timeout = 2 * time.Second // some defects block
			vmtest.Run(t, h)
		}
	}
}

// TestSuiteCatchesMutants shows that the suite can fail: each planted defect
// fails the rule that is about it.
func TestSuiteCatchesMutants(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mutants {
		t.Run(strings.ReplaceAll(m.name, " ", "-"), func(t *testing.T) {
			if !slices.Contains(vmtest.Rules(), m.rule) {
				t.Fatalf("there is no rule %s", m.rule)
			}
			// Only this rule runs: another's failure must not count.
			group, rule, _ := strings.Cut(m.rule, "/")
			cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestMutant$/^"+group+"$/^"+rule+"$", "-test.timeout=60s")
			cmd.Env = append(os.Environ(), mutantEnv+"="+m.name, "GORACE=atexit_sleep_ms=0")
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || !strings.Contains(string(out), "--- FAIL: TestMutant/"+m.rule+" ") {
				t.Errorf("rule %s did not catch it: %v\n%s", m.rule, err, out)
			}
		})
	}
}
