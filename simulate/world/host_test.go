package world

import (
	"testing"
	"time"

	"github.com/rundlet/rundlet/simulate/timeline"
)

func emptyHost() *Host {
	return newHost(timeline.New[Event, *Machine](), newChances(1), Reserve{Memory: 512 * MiB, Disk: 1024 * MiB})
}

func TestAChangeOfStateMakesEarlierEventsVoid(t *testing.T) {
	h := emptyHost()
	m := h.Create(0, 0)
	h.Enter(m, Running)
	h.clock.After(time.Second, Grown, m)
	h.Enter(m, Suspended)
	if e, ok := h.clock.Next(); ok {
		t.Errorf("event %d of a state that was left happened", e.Kind)
	}
}

func TestJobsWaitForAFreeProcessor(t *testing.T) {
	h := emptyHost()
	var jobs []*Machine
	for range 8 {
		m := h.Create(0, 0)
		h.Enter(m, Killing)
		h.Job(m, time.Second, Killed)
		jobs = append(jobs, m)
	}
	h.clock.After(20*time.Second, Tick, nil)
	ended := map[*Machine]time.Duration{}
	for e, ok := h.clock.Next(); ok; e, ok = h.clock.Next() {
		ended[e.Subject] = h.clock.Now()
	}
	for i, m := range jobs {
		if i < Processors && ended[m] > 3*time.Second {
			t.Errorf("job %d of %d processors takes %v", i, Processors, ended[m])
		}
	}
	if last := ended[jobs[7]]; last < 2*time.Second {
		t.Errorf("the eighth of eight jobs takes %v on %d processors", last, Processors)
	}
	if s := h.Sample(); s.CPU.Some < 80 {
		t.Errorf("after 20 s with a queue the pressure is %.0f %%", s.CPU.Some)
	}
	for _, m := range jobs {
		h.Enter(m, Gone)
	}
	if h.Jobs != 0 {
		t.Errorf("%d jobs are left of machines that are gone", h.Jobs)
	}
}

func TestTheHostKnowsItsMachinesAndWhatTheyUse(t *testing.T) {
	h := emptyHost()
	memory, disk := h.AvailableMemory(), h.FreeDisk()
	var machines []*Machine
	for _, s := range []State{Launching, Ready, Prepared, Running} {
		m := h.Create(0, 0)
		if m.index >= 0 {
			t.Error("a request is a machine of the host")
		}
		h.Enter(m, s)
		h.Use(m, 3*MiB, 5*MiB)
		machines = append(machines, m)
	}
	h.Use(machines[3], 4*MiB, 5*MiB)
	if h.Ready != 1 || len(h.Machines) != 4 || h.IdleMemory() != 6*MiB {
		t.Errorf("%d of %d machines are ready, the idle ones use %d B", h.Ready, len(h.Machines), h.IdleMemory())
	}
	if usedMemory, usedDisk := memory-h.AvailableMemory(), disk-h.FreeDisk(); usedMemory != 13*MiB || usedDisk != 20*MiB {
		t.Errorf("they use %d B of memory and %d B of disk", usedMemory, usedDisk)
	}
	for _, m := range machines[:3] { // From the front: the others move up.
		h.Use(m, 0, 0)
		h.Enter(m, Gone)
	}
	if len(h.Machines) != 1 || h.Machines[0] != machines[3] || machines[3].index != 0 || h.Ready != 0 {
		t.Errorf("left are %d machines, %d ready", len(h.Machines), h.Ready)
	}
	h.Use(machines[3], 0, 0)
	if h.AvailableMemory() != memory || h.FreeDisk() != disk {
		t.Errorf("%d B of memory and %d B of disk are not given back", memory-h.AvailableMemory(), disk-h.FreeDisk())
	}
}

func TestTheReserveIsWatched(t *testing.T) {
	h := emptyHost()
	if !h.Safe() {
		t.Error("an empty host has no reserve")
	}
	h.clock.After(time.Minute, Tick, nil)
	h.clock.Next()
	h.Foreign = h.AvailableMemory() - h.Reserve.Memory*3/4
	h.WatchReserve()
	if h.Safe() || h.Deep != 0 {
		t.Errorf("a quarter of the reserve is gone: whole %v, half gone since %v", h.Safe(), h.Deep)
	}
	h.Foreign += h.Reserve.Memory / 2
	h.WatchReserve()
	h.clock.After(time.Minute, Tick, nil)
	h.clock.Next()
	h.WatchReserve()
	if h.Deep != time.Minute {
		t.Errorf("half of the reserve is gone since %v, want 1m", h.Deep)
	}
	h.Foreign = 0
	h.WatchReserve()
	if !h.Safe() || h.Deep != 0 {
		t.Errorf("nothing is gone: whole %v, half gone since %v", h.Safe(), h.Deep)
	}
}
