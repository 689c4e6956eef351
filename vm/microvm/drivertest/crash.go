//go:build linux

package drivertest

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/vmtest"
)

const suiteCrashEnv = "MICROVM_TEST_SUITE_CRASH"

// suiteCrash is a call that a process makes half-way.
type suiteCrash struct {
	StateDir, RunDir, Instance, Kernels string

	Call vmtest.Call
}

// SuiteCrashChild is TestSuiteCrashChild: the process that dies in the middle of a call of the suite.
func (k Kind) SuiteCrashChild(t *testing.T) {
	text := os.Getenv(suiteCrashEnv)
	if text == "" {
		t.Skip("TestConformance runs it, in separate processes")
	}
	var c suiteCrash
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		t.Fatal(err)
	}
	d, err := k.New(vm.Options{StateDir: c.StateDir, RunDir: c.RunDir, Instance: c.Instance, Kernels: c.Kernels})
	if err != nil {
		t.Fatal(err)
	}
	d.HalfWay = func(op, id string) error {
		if op == c.Call.Point() && id == c.Call.ID {
			_ = unix.Kill(os.Getpid(), unix.SIGKILL)
			select {}
		}
		return nil
	}
	ctx := Context(t)
	if _, lost, err := vmtest.Adopted(ctx, d); err != nil || len(lost) > 0 {
		t.Fatalf("lost %v, %v", lost, err)
	}
	t.Fatalf("survived %s: %v", c.Call.Op, c.Call.Do(ctx, d))
}

// dieHalfWay makes the call in a process that dies half-way.
func (k Kind) dieHalfWay(t *testing.T, options vm.Options, call vmtest.Call) {
	t.Helper()
	text, err := json.Marshal(suiteCrash{StateDir: options.StateDir, RunDir: options.RunDir, Instance: options.Instance, Kernels: options.Kernels, Call: call})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(Context(t), "/proc/self/exe", "-test.run=^TestSuiteCrashChild$")
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), suiteCrashEnv+"="+string(text))
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("the process did not die half-way: %v\n%s", err, out)
	}
}
