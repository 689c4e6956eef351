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

const mutantEnv = "RUNDLET_VMTEST_MUTANT"

// limitOfMutants is how long the destruction of a mutant's machine may take.
const limitOfMutants = 3 * time.Second

// TestMutant runs the suite on the mutant that the environment names: see
// TestSuiteCatchesMutants.
func TestMutant(t *testing.T) {
	name := os.Getenv(mutantEnv)
	if name == "" {
		t.Skip("TestSuiteCatchesMutants runs it, in separate processes")
	}
	for _, m := range harnessMutants {
		if m.name == name {
			h := harness(func(d *memvm.Driver) vm.Runtime { return d })
			m.change(&h)
			vmtest.Run(t, h)
		}
	}
	for _, m := range mutants {
		if m.name == name {
			h := harness(func(d *memvm.Driver) vm.Runtime {
				b := &broken{Driver: d}
				m.plant(b)
				return b
			})
			h.Limits = vmtest.Limits{Case: 4 * time.Second, Destroy: limitOfMutants} // Some defects block.
			if strings.HasPrefix(m.rule, "hang/") {
				h.Limits.Case = 4 * limitOfMutants
			}
			vmtest.Run(t, h)
		}
	}
}

// TestSuiteCatchesMutants shows that the suite can fail: each planted defect
// fails the rule that is about it.
func TestSuiteCatchesMutants(t *testing.T) {
	for _, m := range mutants {
		t.Run(strings.ReplaceAll(m.name, " ", "-"), func(t *testing.T) {
			t.Parallel() // Most wait for a limit.
			if !slices.Contains(vmtest.Rules(), m.rule) {
				t.Fatalf("there is no rule %s", m.rule)
			}
			catches(t, m.name, m.rule)
		})
	}
	for _, m := range harnessMutants {
		t.Run("harness/"+strings.ReplaceAll(m.name, " ", "-"), func(t *testing.T) {
			if already(m.name) {
				t.Skip("the tests run in a process that is confined itself")
			}
			catches(t, m.name, m.rule)
		})
	}
}

// TestEveryNewRuleHasAMutant holds the groups of rules in which each rule has a
// planted defect that it catches.
func TestEveryNewRuleHasAMutant(t *testing.T) {
	caught := map[string]bool{}
	for _, m := range mutants {
		caught[m.rule] = true
	}
	for _, m := range harnessMutants {
		caught[m.rule] = true
	}
	for _, rule := range vmtest.Rules() {
		group, _, _ := strings.Cut(rule, "/")
		if slices.Contains([]string{"honour", "crash", "confine", "weight", "page_out"}, group) && !caught[rule] {
			t.Errorf("no planted defect shows that the rule %s can fail", rule)
		}
	}
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
