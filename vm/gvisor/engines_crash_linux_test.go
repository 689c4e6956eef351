package gvisor

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/gvisor/engine"
	"github.com/rundlet/rundlet/vm/vmtest"
)

const upgradedEnv = "GVISOR_TEST_UPGRADED"

// upgraded is a process of the second release that restores the snapshot "memory" of "a", which the
// first made, as "b", deletes the snapshot and destroys the machine, and dies at a step of that.
type upgraded struct {
	StateDir, RunDir, Instance, Engine, Step string

	B vm.Spec
}

// TestUpgradedChild is the process that dies.
func TestUpgradedChild(t *testing.T) {
	text := os.Getenv(upgradedEnv)
	if text == "" {
		t.Skip("TestACrashLosesNoEngine runs it, in separate processes")
	}
	var c upgraded
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		t.Fatal(err)
	}
	d, err := New(Config{StateDir: c.StateDir, RunDir: c.RunDir, Instance: c.Instance, Engine: c.Engine, Failpoint: func(step, _ string) {
		if step == c.Step {
			_ = unix.Kill(os.Getpid(), unix.SIGKILL)
			select {}
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx := testContext(t)
	if _, _, err := vmtest.Adopted(ctx, d); err != nil {
		t.Fatal(err)
	}
	t.Fatalf("survived %s: %v", c.Step, errors.Join(d.Create(ctx, "b", c.B), d.DeleteSnapshot(ctx, "a", "memory"), d.Destroy(ctx, "b")))
}

// TestACrashLosesNoEngine ends processes of the second release around a restore with the engine of
// the first. It is kept as long as something needs it, and the next process removes what the dead one did not.
func TestACrashLosesNoEngine(t *testing.T) {
	needRoot(t)
	for step, needed := range map[string]bool{
		stepCreateRecord:   true,  // By the snapshot.
		stepCreateSandbox:  true,  // By both.
		stepDeleteMoved:    true,  // By the machine.
		stepDestroyKilled:  false, // By none: the machine is lost.
		stepDestroyRemoved: false,
	} {
		t.Run(step, func(t *testing.T) {
			var first string
			d := newDriver(t, func(c *Config) { first = release(t, c, "first") })
			ctx := testContext(t)
			if err := errors.Join(d.Create(ctx, "a", guestSpec(t)), d.Start(ctx, "a"), d.Snapshot(ctx, "a", "memory"), d.Destroy(ctx, "a"), d.Close()); err != nil {
				t.Fatal(err)
			}
			conf := d.conf
			second := release(t, &conf, "second")
			spec := guestSpec(t)
			spec.RestoreFrom = &vm.SnapshotRef{VMID: "a", SnapshotID: "memory", ResumeImmediately: true}
			text, err := json.Marshal(upgraded{conf.StateDir, conf.RunDir, conf.Instance, conf.Engine, step, spec})
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(ctx, "/proc/self/exe", "-test.run=^TestUpgradedChild$")
			cmd.Args[0] = os.Args[0]
			cmd.Env = append(os.Environ(), upgradedEnv+"="+string(text))
			if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(err.Error(), "killed") {
				t.Fatalf("the process did not die: %v\n%s", err, out)
			}
			d, adopted := upgrade(t, d, conf)
			if needed {
				wantKept(t, d, "after the crash", first, second)
			} else {
				wantKept(t, d, "after the crash", second)
			}
			if _, ok := adopted["b"]; ok {
				runs(t, d, "b", first)
			}
			if err := freeAll(ctx, d); err != nil {
				t.Error(err)
			}
			wantKept(t, d, "when all is gone", second)
		})
	}
}

// TestTheEngineIsDecidedUponAfterACrash ends a process of the first release where an engine is in use or
// about to be free, and upgrades.
func TestTheEngineIsDecidedUponAfterACrash(t *testing.T) {
	needRoot(t)
	for op, steps := range map[string][]string{
		"create":          {stepCreateSandbox},
		"restore":         {stepCreateLoading},
		"prepare":         {stepCreateRecorded},
		"snapshot":        {stepSnapshotSealed},
		"delete-snapshot": {stepDeleteMoved},
		"destroy":         {stepDestroyRemoved},
	} {
		for _, step := range steps {
			t.Run(op+"/"+step, func(t *testing.T) {
				var first string
				d := newDriver(t, func(c *Config) { first = release(t, c, "first") })
				conf := d.conf
				if err := d.Close(); err != nil { // Again in upgrade, which does nothing.
					t.Fatal(err)
				}
				ctx := testContext(t)
				_, cmd := dying(t, ctx, conf, op, step, guestSpec)
				if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(err.Error(), "killed") {
					t.Fatalf("the process did not die: %v\n%s", err, out)
				}
				second := release(t, &conf, "second")
				d, adopted := upgrade(t, d, conf)
				wantKept(t, d, "after the upgrade", first, second)
				for id := range adopted {
					if m := mustFind(t, d, id); m.engine != first {
						t.Errorf("%s has the engine %q", id, m.engine)
					}
				}
				if err := freeAll(ctx, d); err != nil {
					t.Error(err)
				}
				wantKept(t, d, "when all is gone", second)
				if running, err := engine.Running(); err != nil || running[first] {
					t.Errorf("a process runs the first engine: %v, %v", running, err)
				}
			})
		}
	}
}
