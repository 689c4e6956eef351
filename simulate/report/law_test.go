package report

import (
	"math"
	"testing"

	"github.com/rundlet/rundlet/policy/capacity"
)

func TestSafeSpareAndUtilisationLaws(t *testing.T) {
	spare := SafeSpare(
		capacity.Budget{CPUs: 4000, MemoryBytes: 10, DiskBytes: 100, Sandboxes: 5},
		capacity.Budget{CPUs: 1000, MemoryBytes: 9, DiskBytes: 20, Sandboxes: 1},
		capacity.Budget{CPUs: 1000, MemoryBytes: 2, DiskBytes: 30})
	if want := (capacity.Budget{CPUs: 2000, DiskBytes: 50, Sandboxes: 4}); spare != want {
		t.Errorf("got %+v, want %+v", spare, want)
	}
	ready := capacity.Budget{CPUs: 500, MemoryBytes: 30, DiskBytes: 20, Sandboxes: 4}
	for _, tc := range []struct {
		name  string
		spare capacity.Budget
		want  float64
	}{
		{"memory limits", capacity.Budget{CPUs: 1000, MemoryBytes: 40, DiskBytes: 100}, 75},
		{"processor limits", capacity.Budget{CPUs: 625, MemoryBytes: 400, DiskBytes: 100}, 80},
		{"disk limits", capacity.Budget{CPUs: 1000, MemoryBytes: 400, DiskBytes: 22}, 20. / 22 * 100},
		{"sandboxes do not count", capacity.Budget{CPUs: 1000, MemoryBytes: 60, DiskBytes: 100, Sandboxes: 1}, 50},
		{"nothing is left", capacity.Budget{CPUs: 1000, DiskBytes: 100}, 100},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := LimitingUtilisation(ready, tc.spare); math.Abs(got-tc.want) > 1e-9 {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}
