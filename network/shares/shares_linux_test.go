package shares

import "testing"

// Of a larger table every slot has more, within bounds.
func TestShares(t *testing.T) {
	for most, want := range map[uint64]Shares{
		0:       {Slot: 256, Bucket: 1, PerSecond: 32, Burst: 256},
		16384:   {Slot: 256, Bucket: 32, PerSecond: 32, Burst: 256},
		65536:   {Slot: 512, Bucket: 128, PerSecond: 64, Burst: 512},
		262144:  {Slot: 2048, Bucket: 512, PerSecond: 256, Burst: 2048},
		1 << 40: {Slot: 4096, Bucket: 4096, PerSecond: 512, Burst: 4096},
	} {
		if got := Of(most); got != want {
			t.Errorf("of %d: %+v, want %+v", most, got, want)
		}
	}
}
