package runtime

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/sandbox"
)

func (f *fixture) failDial(fail func(id string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dial = fail
}

// wantAlive checks that sandboxes were not ended.
func (f *fixture) wantAlive(all ...sandbox.Sandbox) {
	f.t.Helper()
	for _, sb := range all {
		if row := f.row(sb.ID); row.State != "running" {
			f.t.Errorf("%s is %s: %s", sb.ID, row.State, row.Reason)
		}
	}
}

// Whatever the daemon lacks, and for how long, no sandbox is ended for it; and
// when it can hear again, one that is really silent still is.
func TestSilenceIsJudgedOnlyWhenTheDaemonCanHear(t *testing.T) {
	for _, tc := range []struct {
		name string
		fail func(f *fixture, sb sandbox.Sandbox)
		end  func(f *fixture)
		log  string
	}{
		{"no descriptors", func(f *fixture, _ sandbox.Sandbox) {
			f.failDial(func(string) error { return os.NewSyscallError("socket", syscall.EMFILE) })
		}, func(f *fixture) { f.failDial(nil) }, "file descriptors"},
		{"no memory for sockets", func(f *fixture, _ sandbox.Sandbox) {
			f.failDial(func(string) error { return os.NewSyscallError("connect", syscall.ENOBUFS) })
		}, func(f *fixture) { f.failDial(nil) }, "memory"},
		{"no connection to itself", func(f *fixture, _ sandbox.Sandbox) {
			f.silence(forever)
			f.failNext("check self", forever)
		}, func(f *fixture) { f.silence(0); f.failNext("check self", 0) }, "health checks suspended"},
		{"no link to the guest", func(f *fixture, sb sandbox.Sandbox) {
			f.failDial(func(string) error { return os.NewSyscallError("connect", syscall.EHOSTUNREACH) })
			f.failNext("check path "+f.row(sb.ID).SlotID, forever)
		}, func(f *fixture) { f.failDial(nil) }, "because of the host"},
		{"a connect that hangs and heeds nothing", func(f *fixture, _ sandbox.Sandbox) {
			f.failDial(func(string) error { time.Sleep(time.Hour); return syscall.ETIMEDOUT })
		}, func(f *fixture) { f.failDial(nil) }, "did not run"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t)
				var log strings.Builder
				f.cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
				f.supervised(Supervision{Heartbeat: 30 * time.Second, HeartbeatTimeout: 5 * time.Minute})
				defer f.rt.Close()
				sb := f.create(hours)
				time.Sleep(time.Minute)
				tc.fail(f, sb)
				time.Sleep(8 * time.Hour)
				synctest.Wait()
				f.wantAlive(sb)
				if n := f.rt.Supervision().Silent; n != 1 {
					t.Errorf("%d are shown as silent", n)
				}
				tc.end(f)
				time.Sleep(time.Hour)
				synctest.Wait()
				f.wantAlive(sb)
				f.rt.Close()
				if !strings.Contains(log.String(), tc.log) {
					t.Errorf("the log does not say %q:\n%s", tc.log, log.String())
				}
			})
		})
	}
}

func TestARealSilenceCountsAfterTheDaemonCouldNotHear(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.supervised(Supervision{Heartbeat: 30 * time.Second, HeartbeatTimeout: 5 * time.Minute})
		defer f.rt.Close()
		sb := f.create(hours)
		f.silence(forever)
		f.failNext("check self", forever)
		time.Sleep(time.Hour)
		f.failNext("check self", 0)
		time.Sleep(4 * time.Minute)
		synctest.Wait()
		f.wantAlive(sb) // It counts from when the daemon could hear again.
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if row := f.row(sb.ID); row.State != "killed" || !strings.HasPrefix(row.Reason, "stuck: no sign of life for 5m") {
			t.Errorf("row %+v", row)
		}
	})
}

func TestTheSilenceOfManyAtOnceIsTheDaemons(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.supervised(Supervision{Heartbeat: 30 * time.Second, HeartbeatTimeout: 5 * time.Minute})
		defer f.rt.Close()
		all := []sandbox.Sandbox{f.create(hours), f.create(hours), f.create(hours)}
		f.silence(forever)
		time.Sleep(8 * time.Hour)
		synctest.Wait()
		f.wantAlive(all...)
	})
}

func TestOneSilentSandboxAmongMissingDescriptorsIsNotEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.supervised(Supervision{Heartbeat: 30 * time.Second, HeartbeatTimeout: 5 * time.Minute})
		defer f.rt.Close()
		starved, silent := f.create(hours), f.create(hours)
		f.failDial(func(id string) error {
			if id == starved.ID {
				return os.NewSyscallError("socket", syscall.EMFILE)
			}
			return syscall.ETIMEDOUT
		})
		time.Sleep(time.Hour)
		synctest.Wait()
		f.wantAlive(starved, silent)
	})
}

// A daemon that was stopped, by a debugger or with its machine, begins its next
// round late. Silence in it does not count, and counts from there.
func TestADaemonThatWasPausedLosesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		sb, ctx := f.create(hours), context.Background()
		f.rt.cfg.Supervision.Heartbeat = 30 * time.Second
		f.rt.watcher = newWatcher(&f.rt.parts)
		round := func(pause time.Duration) {
			time.Sleep(pause)
			f.rt.watcher.Beat(ctx)
			synctest.Wait()
		}
		round(30 * time.Second)
		f.silence(forever)
		for range 20 { // Its processor time comes and goes.
			round(30 * time.Second)
			round(20 * time.Minute)
		}
		f.wantAlive(sb)
		f.silence(0)
		round(30 * time.Second)
		if n := f.rt.Supervision().Silent; n != 0 {
			t.Errorf("%d are silent", n)
		}
	})
}

// A pause that was saved, but whose row does not say so yet, is not lost because
// the next daemon has no file to look at what was saved.
func TestASnapshotThatCannotBeReadIsNotMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, ctx := newFixture(t), context.Background()
		sb := f.create(hours)
		f.inside(sb.ID).Set("mark", "here")
		f.pause(sb.ID)
		setState(f, sb.ID, "pausing")
		f.failNext("inspect", forever)
		f.restart()
		f.rt.watcher.Beat(ctx)
		synctest.Wait()
		if row := f.row(sb.ID); row.State != "pausing" || row.SnapshotID == "" {
			t.Fatalf("row %+v", row)
		}
		f.failNext("inspect", 0)
		f.restart()
		defer f.rt.Close()
		if _, _, err := f.rt.Connect(ctx, sb.ID, time.Hour); err != nil {
			t.Fatalf("%v; row %+v", err, f.row(sb.ID))
		}
		if got := f.inside(sb.ID).Get("mark"); got != "here" {
			t.Errorf("its memory says %q", got)
		}
	})
}
