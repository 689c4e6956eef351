package pool

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/policy/capacity"
	"github.com/rundlet/rundlet/policy/egress"
	"github.com/rundlet/rundlet/policy/latency"
	"github.com/rundlet/rundlet/runtime/admission"
	"github.com/rundlet/rundlet/runtime/background"
	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/runtime/machine"
	"github.com/rundlet/rundlet/runtime/step"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/memvm"
)

var errBroken = errors.New("the driver is broken")

// broken is a driver that cannot make machines.
type broken struct{ *memvm.Driver }

func (broken) Create(context.Context, string, vm.Spec) error { return errBroken }

// slots counts those that are leased.
type slots struct {
	machine.Network

	mu     sync.Mutex
	leased int
}

func (s *slots) Acquire(context.Context, egress.Policy) (machine.Slot, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leased++
	return machine.Slot{ID: "slot"}, nil
}

func (s *slots) Release(context.Context, string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leased--
	return nil
}

type whole struct{}

func (whole) Whole(context.Context, claim.Origin) error      { return nil }
func (whole) StillWhole(context.Context, claim.Origin) error { return nil }

// What a launch that fails has made is freed: the slot, the capacity and the mark.
func TestALaunchThatFailsLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := slog.New(slog.DiscardHandler)
		group := background.New(t.Context())
		steps := &step.Recorder{Latency: &latency.Recorder{}}
		driver, network := broken{memvm.New(memvm.Options{Host: memvm.NewHost()})}, &slots{}
		machines, err := machine.New(machine.Config{
			Driver: driver, Network: network, Claims: whole{}, Steps: steps, ScratchDir: t.TempDir(), Log: log,
		})
		if err != nil {
			t.Fatal(err)
		}
		door := admission.New(admission.Config{
			Capacity: capacity.Budget{CPUs: 1 << 20, MemoryBytes: 1 << 40, DiskBytes: 1 << 40, Sandboxes: 10, Launches: 2},
			MaxWait:  time.Minute, Life: group.Context(), Log: log, OnYield: func(string) {},
		})
		told := map[string]int{}
		var mu sync.Mutex
		p := New(Config{
			Launches: 2, Driver: driver, Machines: machines, Admission: door, Steps: steps,
			Background: group, Log: log,
			Unusable: func(from claim.Origin, err error) {
				mu.Lock()
				defer mu.Unlock()
				if !errors.Is(err, errBroken) {
					t.Errorf("it got %v", err)
				}
				told[from.ID]++
			},
		})
		p.SetTarget("base", Target{Ready: 2})
		p.Keep(claim.Origin{Template: true, ID: "base", TemplateID: "base", Alias: "base", Spec: "{}", Size: sandbox.DefaultSize})
		if n := p.Refill(time.Now()); n != 1 {
			t.Errorf("it began %d launches, and one may be in flight", n)
		}
		synctest.Wait()
		owned := map[string]bool{}
		if p.Owned(owned); len(owned) != 0 || network.leased != 0 || len(machines.Marks()) != 0 {
			t.Errorf("left: machines %v, %d slots, marks %v", owned, network.leased, machines.Marks())
		}
		if u := door.Ledger.Usage(); u.Warm != (capacity.Budget{}) {
			t.Errorf("left: capacity %+v", u.Warm)
		}
		mu.Lock()
		if told["base"] != 1 {
			t.Errorf("the template got %v", told)
		}
		mu.Unlock()
		if m := p.Checkout(claim.Origin{TemplateID: "base"}); m != nil {
			t.Errorf("it was handed out: %+v", m)
		}
		group.Stop()
		group.Wait()
		p.Drain()
	})
}

func TestOnlyTemplatesWithMemoryAreServed(t *testing.T) {
	named := claim.Origin{Template: true, TemplateID: "t1", Alias: "mine", Holder: "b1", VMID: "b1", Snapshot: "s1"}
	p := New(Config{Driver: memvm.New(memvm.Options{}), Background: background.New(t.Context())})
	p.SetTarget("base", Target{Prepared: 1})
	p.SetTarget("mine", Target{Ready: 1})
	base := claim.Origin{Template: true, ID: "base", TemplateID: "base", Alias: "base", VMID: "tpl-1", Snapshot: "ready"}
	otherBase := base
	otherBase.VMID = "tpl-2"
	p.Keep(named)
	p.Keep(base)
	other, otherBuild := named, named
	other.Alias, otherBuild.Snapshot = "other", "s2"
	for name, tt := range map[string]struct {
		from claim.Origin
		want bool
	}{
		"the base":         {base, true},
		"another base":     {otherBase, false},
		"a named template": {named, true},
		"another one":      {other, false},
		"another build":    {otherBuild, false},
		"a snapshot":       {claim.Origin{ID: "s", Holder: "i1", Alias: "mine"}, false},
		"files only":       {claim.Origin{Template: true, ID: "s", Filesystem: true}, false},
	} {
		if got := p.Serves(tt.from); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	p.Drop("t1")
	if p.Serves(named) {
		t.Error("a template that is gone is served")
	}
	if new(Pool).Serves(claim.Origin{Template: true, ID: "base"}) {
		t.Error("a pool without a target serves")
	}
}
