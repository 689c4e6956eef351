package simulate

import (
	"math"
	"testing"
	"time"

	"github.com/rundlet/rundlet/policy/pressure"
	"github.com/rundlet/rundlet/policy/warmpool"
	"github.com/rundlet/rundlet/simulate/daemon"
	"github.com/rundlet/rundlet/simulate/report"
	"github.com/rundlet/rundlet/simulate/world"
)

// quiet is a node without traffic whose pool of so many ready entries is full.
func quiet(t *testing.T, ready int) *node {
	t.Helper()
	cfg := Config{Scenario: Scenario{Life: 1e5 * time.Hour, Length: time.Minute, Pressure: 1e4 * time.Hour}, Duration: 2 * time.Hour, Seed: 11}
	cfg.Warm = warmpool.DefaultTarget
	cfg.Warm.Ready = ready
	n := newNode(cfg, daemon.Default())
	n.start()
	for n.Clock.Now() < 5*time.Minute {
		n.next()
		n.check()
	}
	if n.Host.Ready != ready {
		t.Fatalf("%d entries are ready, want %d", n.Host.Ready, ready)
	}
	return n
}

// sandboxes lets a tenant have some, of a template that is not kept warm.
func (n *node) sandboxes(t *testing.T, count int) {
	t.Helper()
	for range count {
		n.request(n.Host.Create(0, world.Templates-1))
		n.settle()
		n.until(t, "it runs", func() bool {
			return n.running() == count || n.Host.Jobs == 0 && n.requests() == 0
		})
	}
}

func (n *node) figures() report.Figures { return n.Record.Report(report.Run{}, 0).Figures }

// requests returns how many wait.
func (n *node) requests() int {
	waiting, _ := n.daemon.Waiting()
	return waiting
}

// prepared returns how many entries of the pool are prepared.
func (n *node) prepared() (count int) {
	_, pool := n.daemon.Entries()
	for _, s := range pool {
		count += s.Prepared
	}
	return count
}

func (n *node) running() (count int) {
	for _, m := range n.Host.Machines {
		if m.State == world.Running {
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
	if len(n.Record.Broken) > 0 {
		t.Fatal(n.Record.Broken)
	}
}

// TestPressureShrinksToTheFloorAndTheReadyTargetComesBack shows the pace of the
// daemon: a measure with each sample, of which eviction is the third and takes a
// quarter of the pool each time; the pressure counts as gone after Hold.
func TestPressureShrinksToTheFloorAndTheReadyTargetComesBack(t *testing.T) {
	n := quiet(t, 20)
	n.sandboxes(t, 5)
	grown := n.Clock.Now() + 10*time.Second
	n.until(t, "the pool is full", func() bool { return n.Host.Ready == 20 && n.Clock.Now() > grown })
	n.pressureOn()
	n.settle()
	begin, before := n.Clock.Now(), n.Host.Ready
	if n.Host.AvailableMemory() >= kept.Memory {
		t.Fatalf("%d MiB are available under pressure", n.Host.AvailableMemory()/world.MiB)
	}
	n.until(t, "the floor is safe", func() bool { return n.Host.AvailableMemory() >= kept.Memory })
	if took := n.figures().PressureToSafeFloor; took != report.Millis(n.Clock.Now()-begin) || took < report.Millis(2*pressure.Interval) || took > report.Millis(8*pressure.Interval) || n.Record.Episodes != 1 {
		t.Errorf("pressure_to_safe_floor %v in %d episodes, want one of %v", took, n.Record.Episodes, n.Clock.Now()-begin)
	}
	if n.Host.Ready >= before || n.Host.Ready == 0 {
		t.Errorf("%d of %d entries are left, want some", n.Host.Ready, before)
	}
	n.until(t, "the pressure is gone", func() bool { return !n.episode.on })
	begin = n.Clock.Now()
	n.until(t, "the pool is full", func() bool { return n.Host.Ready == before })
	hold := n.policy.Pressure().Thresholds().Hold
	if took := n.figures().PressureClearToReadyTarget; took != report.Millis(n.Clock.Now()-begin) || took < report.Millis(hold) || took > report.Millis(3*hold) {
		t.Errorf("pressure_clear_to_ready_target %v, want %v", took, n.Clock.Now()-begin)
	}
	if n.running() != 5 {
		t.Errorf("%d of 5 sandboxes run", n.running())
	}
}

func TestSeverePressureEmptiesThePoolRefusesWorkAndEndsNoSandbox(t *testing.T) {
	n := quiet(t, 10)
	n.sandboxes(t, 10)
	n.Host.Foreign = n.Host.AvailableMemory() - kept.Memory/4
	n.settle()
	n.until(t, "new work is refused", func() bool { return n.daemon.Refuses() })
	n.until(t, "the pool is empty", func() bool { return n.Host.Ready == 0 && n.Host.Jobs == 0 })
	refused := n.Record.Refused
	n.request(n.Host.Create(1, 1))
	if n.Record.Refused != refused+1 {
		t.Error("a request was let in")
	}
	if n.running() != 10 {
		t.Errorf("%d of 10 sandboxes run", n.running())
	}
}

func TestUtilisationIsTheShareOfTheSafeSpareInNominal(t *testing.T) {
	n := quiet(t, 10)
	got, counts := n.daemon.Utilisation()
	if want := 10 * float64(daemon.PerSandbox.MemoryBytes) / float64(whole.MemoryBytes) * 100; math.Abs(got-want) > 1e-9 || !counts {
		t.Errorf("10 ready entries use %.2f %% of the safe spare (counts: %v), want %.2f", got, counts, want)
	}
	n.Host.Foreign = n.Host.AvailableMemory() - kept.Memory/4
	n.until(t, "new work is refused", func() bool { return n.daemon.Refuses() })
	if _, counts := n.daemon.Utilisation(); counts {
		t.Error("it counts under pressure")
	}
}

func TestWarmEntriesYieldAndWhatStillDoesNotFitWaitsUntilItsDeadline(t *testing.T) {
	n := quiet(t, 10)
	most := int(whole.MemoryBytes / daemon.PerSandbox.MemoryBytes)
	n.Host.Foreign = -world.MemoryTotal // The real usage of sandboxes does not matter here.
	n.sandboxes(t, most)
	if n.Host.Ready != 0 || n.Record.Yielded == 0 || n.Record.Expired != 0 {
		t.Fatalf("with %d sandboxes %d entries are ready: %+v", most, n.Host.Ready, n.Record.Counts)
	}
	m := n.Host.Create(0, 0)
	n.request(m)
	n.settle()
	if m.State != world.Asking {
		t.Fatalf("it is in state %d, want to wait", m.State)
	}
	asked := n.Clock.Now()
	n.until(t, "it gives up", func() bool { return m.State != world.Asking })
	if m.State != world.Gone || n.Record.Expired != 1 || n.Clock.Now()-asked != world.MaxWait || n.requests() != 0 {
		t.Errorf("state %d after %v, %+v", m.State, n.Clock.Now()-asked, n.Record.Counts)
	}
}

func TestAPreparedMachineWaitsForItsTurnToBeStarted(t *testing.T) {
	n := quiet(t, 0)
	n.until(t, "one is prepared", func() bool {
		return n.prepared() == 1 && n.Host.Jobs == 0
	})
	full := n.daemon.Ledger().Adopt(daemon.PerLaunch.Plus(daemon.PerLaunch))
	n.request(n.Host.Create(0, 0))
	n.settle()
	if n.running() != 0 || n.requests() != 1 {
		t.Fatalf("%d run and %d wait", n.running(), n.requests())
	}
	full.Release()
	n.settle()
	n.until(t, "it runs", func() bool { return n.running() == 1 })
	if c := n.Record.Counts; c.Requests != 1 || c.AtOnce+c.Queued != 1 {
		t.Errorf("got %+v", c)
	}
	n.Host.Foreign = n.Host.AvailableMemory() - kept.Memory/4
	n.until(t, "new work is refused", func() bool { return n.daemon.Refuses() })
}

func TestADayIsBusyAtNoonAndQuietAtNight(t *testing.T) {
	s := Scenario{Rate: 0.05, Day: true, Life: time.Second}
	n := newNode(Config{Scenario: s, Duration: 24 * time.Hour, Seed: 1}, daemon.Default())
	n.start()
	var perHour [25]uint64
	last := uint64(0)
	for n.next() {
		if h := int(n.Clock.Now().Hours()); h < 25 {
			perHour[h] += n.Record.Requests - last
			last = n.Record.Requests
		}
	}
	noon, night := perHour[11]+perHour[12], perHour[0]+perHour[23]
	if noon < 3*night || night == 0 {
		t.Errorf("%d requests at noon and %d at midnight", noon, night)
	}
}
