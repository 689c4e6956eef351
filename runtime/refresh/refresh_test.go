package refresh

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/policy/freshness"
	"github.com/rundlet/rundlet/policy/latency"
	"github.com/rundlet/rundlet/runtime/background"
	"github.com/rundlet/rundlet/runtime/live"
	"github.com/rundlet/rundlet/runtime/machine"
	"github.com/rundlet/rundlet/runtime/rows"
	"github.com/rundlet/rundlet/runtime/step"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// guest notes what is done in it. Its commands and kills do what run and kill do, which may be nil, hang and ignore their contexts.
type guest struct {
	run  func(ctx context.Context, c machine.Command) error
	kill func(ctx context.Context) error

	mu   sync.Mutex
	done []string // guarded by mu
}

func (g *guest) note(text string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.done = append(g.done, text)
}

// all returns what was done since the last call.
func (g *guest) all() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	done := g.done
	g.done = nil
	return done
}

func (g *guest) Run(ctx context.Context, _ string, c machine.Command) error {
	g.note(c.Args[0] + " " + c.Args[1])
	if g.run != nil {
		return g.run(ctx, c)
	}
	return nil
}

func (g *guest) Kill(ctx context.Context, _ string, _ string) error {
	g.note("kill")
	if g.kill != nil {
		return g.kill(ctx)
	}
	return nil
}

// until returns a run that succeeds when hold is closed.
func until(hold <-chan struct{}) func(context.Context, machine.Command) error {
	return func(ctx context.Context, _ machine.Command) error {
		select {
		case <-hold:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

var (
	git      = []string{"git fetch", "git checkout", "git reset"}
	unlocked = "/bin/sh -c" // It removes locks.
)

// fullDisk is the table of sandboxes on a disk that is full for some time.
type fullDisk struct {
	mu    sync.Mutex
	until time.Time
	stale bool // another process has written the row
	puts  int
}

func (d *fullDisk) fill(bound time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.until = time.Now().Add(bound)
}

func (d *fullDisk) Get(context.Context, string) (store.Sandbox, error) {
	return store.Sandbox{}, store.ErrNotFound
}

func (d *fullDisk) Put(_ context.Context, row *store.Sandbox, _ ...sandbox.Event) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.puts++
	if d.stale {
		return store.ErrStale
	}
	if time.Now().Before(d.until) {
		return errors.New("database or disk is full")
	}
	row.Version++
	return nil
}

// begin begins the sync of a new sandbox.
func begin(t *testing.T, g *guest, disk *fullDisk) (*Refresher, *live.Sandbox) {
	group, log, all := background.New(t.Context()), slog.New(slog.DiscardHandler), live.NewSet()
	r := New(Config{
		Live: all, Rows: &rows.Writer{Store: rows.Store{Sandboxes: disk}, Log: log, Here: func(store.Sandbox) error { return nil }},
		Guest: g, Steps: &step.Recorder{Latency: new(latency.Recorder)}, Background: group, Timeout: DefaultTimeout, Log: log,
	})
	t.Cleanup(func() {
		group.Stop()
		group.Wait()
	})
	sb := live.New(store.Sandbox{ID: "i1", State: sandbox.StateRunning, Freshness: sandbox.Freshness{
		Phase: freshness.Restored, Branch: "main", Target: "origin/main", Checkout: "/app"}})
	all.Know(sb, nil)
	r.Begin(sb)
	return r, sb
}

// A sync has its time, and its outcome has all the time that it needs: a gate whose sync is over, and not written, never opens.
func TestAnOutcomeIsWrittenHoweverLongTheDiskIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &fullDisk{until: time.Now().Add(time.Hour)}
		r, sb := begin(t, &guest{}, disk)
		if err := r.AwaitSync(t.Context(), sb.ID); err != nil || sb.Row().Freshness.Phase != freshness.Ready {
			t.Errorf("when the disk has room again, the gate is %s: %v", sb.Row().Freshness.Phase, err)
		}
	})
}

// What a client decides cannot be written: then the sync that it ended goes on.
func TestASyncGoesOnIfItsEndByHandIsNotWritten(t *testing.T) {
	for name, end := range map[string]func(*Refresher, context.Context, string) error{
		"complete": (*Refresher).CompleteSync,
		"fail":     func(r *Refresher, ctx context.Context, id string) error { return r.FailSync(ctx, id, "no") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk, hold := &fullDisk{}, make(chan struct{})
				r, sb := begin(t, &guest{run: until(hold)}, disk)
				synctest.Wait()
				disk.fill(time.Minute)
				if err := end(r, t.Context(), sb.ID); err == nil || sb.Row().Freshness.Phase != freshness.Syncing {
					t.Fatalf("%s: %v", sb.Row().Freshness.Phase, err)
				}
				disk.fill(0)
				close(hold)
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				if err := r.AwaitSync(ctx, sb.ID); err != nil || sb.Row().Freshness.Phase != freshness.Ready {
					t.Errorf("the gate is %s: %v", sb.Row().Freshness.Phase, err)
				}
			})
		})
	}
}

// settled waits for the end of a sync, and for the gate.
func settled(t *testing.T, r *Refresher, sb *live.Sandbox, want sandbox.FreshnessPhase) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	if err := r.AwaitSync(ctx, sb.ID); err != nil || sb.Row().Freshness.Phase != want {
		t.Errorf("the gate is %+v, want %s: %v", sb.Row().Freshness, want, err)
	}
}

// A git whose connection broke may run on, and one that was ended leaves locks.
func TestASyncBeginsAgainWithoutWhatTheFormerAttemptLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := true
		g := &guest{}
		g.run = func(context.Context, machine.Command) error {
			if first {
				first = false
				return errors.New("the connection broke")
			}
			return nil
		}
		r, sb := begin(t, g, &fullDisk{})
		settled(t, r, sb, freshness.Ready)
		if got, want := g.all(), append([]string{"git fetch", "kill", unlocked}, git...); !slices.Equal(got, want) {
			t.Errorf("it did %q, want %q", got, want)
		}
	})
}

// The commands of a sync that is over must not change the checkout of a gate that others decide.
func TestWhatEndsASyncEndsItsCommands(t *testing.T) {
	hang := until(nil)
	for name, tt := range map[string]struct {
		hangs bool                                            // Kill, whatever its context says
		end   func(*Refresher, context.Context, string) error // nil is its timeout
		want  sandbox.FreshnessPhase
		bad   bool
	}{
		"timeout":                            {false, nil, freshness.Failed, false},
		"timeout of a guest that hangs":      {true, nil, freshness.Failed, false},
		"complete":                           {false, (*Refresher).CompleteSync, freshness.Ready, false},
		"fail":                               {false, func(r *Refresher, ctx context.Context, id string) error { return r.FailSync(ctx, id, "no") }, freshness.Failed, false},
		"complete while the guest is silent": {true, (*Refresher).CompleteSync, freshness.Syncing, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				stop := make(chan struct{})
				g := &guest{run: hang}
				if tt.hangs {
					g.kill = func(context.Context) error { <-stop; return nil }
				}
				defer synctest.Wait()
				defer close(stop)
				r, sb := begin(t, g, &fullDisk{})
				synctest.Wait()
				if tt.end != nil {
					if err := tt.end(r, t.Context(), sb.ID); (err != nil) != tt.bad {
						t.Errorf("%v", err)
					}
				}
				if tt.bad { // Then it goes on.
					if got := sb.Row().Freshness; got.Phase != freshness.Syncing {
						t.Errorf("%+v", got)
					}
					return
				}
				settled(t, r, sb, tt.want)
				if got := g.all(); len(got) == 0 || got[len(got)-1] != "kill" {
					t.Errorf("it did %q", got)
				}
			})
		})
	}
}

// A sandbox that was paused and resumed has another machine, in which a sync begins anew: the former one must not go on there, nor
// say that the checkout is up to date.
func TestASyncEndsWithItsMachine(t *testing.T) {
	for name, result := range map[string]error{"its connection breaks": errors.New("broke"), "it was done": nil} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hold, g := make(chan struct{}), &guest{}
				g.run = func(_ context.Context, c machine.Command) error {
					if c.Args[1] == "reset" {
						<-hold
						return result
					}
					return nil
				}
				_, sb := begin(t, g, &fullDisk{})
				synctest.Wait()
				g.all()
				sb.NextRun()
				close(hold)
				time.Sleep(time.Hour)
				if got := g.all(); len(got) > 0 || sb.Row().Freshness.Phase != freshness.Syncing {
					t.Errorf("in the next machine it did %q: %+v", got, sb.Row().Freshness)
				}
			})
		})
	}
}

// What another process has written is not overwritten, however often it is tried.
func TestAPhaseOfAnOldRowIsNotTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &fullDisk{stale: true}
		_, sb := begin(t, &guest{}, disk)
		time.Sleep(time.Hour)
		disk.mu.Lock()
		defer disk.mu.Unlock()
		if disk.puts != 1 || sb.Row().Freshness.Phase != freshness.Restored {
			t.Errorf("%d writes: %+v", disk.puts, sb.Row().Freshness)
		}
	})
}

// The sync that failed may not have returned when a client begins the next one.
func TestTheNextSyncBeginsAlthoughTheFormerHasNotReturned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &guest{run: func(context.Context, machine.Command) error { return &machine.ExitError{Status: "exit status 1"} }}
		r, sb := begin(t, g, &fullDisk{})
		settled(t, r, sb, freshness.Failed)
		synctest.Wait()
		_, run, _ := sb.Look()
		sb.Syncs.Start(t.Context(), run, r.cfg.Background.Go, func(ctx context.Context) { <-ctx.Done() })
		g.run = nil
		g.all()
		if err := r.BeginSync(t.Context(), sb.ID); err != nil {
			t.Fatal(err)
		}
		settled(t, r, sb, freshness.Ready)
		if got, want := g.all(), append([]string{"kill", unlocked}, git...); !slices.Equal(got, want) {
			t.Errorf("it did %q, want %q", got, want)
		}
	})
}
