package reconcile

import (
	"strings"
	"testing"
	"time"
)

func TestSilenceIsJudgedOnlyWhenTheDaemonCanHear(t *testing.T) {
	for _, tc := range []struct {
		name  string
		round Round
		why   string // empty: silence counts
	}{
		{"the only one is silent", Round{Silent: 1}, ""},
		{"both are silent", Round{Silent: 2}, ""},
		{"all of three are silent", Round{Silent: 3}, "3 of 3 sandboxes are silent"},
		{"more than half are silent", Round{Silent: 51, Heard: 49}, "51 of 100 sandboxes are silent"},
		{"half are silent", Round{Silent: 50, Heard: 50}, ""},
		{"few of many are silent", Round{Silent: 3, Heard: 100}, ""},
		{"none is silent", Round{Heard: 5}, ""},
		{"none was asked", Round{}, ""},
		{"no descriptors", Round{Silent: 1, Heard: 9, Lacking: "file descriptors"}, "file descriptors"},
		{"on time", Round{Silent: 1, Late: time.Second, Tolerance: time.Second}, ""},
		{"late", Round{Silent: 1, Heard: 9, Late: time.Hour, Tolerance: time.Minute}, "did not run for 1h0m0s"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ok, why := tc.round.Audible()
			if ok != (tc.why == "") || !strings.Contains(why, tc.why) {
				t.Errorf("%v, %q; want %q", ok, why, tc.why)
			}
		})
	}
}
