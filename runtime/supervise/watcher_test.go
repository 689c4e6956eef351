package supervise

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/policy/reconcile"
	"github.com/rundlet/rundlet/runtime/background"
	"github.com/rundlet/rundlet/sandbox"
)

// one is a state machine with one sandbox, which notes what was done to it.
type one struct {
	mu   sync.Mutex
	view View
	did  []string
}

func (o *one) note(what string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.did = append(o.did, what)
}

// done is what was done to it so far.
func (o *one) done() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.did)
}

func (o *one) Views() []View { v, _ := o.View(""); return []View{v} }

func (o *one) View(string) (View, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.view, true
}

func (o *one) Found(context.Context, string) (reconcile.Row, reconcile.Machine, bool) {
	v, _ := o.View("")
	return reconcile.Row{State: v.State, Snapshot: true}, reconcile.Machine{}, false
}

func (o *one) BreakOff(string)                      { o.note("break off") }
func (o *one) DestroyUnder(context.Context, string) { o.note("destroy under") }

func (o *one) Hold(ctx context.Context, _ string, bound time.Duration) (func(), bool) {
	if v, _ := o.View(""); v.Overdue { // The call hangs.
		select {
		case <-time.After(bound):
		case <-ctx.Done():
		}
		return nil, false
	}
	return func() {}, true
}

func (o *one) Enact(_ context.Context, _ string, rec reconcile.Record) error {
	o.note(string(rec.Action))
	return nil
}

func (o *one) End(_ context.Context, _, reason string, held bool) error {
	o.note("end")
	if held {
		return errors.New("the test holds nothing")
	}
	return nil
}

func watching(t *testing.T, o *one, dial func() error) *Watcher {
	group := background.New(t.Context())
	t.Cleanup(func() { group.Stop(); group.Wait() })
	log := slog.New(slog.DiscardHandler)
	return NewWatcher(WatcherConfig{
		PagedOut: func(string) bool { return false },
		Interval: 30 * time.Second, Timeout: 5 * time.Minute, Sandboxes: o, Host: NewHost(HostConfig{Log: log}), Background: group, Log: log,
		Agent: func(string) func(context.Context) (net.Conn, error) {
			return func(context.Context) (net.Conn, error) { return nil, dial() }
		},
	})
}

func TestSilenceEndsASandboxOnlyIfTheDaemonCouldHear(t *testing.T) {
	for name, tt := range map[string]struct {
		dial error
		want string
	}{
		"the guest is silent":    {syscall.ECONNREFUSED, string(reconcile.Kill)},
		"the daemon cannot dial": {syscall.EMFILE, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := &one{view: View{ID: "i1", Run: 1, State: sandbox.StateRunning}}
				w := watching(t, o, func() error { return tt.dial })
				got := ""
				for range 20 { // Ten minutes.
					w.Beat(t.Context())
					synctest.Wait()
					time.Sleep(30 * time.Second)
					if did := o.done(); len(did) > 0 {
						got = did[0]
						break
					}
				}
				if got != tt.want {
					t.Errorf("it did %q, want %q", got, tt.want)
				}
			})
		})
	}
}

func TestAnotherMachineBeginsTheCountAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &one{view: View{ID: "i1", Run: 1, State: sandbox.StateRunning}}
		w := watching(t, o, func() error { return syscall.ECONNREFUSED })
		for range 40 {
			w.Beat(t.Context())
			synctest.Wait()
			time.Sleep(30 * time.Second)
			o.mu.Lock()
			o.view.Run++ // It was paused and resumed in between.
			o.mu.Unlock()
		}
		if did := o.done(); len(did) != 0 {
			t.Errorf("it did %q", did)
		}
	})
}

func TestACallThatHangsIsBrokenOffAndItsMachineDestroyedWhereItIsSaved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &one{view: View{ID: "i1", Run: 1, State: sandbox.StateResuming, Deadline: time.Now().Add(-time.Second), Overdue: true}}
		w := watching(t, o, func() error { return syscall.ECONNREFUSED })
		w.Beat(t.Context())
		time.Sleep(time.Minute)
		synctest.Wait()
		if did := o.done(); !slices.Equal(did, []string{"break off", "destroy under"}) {
			t.Errorf("it did %q", did)
		}
		if r := w.Report(); r.Stuck != 1 {
			t.Errorf("report %+v", r)
		}
	})
}

func TestHowManyAreAskedAtOnce(t *testing.T) {
	for n, want := range map[int]int{0: LeastBeats, 10: LeastBeats, 10000: 33, 1 << 30: MostBeats} {
		if got := AtOnce(n, 30*time.Second); got != want {
			t.Errorf("%d of %d, want %d", got, n, want)
		}
	}
}
