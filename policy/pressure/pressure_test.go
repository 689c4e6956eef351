package pressure

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/policy/autoscale"
	"github.com/rundlet/rundlet/policy/disk"
	"github.com/rundlet/rundlet/policy/warmpool"
)

const (
	gib     = 1 << 30
	disk200 = 200 * gib
)

func node() Node {
	return New(Config{RestoreFloor: disk.FloorsFor(disk200).Restore, Interval: Interval, Launches: 2, EntryMemoryBytes: gib / 2})
}

// calm is a machine of 16 GiB with 12 GiB to spare.
func calm() autoscale.Sample {
	return autoscale.Sample{MemoryTotal: 16 * gib, MemoryAvailable: 12 * gib, DiskTotal: disk200, DiskFree: 100 * gib}
}

var pool = []warmpool.Stats{{Target: warmpool.Target{Ready: 3, Prepared: 1}, Ready: 3, Prepared: 1}}

func TestThresholdsAreThoseOfANode(t *testing.T) {
	n := node()
	c := n.Thresholds()
	if got := c.ReserveMemory.Of(16 * gib); got/100 != 16*gib/1000 {
		t.Errorf("%d bytes of memory are reserved of 16 GiB, want a tenth", got)
	}
	if got := c.ReserveDisk.Of(disk200); got != disk.RestoreFloor {
		t.Errorf("%d bytes of disk are reserved, want what a restore needs", got)
	}
	if c.CPU != (autoscale.Thresholds{}) || c.Hold != 15*time.Second || c.Escalate != Interval/2 {
		t.Errorf("got %+v", c)
	}
}

func TestACalmNodeFillsItsPoolAndTakesWork(t *testing.T) {
	n := node()
	out := n.Step(time.Unix(0, 0), calm(), "", pool)
	if out.State != autoscale.Nominal || out.Refusing != "" || out.Changed ||
		out.Pool.Refill != warmpool.RefillAll || out.Pool.Ready != math.MaxInt || out.Pool.InFlight != 2 {
		t.Errorf("got %+v", out)
	}
}

func TestTheMeasuresThatANodeCarriesOutComeOneAfterAnother(t *testing.T) {
	n, short := node(), calm()
	short.MemoryAvailable = gib // Of 1.6 GiB that are kept.
	var order []string
	note := func(what string, is bool) {
		if is && !slices.Contains(order, what) {
			order = append(order, what)
		}
	}
	for i := range 20 {
		out := n.Step(time.Unix(5*int64(i), 0), short, "", pool)
		note("stop refill", out.Pool.Refill == warmpool.RefillNone)
		note("evict warm", out.Pool.Ready < 3)
		note("page out", out.PageOut)
		note("destroy prepared", out.Pool.Prepared < 1)
		note("refuse", out.Refusing != "")
		if slices.Contains(out.Decisions, autoscale.RefuseNewWork) != (out.Refusing != "") {
			t.Errorf("got %+v", out)
		}
	}
	if got := strings.Join(order, ", "); got != "stop refill, evict warm, page out, destroy prepared, refuse" {
		t.Errorf("order: %s", got)
	}
}

func TestWhatBeganARefusalIsItsReasonUntilItEnds(t *testing.T) {
	n, short := node(), calm()
	short.MemoryAvailable = gib / 4
	at := func(s int64, sample autoscale.Sample, shortage string) Outcome {
		return n.Step(time.Unix(s, 0), sample, shortage, pool)
	}
	first := at(0, short, "")
	if first.State != autoscale.Critical || !first.Changed || !strings.Contains(first.Refusing, "256 MiB of memory are available, and 1638 MiB are kept") {
		t.Fatalf("got %+v", first)
	}
	if out := at(5, short, "no descriptors"); out.Changed || out.Refusing != first.Refusing {
		t.Errorf("while it lasts: %+v", out)
	}
	if out := at(10, calm(), ""); out.Refusing == "" {
		t.Error("the pressure counts as gone at once")
	}
	at(15, calm(), "")
	if out := at(25, calm(), ""); out.Refusing != "" || !out.Changed || out.State != autoscale.Recovery {
		t.Errorf("after Hold: %+v", out)
	}
	if out := at(30, calm(), "no descriptors"); out.Refusing != "no descriptors" || !out.Changed {
		t.Errorf("a shortage: %+v", out)
	}
	full := calm()
	full.DiskFree = gib
	at(35, calm(), "")
	if out := at(40, full, ""); !strings.Contains(out.Refusing, "1024 MiB of disk are free, and 10240 MiB are kept") {
		t.Errorf("a full disk: %+v", out)
	}
}

func TestStallsOfAMachineWithMemoryLeftRefuseNothing(t *testing.T) {
	stalls := autoscale.Pressure{Some: 100, Full: 100}
	for name, tc := range map[string]struct {
		change func(*autoscale.Sample)
		want   string
	}{
		"processors":       {func(s *autoscale.Sample) { s.CPU = stalls }, ""},
		"disk":             {func(s *autoscale.Sample) { s.IO = stalls }, ""},
		"with memory left": {func(s *autoscale.Sample) { s.Memory = stalls }, ""},
		"nothing is known": {func(s *autoscale.Sample) { *s = autoscale.Sample{} }, ""},
		"with little left": {func(s *autoscale.Sample) { s.Memory, s.MemoryAvailable = stalls, 3*gib }, "100 % of the time work waits for memory"},
	} {
		t.Run(name, func(t *testing.T) {
			n, s := node(), calm()
			tc.change(&s)
			var out Outcome
			for i := range 20 {
				out = n.Step(time.Unix(5*int64(i), 0), s, "", pool)
			}
			if out.Refusing != tc.want {
				t.Errorf("got %+v, want %q", out, tc.want)
			}
		})
	}
}

func TestThePoolGrowsIntoWhatIsSpare(t *testing.T) {
	n, s := node(), calm()
	s.MemoryAvailable = 16*gib/10 + 2*gib // Four more entries fit.
	out := n.Step(time.Unix(0, 0), s, "", []warmpool.Stats{{Target: warmpool.Target{Ready: 20}, Ready: 3, InFlight: 1}})
	if out.Pool.Ready != 8 || out.Pool.Refill != warmpool.RefillAll {
		t.Errorf("got %+v, want 4 that are there and 4 more", out)
	}
}
