package limits

import (
	"math"
	"testing"
)

func TestTheDaemonKeepsAReserveOfDescriptors(t *testing.T) {
	for _, n := range []int64{64, 256, 1024, 20000, 1 << 20, math.MaxInt64 / 8} {
		s := Divide(n)
		if s.Clients < 1 || s.Streams < 1 || s.Clients > mostClients || s.Streams > mostClients || s.Named < 1 || s.Named > mostNamed {
			t.Errorf("%d: %+v", n, s)
		}
		if own := n - int64(s.Clients) - int64(s.Streams) - 3*int64(s.Named); own < n*3/8 {
			t.Errorf("%d: %d are left for the daemon", n, own)
		}
	}
	if s := Divide(0); s.Clients != 1 || s.Streams != 1 || s.Named != 1 {
		t.Errorf("none at all: %+v", s)
	}
}

func TestShort(t *testing.T) {
	for _, tc := range []struct {
		used, most int64
		short      bool
	}{
		{0, 256, false}, {224, 256, false}, {225, 256, true}, {300, 256, true}, {5, 0, false}, {5, -1, false},
	} {
		if got := Short([]Level{{"x", tc.used, tc.most}}); (len(got) == 1) != tc.short {
			t.Errorf("%d of %d: %v", tc.used, tc.most, got)
		}
	}
}
