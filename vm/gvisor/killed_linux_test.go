//go:build linux

package gvisor

import (
	"bufio"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestKilledAtAnyTime ends a process inside gVisor's own calls, too: at some time
// after each step of a restore, and at latest at the last one.
func TestKilledAtAnyTime(t *testing.T) {
	needRoot(t)
	for _, step := range []string{stepCreateBundle, stepCreateCgroup, stepCreateRecord, stepCreateSandbox,
		stepCreateRecorded, stepCreateLoading} {
		t.Run(step, func(t *testing.T) {
			fresh := newDriver(t)
			before := leftovers(fresh)
			if err := fresh.Close(); err != nil {
				t.Fatal(err)
			}
			ctx := testContext(t)
			_, cmd := dying(t, ctx, fresh.conf, "restore", stepCreateRunning, guestSpec)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			passed := bufio.NewScanner(out)
			for passed.Scan() && passed.Text() != passing+step {
			}
			if passed.Text() != passing+step {
				t.Errorf("it did not come to %s: %v", step, passed.Err())
			}
			// How far it gets meanwhile is up to the machine; whatever it is must be right.
			after := rand.N(100 * time.Millisecond)
			<-time.After(after)
			_ = cmd.Process.Kill()
			last := step
			for passed.Scan() {
				if text, ok := strings.CutPrefix(passed.Text(), passing); ok {
					last = text
				}
			}
			if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
				t.Fatalf("the process did not die: %v", err)
			}
			d := open(t, fresh.conf)
			adopted, lost, err := d.Adopt(ctx)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%v after %s, behind %s: adopted %v, lost %v", after, step, last, adopted, lost)
			if err := freeAll(ctx, d); err != nil {
				t.Error(err)
			}
			if after := leftovers(d); !slices.Equal(before, after) {
				t.Errorf("before %q\nafter %q", before, after)
			}
		})
	}
}
