package rows

import (
	"slices"
	"testing"
	"time"

	"github.com/rundlet/rundlet/bench/cost"
)

func TestRowsOfOneNameAreToldApartByX(t *testing.T) {
	var all Table
	for _, x := range []float64{0, 100, 0} {
		r := all.Row("pause", x, "MiB")
		r.Mine = append(r.Mine, x)
	}
	got := all.Result()
	if len(got) != 2 || got[0].Ours.Count != 2 || got[1].X != 100 || got[1].Label() != "pause, 100 MiB" {
		t.Errorf("%+v", got)
	}
}

func TestSamplesCountUnlessTheTableIsSilent(t *testing.T) {
	var all Table
	r := all.Compare("create", "restore", 1.25)
	for _, silent := range []bool{true, false} {
		all.Silent = silent
		all.Ours(r, cost.Cost{Wall: 3 * time.Millisecond, Processor: time.Millisecond})
		all.Ours(r, cost.WallOnly(5*time.Millisecond))
		all.Bare(r, 4*time.Millisecond)
	}
	got := all.Result()[0]
	if got.BareName != "restore" || got.Limit != 1.25 || !slices.Equal(got.Ours.Samples, []float64{3, 5}) ||
		!slices.Equal(got.Bare.Samples, []float64{4}) || !slices.Equal(got.Processor.Samples, []float64{1}) {
		t.Errorf("%+v", got)
	}
}
