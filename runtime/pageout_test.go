package runtime

import (
	"context"
	"io"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/host"
	"github.com/rundlet/rundlet/policy/pageout"
	"github.com/rundlet/rundlet/vm"
)

// swapped runs a test over a runtime that pages idle sandboxes out after half a minute.
func swapped(t *testing.T, change func(*fixture, *Supervision), test func(t *testing.T, f *fixture, h *swapHost)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		h := &swapHost{free: swapSize, busy: map[string]bool{}, cpu: map[string]time.Duration{}, at: map[string]time.Time{}, in: map[string]bool{}, hung: map[string]bool{}}
		f.wrap = func(d recordingDriver) vm.Runtime { return swapping{d, h} }
		f.ports = map[uint16]func(net.Conn){8000: func(c net.Conn) { io.Copy(c, c) }}
		s := Supervision{Heartbeat: 30 * time.Second, Pressure: 5 * time.Second, PageOut: pageout.DefaultAfter, Swap: h.swap}
		if change != nil {
			change(f, &s)
		}
		f.supervised(s)
		defer func() { f.rt.Close() }()
		test(t, f, h)
	})
}

func TestAnIdleSandboxIsPagedOutAndLeftAlone(t *testing.T) {
	swapped(t, nil, func(t *testing.T, f *fixture, h *swapHost) {
		idle, busy := f.create(hours), f.create(hours)
		h.with(func() { h.busy[busy.ID] = true })
		after(29 * time.Second)
		if got := h.pagedOut(); got != nil {
			t.Fatalf("paged out %v too early", got)
		}
		after(31 * time.Second)
		if got := h.pagedOut(); !slices.Equal(got, []string{idle.ID}) {
			t.Fatalf("paged out %v, want %s only", got, idle.ID)
		}
		f.forgetHistory()
		// Neither health checks nor measurements bring it back, but for a question every ten minutes.
		after(8 * time.Minute)
		if !h.there(idle.ID) || h.pagedOut() != nil {
			t.Error("the daemon itself brought it back")
		}
		after(52 * time.Minute)
		if got := h.pagedOut(); !h.there(idle.ID) || len(got) > 6 {
			t.Errorf("the daemon itself brought it back: %d times paged out", len(got))
		}
		if got := f.rt.Supervision(); got.Silent != 0 {
			t.Errorf("%d count as silent", got.Silent)
		}
		if !slices.Contains(f.history(), "health") {
			t.Error("no sandbox was asked for a sign of life, the busy one neither")
		}
		if got, err := f.rt.Get(context.Background(), idle.ID); err != nil || got.State != "running" {
			t.Errorf("for its client it is %v, %v", got.State, err)
		}
		if got := f.metrics(idle.ID, time.Time{}, time.Time{}); len(got) < 300 {
			t.Errorf("%d measurements", len(got))
		}
		got, err := f.rt.Figures(context.Background())
		if p := got.PagedOut; err != nil || p.PagedOut != 1 || p.Bytes != 7<<20 || p.Outs != p.WakeUps+1 {
			t.Errorf("figures %+v, %v", got.PagedOut, err)
		}
	})
}

func TestTrafficWakesASandboxAndPutsThePageOutOff(t *testing.T) {
	swapped(t, nil, func(t *testing.T, f *fixture, h *swapHost) {
		sb := f.create(hours)
		conn, err := f.rt.Dial(context.Background(), sb.ID, 8000)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		for range 30 { // Every 20 seconds, for ten minutes.
			after(20 * time.Second)
			if _, err := conn.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
		}
		if got := h.pagedOut(); got != nil {
			t.Fatalf("paged out %v with traffic", got)
		}
		after(time.Minute) // The connection is open, but nothing passes.
		if got := h.pagedOut(); len(got) != 1 || !f.rt.pager.PagedOut(sb.ID) {
			t.Fatalf("without traffic: %v", got)
		}
		again, err := f.rt.Dial(context.Background(), sb.ID, 8000)
		if err != nil {
			t.Fatal(err)
		}
		again.Close()
		if f.rt.pager.PagedOut(sb.ID) {
			t.Error("with traffic it counts as paged out")
		}
		after(20 * time.Second)
		if got := f.rt.pager.Figures(); got.PagedOut != 0 || got.WakeUps != 1 {
			t.Errorf("figures %+v", got)
		}
	})
}

func TestASandboxIsNotPagedOutDuringALifecycleCallOrWhenItIsPaused(t *testing.T) {
	swapped(t, nil, func(t *testing.T, f *fixture, h *swapHost) {
		paused, saved := f.create(hours), f.create(hours)
		if err := f.rt.Pause(context.Background(), paused.ID, false); err != nil {
			t.Fatal(err)
		}
		sb, _ := f.rt.live.Find(saved.ID)
		if err := sb.Life.Lock(context.Background()); err != nil {
			t.Fatal(err)
		}
		after(55 * time.Second) // Less than a call without its own deadline may take.
		if got := h.pagedOut(); got != nil {
			t.Errorf("paged out %v", got)
		}
		sb.Life.Unlock()
		after(90 * time.Second)
		if got := h.pagedOut(); !slices.Equal(got, []string{saved.ID}) {
			t.Errorf("after the call: %v, want %s", got, saved.ID)
		}
	})
}

func TestNothingIsPagedOutWithoutSwapOrWhenItIsSwitchedOff(t *testing.T) {
	for name, change := range map[string]func(*fixture, *Supervision){
		"no swap": func(_ *fixture, s *Supervision) { s.Swap = func() (host.Swap, error) { return host.Swap{}, nil } },
		"full": func(_ *fixture, s *Supervision) {
			s.Swap = func() (host.Swap, error) { return host.Swap{Total: swapSize, Free: swapSize / 4, Zram: true}, nil }
		},
		"cannot be read": func(_ *fixture, s *Supervision) {
			s.Swap = func() (host.Swap, error) { return host.Swap{}, errInjected }
		},
		"switched off": func(_ *fixture, s *Supervision) { s.PageOut = 0 },
	} {
		t.Run(name, func(t *testing.T) {
			swapped(t, change, func(t *testing.T, f *fixture, h *swapHost) {
				f.create(hours)
				after(10 * time.Minute)
				if got := h.pagedOut(); got != nil {
					t.Errorf("paged out %v", got)
				}
				if got, err := f.rt.Figures(context.Background()); err != nil || got.PagedOut != (pageout.Figures{}) {
					t.Errorf("figures %+v, %v", got.PagedOut, err)
				}
			})
		})
	}
}

func TestAPageOutThatFailsLeavesTheSandboxRunning(t *testing.T) {
	swapped(t, nil, func(t *testing.T, f *fixture, h *swapHost) {
		sb := f.create(hours)
		f.failNext("page out", 1)
		after(50 * time.Second)
		if got := h.pagedOut(); got != nil {
			t.Fatalf("paged out %v", got)
		}
		after(2 * time.Minute)
		if got := h.pagedOut(); !slices.Equal(got, []string{sb.ID}) {
			t.Errorf("it was not repeated: %v", got)
		}
	})
}

func TestPressurePagesIdleSandboxesOutBeforeWorkIsRefused(t *testing.T) {
	m := &fakeHost{now: calm()}
	change := func(_ *fixture, s *Supervision) { s.Sample, s.PageOut = m.sample, time.Hour }
	swapped(t, change, func(t *testing.T, f *fixture, h *swapHost) {
		idle, busy := f.create(hours), f.create(hours)
		h.with(func() { h.busy[busy.ID] = true })
		after(time.Minute)
		if got := h.pagedOut(); got != nil {
			t.Fatalf("paged out %v without pressure", got)
		}
		short := calm()
		short.MemoryAvailable = 1 << 30 // Of 1.6 GiB that are kept.
		m.set(short)
		for range 20 {
			after(5 * time.Second)
			refusing := f.rt.Pressure().Refusing != ""
			got := h.pagedOut()
			if got != nil && !slices.Equal(got, []string{idle.ID}) {
				t.Fatalf("paged out %v, want %s only", got, idle.ID)
			}
			if got != nil && !refusing {
				return
			}
			if refusing {
				t.Fatal("new work is refused before idle sandboxes were paged out")
			}
		}
		t.Error("nothing was paged out")
	})
}

// A sandbox that hangs looks idle, and is paged out before its silence counts. Whether a
// client asks for it or not, it is ended.
func TestASandboxThatHangsWhilePagedOutIsEnded(t *testing.T) {
	for name, used := range map[string]bool{"used": true, "unused": false} {
		t.Run(name, func(t *testing.T) {
			swapped(t, func(_ *fixture, s *Supervision) { s.HeartbeatTimeout = 5 * time.Minute }, func(t *testing.T, f *fixture, h *swapHost) {
				sb := f.create(hours)
				time.Sleep(2 * time.Minute)
				if got := h.pagedOut(); len(got) != 1 {
					t.Fatalf("paged out: %q", got)
				}
				h.with(func() { h.hung[sb.ID] = true })
				after := 25 * time.Minute
				if used { // As one that is not paged out.
					after = 7 * time.Minute
				}
				for begin := time.Now(); time.Since(begin) < after; {
					if used {
						ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
						if conn, err := f.rt.Dial(ctx, sb.ID, 8000); err == nil {
							conn.Close()
							t.Error("one that hangs has answered")
						}
						cancel()
					}
					time.Sleep(5 * time.Second)
				}
				if got, err := f.rt.Get(context.Background(), sb.ID); err == nil {
					t.Errorf("after %v it is %s", after, got.State)
				}
			})
		})
	}
}

// The time of silence begins with the question that was not answered, and not with the
// last answer before a sleep.
func TestASandboxThatSleptHasAsLongToAnswerAsOthers(t *testing.T) {
	swapped(t, func(_ *fixture, s *Supervision) { s.HeartbeatTimeout = 5 * time.Minute }, func(t *testing.T, f *fixture, h *swapHost) {
		sb := f.create(hours)
		time.Sleep(2 * time.Minute)
		h.with(func() { h.hung[sb.ID] = true })
		var ended time.Time
		for begin := time.Now(); ended.IsZero() && time.Since(begin) < 25*time.Minute; {
			time.Sleep(time.Second)
			if _, err := f.rt.Get(context.Background(), sb.ID); err != nil {
				ended = time.Now()
			}
		}
		var asked time.Time
		h.with(func() { asked = h.asks[0] })
		if silence := ended.Sub(asked); ended.IsZero() || silence < 4*time.Minute {
			t.Errorf("ended %v after the first question without an answer", silence)
		}
	})
}

// Some that hang are ended although all others sleep, and are asked only now and then.
func TestSomeThatHangAreEndedWhileTheOthersSleep(t *testing.T) {
	swapped(t, func(f *fixture, s *Supervision) { s.HeartbeatTimeout = 5 * time.Minute }, func(t *testing.T, f *fixture, h *swapHost) {
		var ids []string
		for range 9 {
			ids = append(ids, f.create(hours).ID)
		}
		time.Sleep(3 * time.Minute)
		if got := h.pagedOut(); len(got) < len(ids) {
			t.Fatalf("paged out: %q", got)
		}
		h.with(func() {
			for _, id := range ids[:3] {
				h.hung[id] = true
			}
		})
		time.Sleep(45 * time.Minute)
		for i, id := range ids {
			if _, err := f.rt.Get(context.Background(), id); (err != nil) != (i < 3) {
				t.Errorf("sandbox %d: %v", i, err)
			}
		}
	})
}
