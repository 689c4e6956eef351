package simulate

import (
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/rundlet/rundlet/policy/autoscale"
	"github.com/rundlet/rundlet/policy/pressure"
	"github.com/rundlet/rundlet/policy/warmpool"
)

func TestEveryCountIsAddedUp(t *testing.T) {
	var a, b Counts
	v := reflect.ValueOf(&b).Elem()
	for i := range v.NumField() {
		v.Field(i).SetUint(uint64(i + 1))
	}
	a.add(b)
	a.add(b)
	for i := range v.NumField() {
		if got, want := reflect.ValueOf(a).Field(i).Uint(), uint64(2*(i+1)); got != want {
			t.Errorf("%s is %d, want %d", v.Type().Field(i).Name, got, want)
		}
	}
}

// quiet is a node without traffic whose pool of so many ready entries is full.
func quiet(t *testing.T, ready int) *node {
	t.Helper()
	cfg := Config{Scenario: Scenario{Life: 1e5 * time.Hour, Length: time.Minute, Pressure: 1e4 * time.Hour}, Duration: 2 * time.Hour, Seed: 11}
	cfg.Warm = warmpool.DefaultTarget
	cfg.Warm.Ready = ready
	n := newNode(cfg, policies())
	n.start()
	for n.now < 5*time.Minute {
		n.next()
		n.check()
	}
	if n.ready != ready {
		t.Fatalf("%d entries are ready, want %d", n.ready, ready)
	}
	return n
}

// sandboxes lets a tenant have some, of a template that is not kept warm.
func (n *node) sandboxes(t *testing.T, count int) {
	t.Helper()
	for range count {
		n.request(n.machine(0, templates-1))
		n.settle()
		n.until(t, "it runs", func() bool { return n.running() == count || n.jobs == 0 && len(n.waiting[0]) == 0 })
	}
}

func (n *node) running() (count int) {
	for _, m := range n.live {
		if m.state == running {
			count++
		}
	}
	return count
}

func (n *node) until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for !done() {
		if !n.next() {
			t.Fatalf("the end came before %s", what)
		}
		n.check()
	}
	if len(n.broken) > 0 {
		t.Fatal(n.broken)
	}
}

// TestPressureShrinksToTheFloorAndTheReadyTargetComesBack shows the pace of the
// daemon: a measure with each sample, of which eviction is the third and takes a
// quarter of the pool each time; the pressure counts as gone after Hold.
func TestPressureShrinksToTheFloorAndTheReadyTargetComesBack(t *testing.T) {
	n := quiet(t, 20)
	n.sandboxes(t, 5)
	grown := n.now + 10*time.Second
	n.until(t, "the pool is full", func() bool { return n.ready == 20 && n.now > grown })
	n.pressureOn()
	n.settle()
	begin, before := n.now, n.ready
	if n.available() >= floorMemory {
		t.Fatalf("%d MiB are available under pressure", n.available()/mib)
	}
	n.until(t, "the floor is safe", func() bool { return n.available() >= floorMemory })
	if took := n.figures.floors; len(took) != 1 || took[0] != n.now-begin || took[0] < 2*pressure.Interval || took[0] > 8*pressure.Interval {
		t.Errorf("pressure_to_safe_floor %v, want one of %v", took, n.now-begin)
	}
	if n.ready >= before || n.ready == 0 {
		t.Errorf("%d of %d entries are left, want some", n.ready, before)
	}
	n.until(t, "the pressure is gone", func() bool { return !n.episode.on })
	begin = n.now
	n.until(t, "the pool is full", func() bool { return n.ready == before })
	hold := n.policy.pressure().Thresholds().Hold
	if took := n.figures.targets; len(took) != 1 || took[0] != n.now-begin || took[0] < hold || took[0] > 3*hold {
		t.Errorf("pressure_clear_to_ready_target %v, want one of %v", took, n.now-begin)
	}
	if n.running() != 5 {
		t.Errorf("%d of 5 sandboxes run", n.running())
	}
}

func TestSeverePressureEmptiesThePoolRefusesWorkAndEndsNoSandbox(t *testing.T) {
	n := quiet(t, 10)
	n.sandboxes(t, 10)
	n.foreign = n.available() - floorMemory/4
	n.settle()
	n.until(t, "new work is refused", func() bool { return n.refusing })
	n.until(t, "the pool is empty", func() bool { return n.ready == 0 && n.jobs == 0 })
	refused := n.figures.Refused
	n.request(n.machine(1, 1))
	if n.figures.Refused != refused+1 {
		t.Error("a request was let in")
	}
	if n.running() != 10 {
		t.Errorf("%d of 10 sandboxes run", n.running())
	}
}

func TestUtilisationIsAMeanOverTheTimeInNominal(t *testing.T) {
	n := quiet(t, 10)
	n.figures = figures{}
	n.figures.observe(n)
	full := n.figures.utilisation
	if want := float64(n.ready) * float64(perSandbox.MemoryBytes) / float64(whole.MemoryBytes) * 100; math.Abs(full-want) > 1e-9 {
		t.Errorf("%d ready entries use %.2f %% of the safe spare, want %.2f", n.ready, full, want)
	}
	n.now += time.Minute
	n.ready = 0
	n.figures.observe(n)
	n.now += 2 * time.Minute
	n.figures.observe(n)
	n.state = autoscale.Shrink
	n.figures.observe(n)
	n.now += time.Hour // under pressure it does not count.
	n.figures.observe(n)
	if got := n.figures.useful / n.figures.nominal; math.Abs(got-full/3) > 1e-9 || n.figures.nominal != 180 {
		t.Errorf("the mean is %.2f %% of %v s, want %.2f %% of 180 s", got, n.figures.nominal, full/3)
	}
}

func TestWarmEntriesYieldAndWhatStillDoesNotFitWaitsUntilItsDeadline(t *testing.T) {
	n := quiet(t, 10)
	most := int(whole.MemoryBytes / perSandbox.MemoryBytes)
	n.foreign = -memoryTotal // The real usage of sandboxes does not matter here.
	n.sandboxes(t, most)
	if n.ready != 0 || n.figures.Yielded == 0 || n.figures.Expired != 0 {
		t.Fatalf("with %d sandboxes %d entries are ready: %+v", most, n.ready, n.figures.Counts)
	}
	m := n.machine(0, 0)
	n.request(m)
	n.settle()
	if m.state != asking {
		t.Fatalf("it is in state %d, want to wait", m.state)
	}
	asked := n.now
	n.until(t, "it gives up", func() bool { return m.state != asking })
	if m.state != gone || n.figures.Expired != 1 || n.now-asked != maxWait || n.queue.Stats().Pending != 0 {
		t.Errorf("state %d after %v, %+v", m.state, n.now-asked, n.figures.Counts)
	}
}

func TestAPreparedMachineWaitsForItsTurnToBeStarted(t *testing.T) {
	n := quiet(t, 0)
	n.until(t, "one is prepared", func() bool { _, prepared := n.pool.Depth(n.clock()); return prepared == 1 && n.jobs == 0 })
	full := n.ledger.Adopt(perLaunch.Plus(perLaunch))
	n.request(n.machine(0, 0))
	n.settle()
	if n.running() != 0 || n.queue.Stats().Pending != 1 {
		t.Fatalf("%d run and %d wait", n.running(), n.queue.Stats().Pending)
	}
	full.Release()
	n.settle()
	n.until(t, "it runs", func() bool { return n.running() == 1 })
	if c := n.figures.Counts; c.Requests != 1 || c.AtOnce+c.Queued != 1 {
		t.Errorf("got %+v", c)
	}
	n.foreign = n.available() - floorMemory/4
	n.until(t, "new work is refused", func() bool { return n.refusing })
}

func TestADayIsBusyAtNoonAndQuietAtNight(t *testing.T) {
	s := Scenario{Rate: 0.05, Day: true, Life: time.Second}
	n := newNode(Config{Scenario: s, Duration: 24 * time.Hour, Seed: 1}, policies())
	n.start()
	var perHour [25]uint64
	last := uint64(0)
	for n.next() {
		if h := int(n.now.Hours()); h < 25 {
			perHour[h] += n.figures.Requests - last
			last = n.figures.Requests
		}
	}
	noon, night := perHour[11]+perHour[12], perHour[0]+perHour[23]
	if noon < 3*night || night == 0 {
		t.Errorf("%d requests at noon and %d at midnight", noon, night)
	}
}
