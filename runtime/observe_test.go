package runtime

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/policy/latency"
)

func TestTheFirstOutputAfterARestoreIsSampledOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		defer f.rt.Close()
		sb := f.create()
		time.Sleep(3 * time.Second)
		for range 2 {
			f.rt.CommandStarted(sb.ID, time.Millisecond)
			f.rt.FirstStdout(sb.ID, 2*time.Millisecond)
		}
		for name, want := range map[string]int{latency.CommandStart: 2, latency.FirstStdoutByte: 2, latency.ResumeToFirstStdout: 1} {
			if got := samples(f, name); got != want {
				t.Errorf("%s: %d samples, want %d", name, got, want)
			}
		}
		for _, s := range f.rt.Latency().Summaries() {
			if s.Name == latency.ResumeToFirstStdout && s.P50 != 3*time.Second {
				t.Errorf("resume to first stdout %v", s.P50)
			}
		}
	})
}

func TestAnAdoptedSandboxHasNoRestoreToSample(t *testing.T) {
	f := newFixture(t)
	sb := f.create()
	f.restart()
	f.rt.FirstStdout(sb.ID, time.Millisecond)
	if got := samples(f, latency.ResumeToFirstStdout); got != 0 {
		t.Errorf("%d samples", got)
	}
}
