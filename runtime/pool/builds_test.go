package pool

import (
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/policy/capacity"
	"github.com/rundlet/rundlet/policy/latency"
	"github.com/rundlet/rundlet/policy/warmpool"
	"github.com/rundlet/rundlet/runtime/admission"
	"github.com/rundlet/rundlet/runtime/background"
	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/runtime/machine"
	"github.com/rundlet/rundlet/runtime/step"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/memvm"
)

// filled returns a pool, with builds of one template that prepared machines can be made from.
func filled(t *testing.T, prepared int, builds ...string) (*Pool, map[string]claim.Origin) {
	t.Helper()
	return filledIn(t, &slots{}, prepared, builds...)
}

// filledIn is filled with a network.
func filledIn(t *testing.T, network *slots, prepared int, builds ...string) (*Pool, map[string]claim.Origin) {
	t.Helper()
	group := background.New(t.Context())
	driver := memvm.New(memvm.Options{Host: memvm.NewHost()})
	origins := map[string]claim.Origin{}
	for _, build := range builds {
		spec := vm.Spec{Rootfs: "/r", Args: []string{"/agent"}, VCPUs: 1, MemoryMiB: 512, DiskMiB: 1024}
		for _, err := range []error{driver.Create(t.Context(), build, spec), driver.Start(t.Context(), build), driver.Snapshot(t.Context(), build, "s"), driver.Destroy(t.Context(), build)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		origins[build] = claim.Origin{Template: true, ID: build, TemplateID: "t", Alias: "mine", BuildID: build, Holder: build, VMID: build, Snapshot: "s",
			Spec: `{"Rootfs":"/r","Args":["/agent"]}`, Size: sandbox.Size{VCPUs: 1, MemoryMiB: 512, DiskMiB: 1024}}
	}
	steps, log := &step.Recorder{Latency: &latency.Recorder{}}, slog.New(slog.DiscardHandler)
	machines, err := machine.New(machine.Config{Driver: driver, Network: network, Claims: whole{}, Steps: steps, ScratchDir: t.TempDir(), Log: log})
	if err != nil {
		t.Fatal(err)
	}
	door := admission.New(admission.Config{
		Capacity: capacity.Budget{CPUs: 1 << 20, MemoryBytes: 1 << 40, DiskBytes: 1 << 40, Sandboxes: 10, Launches: 4},
		MaxWait:  time.Minute, Life: group.Context(), Log: log, OnYield: func(string) {},
	})
	p := New(Config{
		Launches: 4, Driver: driver, Machines: machines, Admission: door, Steps: steps, Background: group, Log: log,
		Unusable: func(from claim.Origin, err error) { t.Errorf("%s: %v", from.ID, err) },
	})
	p.SetTarget("mine", Target{Prepared: prepared})
	t.Cleanup(func() {
		group.Stop()
		group.Wait()
		p.Drain()
	})
	return p, origins
}

// fill makes what the pool lacks, and returns how many machines can be handed out.
func fill(p *Pool) (fit int) {
	for p.Refill(time.Now()) > 0 {
		synctest.Wait()
	}
	_, prepared := p.books.Depth(time.Now())
	return prepared
}

// A create that asks for one build gets no machine of another, whichever is newer, and takes none away from creates that ask for that.
func TestAMachineOfAnotherBuildIsNotHandedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, build := filled(t, 2, "old", "new")
		p.Keep(build["old"])
		if n := fill(p); n != 2 {
			t.Fatalf("%d machines", n)
		}
		if m := p.Checkout(build["new"]); m != nil {
			t.Errorf("an older machine was handed out: %+v", m.Origin)
		}
		if m := p.Checkout(build["old"]); m == nil || m.Origin.BuildID != "old" {
			t.Errorf("its own: %+v", m)
		}
		p.Keep(build["new"])
		if n := fill(p); n != 2 {
			t.Fatalf("%d machines", n)
		}
		for range 3 {
			if m := p.Checkout(build["old"]); m != nil {
				t.Errorf("a newer machine was handed out: %+v", m.Origin)
			}
		}
		synctest.Wait()
		if _, n := p.books.Depth(time.Now()); n != 2 {
			t.Errorf("%d newer machines are left", n)
		}
		if m := p.Checkout(build["new"]); m == nil || m.Origin.BuildID != "new" {
			t.Errorf("its own: %+v", m)
		}
		p.Drop("t")
		if m := p.Checkout(build["new"]); m != nil {
			t.Errorf("of a template that is gone: %+v", m.Origin)
		}
		if fill(p); len(p.books.Stats(time.Now())) != 0 {
			t.Errorf("left of a template that is gone: %+v", p.books.Stats(time.Now()))
		}
	})
}

func TestATargetChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, build := filled(t, 1, "one")
		p.Keep(build["one"])
		if n := fill(p); n != 1 {
			t.Fatalf("%d machines", n)
		}
		for _, want := range []int{3, 2, 0} {
			p.SetTarget("mine", Target{Prepared: want})
			if n := fill(p); n != want {
				t.Errorf("%d machines of %d", n, want)
			}
			if got := p.Serves(build["one"]); got != (want > 0) {
				t.Errorf("with %d machines it serves: %v", want, got)
			}
		}
		synctest.Wait()
		owned := map[string]bool{}
		if p.Owned(owned); len(owned) > 0 {
			t.Errorf("left: %v", owned)
		}
		p.SetTarget("mine", Target{Prepared: 1})
		if n := fill(p); n != 0 {
			t.Errorf("%d machines of an origin that the pool was not given again", n)
		}
		p.Keep(build["one"])
		if n := fill(p); n != 1 {
			t.Errorf("%d machines", n)
		}
		p.SetTarget("other", Target{Prepared: 1})
		if n := fill(p); n != 1 {
			t.Errorf("%d machines after a change of another template", n)
		}
	})
}

// What is made while the template changes is of the build that the books have it for.
func TestAMachineIsOfTheBuildThatItWasBegunFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, build := filled(t, 1, "one", "two")
		p.Keep(build["one"])
		plan := p.books.Plan(time.Now(), warmpool.Unlimited)
		if len(plan) != 1 {
			t.Fatalf("plan %+v", plan)
		}
		flight, ok := p.books.Begin(plan[0], time.Now())
		if !ok {
			t.Fatal("it was not begun")
		}
		p.Keep(build["two"])
		p.carry(flight)
		p.Keep(build["one"]) // The tag moves back.
		if m := p.Checkout(build["one"]); m != nil && m.Origin.BuildID != "one" {
			t.Errorf("a machine of %q was handed out", m.Origin.BuildID)
		}
		if n := fill(p); n != 1 {
			t.Errorf("%d machines", n)
		}
	})
}
