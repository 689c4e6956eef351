package runtime

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/policy/latency"
	"github.com/rundlet/rundlet/sandbox"
)

// The tests of this file are the ordering guarantees of docs/reference-parity.md
// that are about one sandbox.

// prepared has the base, so that a create does nothing but create.
func prepared(t *testing.T, change ...func(*Config)) *fixture {
	t.Helper()
	f := newFixture(t)
	for _, c := range change {
		c(&f.cfg)
	}
	f.restart()
	if err := f.rt.Prepare(context.Background()); err != nil {
		t.Fatal(err)
	}
	f.forgetHistory()
	return f
}

func TestARestoreIsAdmittedThenLaunchedThenSampled(t *testing.T) {
	f := prepared(t)
	for _, step := range []string{"acquire", "create"} {
		f.lookDuring(step, func() {
			if u := f.rt.admission.Ledger.Active(); u.Sandboxes != 1 || u.Launches != 1 {
				t.Errorf("%s: it is launched before it is admitted: %+v", step, u)
			}
			if n := samples(f, latency.WarmSnapshotRestore); n != 0 {
				t.Errorf("%s: sampled before it is launched", step)
			}
		})
	}
	f.lookDuring("init", func() {
		if n := samples(f, latency.WarmSnapshotRestore); n != 1 {
			t.Errorf("%d samples when it is launched", n)
		}
	})
	f.create()
	if want := []string{"acquire", "create", "init"}; !slices.Equal(f.history(), want) {
		t.Errorf("looked during %v", f.history())
	}
	if u := f.rt.admission.Ledger.Active(); u.Sandboxes != 1 || u.Launches != 0 {
		t.Errorf("the launch is over: %+v", u)
	}
}

func TestALaunchThatFailsReleasesItsCapacityExactlyOnceAndIsNotSampled(t *testing.T) {
	for step, freed := range map[string]int{"acquire": 0, "create": 1} {
		t.Run(step, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t)
				defer f.rt.Close()
				f.create(long)
				f.create(long)
				before := f.rt.admission.Ledger.Active()
				f.forgetHistory()
				f.failNext(step, 1)
				if _, err := f.rt.Create(context.Background(), request()); !errors.Is(err, errInjected) {
					t.Fatalf("got %v", err)
				}
				time.Sleep(time.Minute) // of the bubble's clock: for a second release
				synctest.Wait()
				if after := f.rt.admission.Ledger.Active(); after != before {
					t.Errorf("two others run with %+v, and %+v is reserved", before, after)
				}
				if n := countOf(f, "release"); n != freed {
					t.Errorf("its network was freed %d times, want %d", n, freed)
				}
				if n := samples(f, latency.WarmSnapshotRestore); n != 2 {
					t.Errorf("%d samples of two restores", n)
				}
			})
		})
	}
}

// Whatever ends a sandbox, what still exists is still counted.
func TestEveryEndOfASandboxStopsItBeforeItReleasesItsCapacityAndSamplesLast(t *testing.T) {
	for name, c := range map[string]struct {
		end     func(f *fixture, id string)
		sampled int
	}{
		"kill": {func(f *fixture, id string) {
			if err := f.rt.Kill(context.Background(), id); err != nil {
				t.Error(err)
			}
		}, 1},
		"timeout":  {func(*fixture, string) { time.Sleep(61 * time.Second) }, 1},
		"exit":     {func(f *fixture, id string) { f.inside(id).Exit("oom") }, 1},
		"shutdown": {func(f *fixture, _ string) { f.rt.KillAll(context.Background(), "shut down") }, 1},
		"lost":     {func(f *fixture, _ string) { f.failNext("health", 1); f.restart() }, 1},
		"end in a pause": {func(f *fixture, id string) {
			f.lookDuring("stop", func() { f.inside(id).Exit("oom") })
			f.rt.Pause(context.Background(), id, true)
		}, 0},
		"pause": {func(f *fixture, id string) { f.pause(id) }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t)
				id := f.create().ID
				f.forgetHistory()
				for _, step := range []string{"destroy", "release"} {
					f.lookDuring(step, func() {
						// The runtime that ends it may be one that is being opened.
						if f.rt != nil && name != "lost" && f.rt.admission.Ledger.Active().Sandboxes != 1 {
							t.Errorf("%s: its capacity was released before", step)
						}
						if samples(f, latency.KillDelete) != 0 {
							t.Errorf("%s: sampled before", step)
						}
					})
				}
				c.end(f, id)
				synctest.Wait()
				defer f.rt.Close()
				if got := slices.DeleteFunc(f.history(), func(e string) bool { return e != "destroy" && e != "release" }); !slices.Equal(got, []string{"destroy", "release"}) {
					t.Errorf("order %v of %v", got, f.history())
				}
				if u := f.rt.admission.Ledger.Active(); u.Sandboxes != 0 {
					t.Errorf("capacity left: %+v", u)
				}
				if n := samples(f, latency.KillDelete); n != c.sampled {
					t.Errorf("%d samples, want %d", n, c.sampled)
				}
			})
		})
	}
}

func TestASandboxIsExposedOnlyAfterItsReadinessProbe(t *testing.T) {
	ctx := context.Background()
	f := prepared(t)
	f.ports = nil
	f.lookDuring("init", func() {
		rows, err := f.db.Sandboxes.Live(ctx, "test")
		if err != nil || len(rows) != 1 {
			t.Fatalf("%+v, %v", rows, err)
		}
		id := rows[0].ID
		if list, err := f.rt.List(ctx, sandbox.ListFilter{}); err != nil || len(list) != 0 {
			t.Errorf("it is listed: %+v, %v", list, err)
		}
		if _, err := f.rt.Get(ctx, id); !errors.Is(err, sandbox.ErrNotFound) {
			t.Errorf("get: %v", err)
		}
		if _, err := f.rt.Dial(ctx, id, 80); !errors.Is(err, sandbox.ErrConflict) {
			t.Errorf("dial: %v", err)
		}
		if n := samples(f, latency.ReadyProbe); n != 0 {
			t.Errorf("%d samples before it answered", n)
		}
	})
	sb := f.create()
	if _, err := f.rt.Get(ctx, sb.ID); err != nil {
		t.Error(err)
	}
	if n := samples(f, latency.ReadyProbe); n != 1 {
		t.Errorf("%d samples", n)
	}
}

func TestAFailedReadinessProbeStopsThenReleasesAndIsNotSampled(t *testing.T) {
	f := prepared(t)
	f.failNext("init", 1)
	for _, step := range []string{"destroy", "release"} {
		f.lookDuring(step, func() {
			if f.rt.admission.Ledger.Active().Sandboxes != 1 {
				t.Errorf("%s: its capacity was released before", step)
			}
		})
	}
	if _, err := f.rt.Create(context.Background(), request()); err == nil {
		t.Fatal("no error")
	}
	if want := []string{"acquire", "create", "init", "destroy", "release"}; !slices.Equal(f.history(), want) {
		t.Errorf("did %v, want %v", f.history(), want)
	}
	if n := samples(f, latency.ReadyProbe); n != 0 {
		t.Errorf("%d samples of a probe that failed", n)
	}
	f.wantNothingLeft()
}
