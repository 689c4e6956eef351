package runtime

import (
	"context"
	"errors"
	"os"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/host"
	"github.com/rundlet/rundlet/policy/disk"
	"github.com/rundlet/rundlet/runtime/supervise"
	"github.com/rundlet/rundlet/sandbox"
)

func TestTheDaemonSaysWhatItLacks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, m := newFixture(t), &fakeHost{now: calm()}
		f.cfg.Floors = disk.FloorsFor(200 << 30)
		descriptors, readErr := host.Limit{What: host.LackDescriptors, Used: 100, Max: 256}, error(nil)
		f.supervised(Supervision{
			Heartbeat: 30 * time.Second, HeartbeatTimeout: 5 * time.Minute,
			Pressure: 5 * time.Second, Sample: m.sample, Limits: func() ([]host.Limit, error) {
				m.mu.Lock()
				defer m.mu.Unlock()
				return []host.Limit{descriptors, {What: host.LackConntrack, Used: 0, Max: 0}}, readErr
			},
		})
		defer f.rt.Close()
		sb := f.create(hours)
		want := func(when string, lacking ...string) {
			t.Helper()
			time.Sleep(31 * time.Second)
			synctest.Wait()
			if got := f.rt.Lacking(); !slices.Equal(got, lacking) {
				t.Errorf("%s: %q, want %q", when, got, lacking)
			}
		}
		set := func(change func()) {
			m.mu.Lock()
			defer m.mu.Unlock()
			change()
		}
		want("at first")
		set(func() { descriptors.Used = 230 })
		want("few descriptors are left", host.LackDescriptors)
		var full *sandbox.CapacityError
		if _, err := f.rt.Create(context.Background(), request()); !errors.As(err, &full) || full.Resource != "pressure" {
			t.Errorf("create with few descriptors left: %v", err)
		}
		f.wantAlive(sb)
		set(func() { descriptors.Used = 100 })
		want("they are back")
		f.create()

		f.failDial(func(string) error { return os.NewSyscallError("socket", syscall.EMFILE) })
		want("none is left", supervise.LackHearing, host.LackDescriptors)
		f.failDial(nil)
		want("the daemon hears again")

		f.network.lose("uplink")
		want("the network is broken", supervise.LackNetwork)
		f.network.lose()
		want("it is repaired")
		if figures, err := f.rt.Figures(t.Context()); err != nil || figures.Repairs["uplink"] != 3 || figures.RefusedPackets != 5 {
			t.Errorf("figures: %v, %v", figures.Repairs, err)
		}

		low := calm()
		low.MemoryAvailable, low.DiskFree = 100<<20, 0
		m.set(low)
		want("memory and disk", supervise.LackDisk, host.LackMemory)
		m.set(calm())
		set(func() { readErr = &os.PathError{Op: "open", Path: "/proc/loadavg", Err: syscall.EMFILE} })
		want("the limits cannot be read", host.LackDescriptors)
	})
}
