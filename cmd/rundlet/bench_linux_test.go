package main

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/bench/plan"
	"github.com/rundlet/rundlet/cmd/rundlet/command"
)

// planOf is the plan that a command line comes to, without running it.
func planOf(t *testing.T, args ...string) (p plan.Plan, err error) {
	t.Helper()
	var b benchFlags
	cmd := newBench(&command.Options{})
	if err := cmd.ParseFlags(args); err != nil {
		t.Fatal(err)
	}
	f := cmd.Flags()
	b.quick, _ = f.GetBool("quick")
	b.samples, _ = f.GetInt("samples")
	b.checkouts, _ = f.GetInt("checkouts")
	b.batches, _ = f.GetInt("batches")
	b.dear, _ = f.GetInt("dear")
	b.density, _ = f.GetInt("density")
	b.dirty, _ = f.GetIntSlice("dirty")
	b.idle, _ = f.GetDuration("idle")
	return b.plan(f.Changed)
}

func TestBenchFlagsChangeThePlanThatWasChosen(t *testing.T) {
	for args, want := range map[string]func(*plan.Plan){
		"":                            func(*plan.Plan) {},
		"--quick":                     func(p *plan.Plan) { *p = plan.Quick() },
		"--quick -n 7":                func(p *plan.Plan) { *p = plan.Quick(); p.Samples = 7 },
		"--dirty 5,50 --idle 2s":      func(p *plan.Plan) { p.DirtyMiB, p.Idle = []int{5, 50}, 2*time.Second },
		"--checkouts 30 --batches 3":  func(p *plan.Plan) { p.Checkouts, p.Batches = 30, 3 },
		"--dear 1 --density 4":        func(p *plan.Plan) { p.Dear, p.Density = 1, 4 },
		"--quick --dear 10 --dirty 0": func(p *plan.Plan) { *p = plan.Quick(); p.Dear, p.DirtyMiB = 10, []int{0} },
	} {
		expect := plan.Full()
		want(&expect)
		if got, err := planOf(t, strings.Fields(args)...); err != nil || !reflect.DeepEqual(got, expect) {
			t.Errorf("%q: %+v, %v", args, got, err)
		}
	}
	for _, args := range [][]string{{"-n", "0"}, {"--dear", "-1"}, {"--dirty", "-5"}, {"--dirty", "1000000"}, {"--idle", "0s"}} {
		if _, err := planOf(t, args...); err == nil || !strings.Contains(err.Error(), "--") {
			t.Errorf("%q: %v", args, err)
		}
	}
}

func TestBenchKnowsNoGroupOfThatName(t *testing.T) {
	home(t)
	if _, err := cli(t, "bench", "--only", "wram"); err == nil || !strings.Contains(err.Error(), "wram") {
		t.Errorf("%v", err)
	}
}
