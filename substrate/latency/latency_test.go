package latency

import (
	"sync"
	"testing"
	"time"
)

func TestSummariseIsNearestRank(t *testing.T) {
	ms := func(n ...int) (out []time.Duration) {
		for _, v := range n {
			out = append(out, time.Duration(v)*time.Millisecond)
		}
		return out
	}
	hundred := make([]int, 100)
	for i := range hundred {
		hundred[i] = 100 - i
	}
	for _, tc := range []struct {
		name          string
		values        []time.Duration
		p50, p95, p99 int
	}{
		{"one value is every percentile", ms(7), 7, 7, 7},
		{"two values: the lower is the median", ms(9, 1), 1, 9, 9},
		{"1 to 100 in any order", ms(hundred...), 50, 95, 99},
		{"twenty values: rank 19 is p95", ms(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20), 10, 19, 20},
	} {
		t.Run(tc.name, func(t *testing.T) {
			first := tc.values[0]
			got := Summarise(tc.values)
			want := ms(tc.p50, tc.p95, tc.p99)
			if got.P50 != want[0] || got.P95 != want[1] || got.P99 != want[2] || got.Count != len(tc.values) {
				t.Errorf("got %+v, want %v", got, want)
			}
			if tc.values[0] != first {
				t.Error("the caller's slice was changed")
			}
		})
	}
	if got := Summarise(nil); got != (Summary{}) {
		t.Errorf("of nothing: %+v", got)
	}
}

func TestRecorderKeepsTheNewest(t *testing.T) {
	var r Recorder
	for i := range Keep + 10 {
		r.Record(KillDelete, time.Duration(i))
	}
	r.Record(KillDelete, -1)
	got := r.Summaries()
	if len(got) != 1 || got[0].Count != Keep || got[0].Total != Keep+10 || got[0].Min != 10 || got[0].Max != Keep+9 {
		t.Errorf("got %+v", got)
	}
}

func TestRecorderIsSafeForConcurrentUse(t *testing.T) {
	var r Recorder
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				r.Record(ReadyProbe, time.Millisecond)
				r.Record(CommandStart, time.Millisecond)
			}
		})
	}
	wg.Wait()
	got := r.Summaries()
	if len(got) != 2 || got[0].Name != CommandStart || got[0].Total != 800 || got[1].Total != 800 {
		t.Errorf("got %+v", got)
	}
}
