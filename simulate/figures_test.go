package simulate

import (
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/rundlet/rundlet/policy/autoscale"
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

// quiet is a node without traffic whose pool is full.
func quiet(t *testing.T) *node {
	t.Helper()
	n := newNode(Config{Scenario: Scenario{Life: 1e5 * time.Hour, Length: time.Minute, Pressure: 1e4 * time.Hour}, Duration: 2 * time.Hour, Seed: 11}, policies())
	n.start()
	for n.now < 5*time.Minute {
		n.next()
		n.check()
	}
	if n.ready != pooled*target.Ready {
		t.Fatalf("%d entries are ready, want %d", n.ready, pooled*target.Ready)
	}
	return n
}

// sandboxes lets a tenant have some, all idle or all at work.
func (n *node) sandboxes(count int, idle bool) {
	for range count {
		n.request(n.machine(0, 0))
		n.settle()
	}
	for _, m := range n.live {
		if m.owned {
			m.idle = idle
		}
	}
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

func TestPressureShrinksToTheFloorAndTheReadyTargetComesBack(t *testing.T) {
	n := quiet(t)
	n.sandboxes(5, false)
	n.until(t, "the pool is full", func() bool { return n.ready == pooled*target.Ready })
	n.pressureOn()
	n.settle()
	begin, before := n.now, n.ready
	if n.available() >= floorMemory {
		t.Fatalf("%d MiB are available under pressure", n.available()/mib)
	}
	n.until(t, "the floor is safe", func() bool { return n.available() >= floorMemory })
	if took := n.figures.floors; len(took) != 1 || took[0] != n.now-begin || took[0] > 5*time.Second {
		t.Errorf("pressure_to_safe_floor %v, want one of %v", took, n.now-begin)
	}
	if n.ready >= before || n.ready == 0 {
		t.Errorf("%d of %d entries are left, want some", n.ready, before)
	}
	n.until(t, "the pressure is gone", func() bool { return !n.episode.on })
	begin = n.now
	n.until(t, "the pool is full", func() bool { return n.ready == before })
	if took := n.figures.targets; len(took) != 1 || took[0] != n.now-begin || took[0] > 10*time.Second {
		t.Errorf("pressure_clear_to_ready_target %v, want one of %v", took, n.now-begin)
	}
	active := 0
	for _, m := range n.live {
		if m.owned && m.state == running {
			active++
		}
	}
	if active != 5 || n.figures.Suspended != 0 {
		t.Errorf("%d of 5 active sandboxes are left", active)
	}
}

func TestSeverePressureSuspendsIdleSandboxesAndRefusesWork(t *testing.T) {
	for _, idle := range []bool{true, false} {
		n := quiet(t)
		n.sandboxes(10, idle)
		n.foreign = n.available() - floorMemory/4
		n.settle()
		n.until(t, "new work is refused", func() bool { return n.refusing })
		refused := n.figures.Refused
		n.request(n.machine(1, 1))
		if n.figures.Refused != refused+1 {
			t.Error("a request was let in")
		}
		n.until(t, "the pool is empty", func() bool { return n.ready == 0 && n.jobs == 0 })
		left := 0
		for _, m := range n.live {
			if m.state == running {
				left++
			}
		}
		if want := map[bool]int{true: 0, false: 10}[idle]; left != want {
			t.Errorf("idle %v: %d sandboxes run, want %d", idle, left, want)
		}
	}
}

func TestUtilisationIsAMeanOverTheTimeInNominal(t *testing.T) {
	n := quiet(t)
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
	n.scaler.Step(n.clock(), autoscale.Sample{MemoryAvailable: 1, MemoryTotal: memoryTotal})
	n.figures.observe(n)
	n.now += time.Hour // under pressure it does not count.
	n.figures.observe(n)
	if got := n.figures.useful / n.figures.nominal; math.Abs(got-full/3) > 1e-9 || n.figures.nominal != 180 {
		t.Errorf("the mean is %.2f %% of %v s, want %.2f %% of 180 s", got, n.figures.nominal, full/3)
	}
}

func TestWarmEntriesYieldAndWhatStillDoesNotFitWaitsUntilItsDeadline(t *testing.T) {
	n := quiet(t)
	most := int(whole.MemoryBytes / perSandbox.MemoryBytes)
	for i := range most { // of a template that the pool does not have.
		n.request(n.machine(i%tenants, templates-1))
		n.settle()
		n.until(t, "it runs", func() bool { return n.jobs == 0 && len(n.waiting[i%tenants]) == 0 })
	}
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
