package usage

import (
	"testing"
	"time"

	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/vm"
)

func TestAMachineWhoseClockStandsStillIsNotMeasured(t *testing.T) {
	var u usage
	at := time.Now()
	for range 3 {
		u.add(1, vm.Stats{Time: at}, 0)
	}
	u.add(1, vm.Stats{Time: at.Add(-time.Second)}, 0)
	if len(u.readings) != 0 {
		t.Errorf("%+v", u.readings)
	}
}

func BenchmarkMeasure(b *testing.B) {
	var u usage
	at := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		at = at.Add(Interval)
		u.add(1, vm.Stats{Time: at}, 2)
	}
}

// TestMemoryAndDiskAreWhatTheGuestCounts: as far as there is so much.
func TestAnIdleGuestIsLeftAlone(t *testing.T) {
	at, cpu := time.Now(), time.Duration(0)
	for name, c := range map[string]struct {
		works  time.Duration // in ten seconds
		silent bool
		want   int
	}{
		"idle":   {time.Millisecond, false, 12},
		"busy":   {time.Second, false, 360},
		"silent": {time.Second, true, 8},
	} {
		var u usage
		asked := 0
		for range 360 {
			at, cpu = at.Add(Interval), cpu+c.works
			s := vm.Stats{Time: at, CPUTime: cpu}
			if u.asks(1, s) {
				asked++
				m := &envd.Metrics{DiskUsed: int64(asked) << 10}
				if c.silent {
					m = nil
				}
				u.answered(1, s, m)
			}
			u.add(1, s, 1)
		}
		if asked != c.want {
			t.Errorf("%s: asked %d times in an hour, want %d", name, asked, c.want)
		}
		if last := u.readings[len(u.readings)-1]; !c.silent && last.disk != uint32(asked) {
			t.Errorf("%s: %+v after %d answers", name, last, asked)
		}
	}
}

// TestAGuestThatFallsSilentIsMeasuredByItsHost: what it said before says nothing of
// what it does now, which may be why it does not answer. It is asked again soon.
func TestAGuestThatFallsSilentIsMeasuredByItsHost(t *testing.T) {
	at, cpu := time.Now(), time.Duration(0)
	var u usage
	look := func(m *envd.Metrics) (asked bool) {
		at, cpu = at.Add(Interval), cpu+10*time.Second
		s := vm.Stats{Time: at, CPUTime: cpu, MemoryBytes: 300 << 20}
		if asked = u.asks(1, s); asked {
			u.answered(1, s, m)
		}
		u.add(1, s, 1)
		return asked
	}
	says := &envd.Metrics{MemUsed: 7 << 20, DiskUsed: 1 << 20}
	for range 3 {
		look(says)
	}
	for n := range 360 {
		look(nil)
		last := u.readings[len(u.readings)-1]
		if late := time.Duration(n+1)*Interval > believed; late && (last.memory != 300<<10 || last.disk != 0) || !late && last.memory != 7<<10 {
			t.Fatalf("%s after its last answer: %+v", time.Duration(n+1)*Interval, last)
		}
	}
	for begin := at; !look(says); {
		if at.Sub(begin) > askBusy {
			t.Fatalf("not asked for %s", at.Sub(begin))
		}
	}
	if last := u.readings[len(u.readings)-1]; last.memory != 7<<10 {
		t.Errorf("it answers again: %+v", last)
	}
}
