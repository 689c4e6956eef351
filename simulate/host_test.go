package simulate

import (
	"testing"
	"time"

	"github.com/rundlet/rundlet/simulate/timeline"
)

func emptyHost() *host {
	return newHost(timeline.New[event, *machine](), newChances(1), reserve{memory: 512 * mib, disk: 1024 * mib})
}

func TestAChangeOfStateMakesEarlierEventsVoid(t *testing.T) {
	h := emptyHost()
	m := h.create(0, 0)
	h.enter(m, running)
	h.clock.After(time.Second, grown, m)
	h.enter(m, suspended)
	if e, ok := h.clock.Next(); ok {
		t.Errorf("event %d of a state that was left happened", e.Kind)
	}
}

func TestJobsWaitForAFreeProcessor(t *testing.T) {
	h := emptyHost()
	var jobs []*machine
	for range 8 {
		m := h.create(0, 0)
		h.enter(m, killing)
		h.job(m, time.Second, killed)
		jobs = append(jobs, m)
	}
	h.clock.After(20*time.Second, tick, nil)
	ended := map[*machine]time.Duration{}
	for e, ok := h.clock.Next(); ok; e, ok = h.clock.Next() {
		ended[e.Subject] = h.clock.Now()
	}
	for i, m := range jobs {
		if i < processors && ended[m] > 3*time.Second {
			t.Errorf("job %d of %d processors takes %v", i, processors, ended[m])
		}
	}
	if last := ended[jobs[7]]; last < 2*time.Second {
		t.Errorf("the eighth of eight jobs takes %v on %d processors", last, processors)
	}
	if s := h.sample(); s.CPU.Some < 80 {
		t.Errorf("after 20 s with a queue the pressure is %.0f %%", s.CPU.Some)
	}
	for _, m := range jobs {
		h.enter(m, gone)
	}
	if h.jobs != 0 {
		t.Errorf("%d jobs are left of machines that are gone", h.jobs)
	}
}

func TestTheHostKnowsItsMachinesAndWhatTheyUse(t *testing.T) {
	h := emptyHost()
	memory, disk := h.availableMemory(), h.freeDisk()
	var machines []*machine
	for _, s := range []state{launching, ready, prepared, running} {
		m := h.create(0, 0)
		if m.index >= 0 {
			t.Error("a request is a machine of the host")
		}
		h.enter(m, s)
		h.use(m, 3*mib, 5*mib)
		machines = append(machines, m)
	}
	h.use(machines[3], 4*mib, 5*mib)
	if h.ready != 1 || len(h.machines) != 4 || h.idleMemory() != 6*mib {
		t.Errorf("%d of %d machines are ready, the idle ones use %d B", h.ready, len(h.machines), h.idleMemory())
	}
	if usedMemory, usedDisk := memory-h.availableMemory(), disk-h.freeDisk(); usedMemory != 13*mib || usedDisk != 20*mib {
		t.Errorf("they use %d B of memory and %d B of disk", usedMemory, usedDisk)
	}
	for _, m := range machines[:3] { // From the front: the others move up.
		h.use(m, 0, 0)
		h.enter(m, gone)
	}
	if len(h.machines) != 1 || h.machines[0] != machines[3] || machines[3].index != 0 || h.ready != 0 {
		t.Errorf("left are %d machines, %d ready", len(h.machines), h.ready)
	}
	h.use(machines[3], 0, 0)
	if h.availableMemory() != memory || h.freeDisk() != disk {
		t.Errorf("%d B of memory and %d B of disk are not given back", memory-h.availableMemory(), disk-h.freeDisk())
	}
}

func TestTheReserveIsWatched(t *testing.T) {
	h := emptyHost()
	if !h.reserved() {
		t.Error("an empty host has no reserve")
	}
	h.clock.After(time.Minute, tick, nil)
	h.clock.Next()
	h.foreign = h.availableMemory() - h.reserve.memory*3/4
	h.watchReserve()
	if h.reserved() || h.deep != 0 {
		t.Errorf("a quarter of the reserve is gone: whole %v, half gone since %v", h.reserved(), h.deep)
	}
	h.foreign += h.reserve.memory / 2
	h.watchReserve()
	h.clock.After(time.Minute, tick, nil)
	h.clock.Next()
	h.watchReserve()
	if h.deep != time.Minute {
		t.Errorf("half of the reserve is gone since %v, want 1m", h.deep)
	}
	h.foreign = 0
	h.watchReserve()
	if !h.reserved() || h.deep != 0 {
		t.Errorf("nothing is gone: whole %v, half gone since %v", h.reserved(), h.deep)
	}
}
