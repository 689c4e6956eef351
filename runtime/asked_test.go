package runtime

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/runtime/pool"
	"github.com/rundlet/rundlet/runtime/template"
	"github.com/rundlet/rundlet/sandbox"
)

// TestTrafficWakesForWhatTheCreateAskedFor: or for five minutes, if that is more,
// whatever its timeout was set to meanwhile, and after a restart of the daemon.
func TestTrafficWakesForWhatTheCreateAskedFor(t *testing.T) {
	for asked, want := range map[time.Duration]time.Duration{
		20 * time.Second: leastWake, 7 * time.Minute: 7 * time.Minute,
	} {
		f := newFixture(t)
		id := f.create(func(r *sandbox.CreateRequest) { r.AutoResume, r.Timeout = true, asked }).ID
		for _, restart := range []bool{false, true} {
			if err := f.rt.SetTimeout(context.Background(), id, time.Hour); err != nil {
				t.Fatal(err)
			}
			f.pause(id)
			if restart {
				f.restart()
			}
			sb, err := f.rt.Wake(context.Background(), id)
			if err != nil {
				t.Fatal(err)
			}
			if got := sb.EndAt.Sub(sb.StartedAt); got != want {
				t.Errorf("asked for %s, restarted %v: it has %s", asked, restart, got)
			}
		}
	}
}

// TestABootFromFilesHasTheEnvironmentOfTheCreate: the memory had it before. It is
// also that of what was made from a copy of the memory.
func TestABootFromFilesHasTheEnvironmentOfTheCreate(t *testing.T) {
	ctx := context.Background()
	f := newFixture(t)
	given := func(env map[string]string) func(*sandbox.CreateRequest) {
		return func(r *sandbox.CreateRequest) { r.Env = env }
	}
	parent := f.create(given(map[string]string{"A": "1", "B": "2"})).ID
	snapshot, err := f.rt.Snapshot(ctx, parent, "", "")
	if err != nil {
		t.Fatal(err)
	}
	forks, err := f.rt.Fork(ctx, parent, sandbox.ForkRequest{Count: 1, Timeout: time.Minute})
	if err != nil || forks[0].Err != nil {
		t.Fatal(err, forks)
	}
	child := f.create(given(map[string]string{"B": "3"}), func(r *sandbox.CreateRequest) { r.Template = snapshot.ID }).ID
	none := f.create().ID
	for id, want := range map[string]map[string]string{
		parent: {"A": "1", "B": "2"}, forks[0].Sandbox.ID: {"A": "1", "B": "2"}, child: {"A": "1", "B": "3"}, none: nil,
	} {
		for _, boot := range []string{"paused without its memory", "rebooted", "restarted"} {
			if err := f.rt.Pause(ctx, id, boot == "rebooted"); err != nil {
				t.Fatal(err)
			}
			if boot == "restarted" {
				f.restart()
			}
			if _, _, err := f.rt.Reboot(ctx, id, time.Minute); err != nil {
				t.Fatal(err)
			}
			if got := f.initOf(id).Env; !maps.Equal(got, want) {
				t.Errorf("%s: %v, want %v", boot, got, want)
			}
		}
		// With its memory it has it already.
		f.pause(id)
		f.resume(id)
		if got := f.initOf(id).Env; got != nil {
			t.Errorf("resumed with its memory: %v", got)
		}
		// It may be secret: nothing of it is kept for nothing.
		if err := f.rt.Kill(ctx, id); err != nil {
			t.Fatal(err)
		}
		if got, err := f.db.Environments.Get(ctx, id); got != nil || err != nil {
			t.Errorf("killed: %v, %v", got, err)
		}
	}
	if err := f.rt.DeleteSnapshot(ctx, snapshot.ID); err != nil {
		t.Fatal(err)
	}
	if got, err := f.db.Environments.Get(ctx, snapshot.ID); got != nil || err != nil {
		t.Errorf("deleted snapshot: %v, %v", got, err)
	}
}

// TestANameStaysWhereItIsWhenASnapshotFails: also if what fails is the environment,
// which is the larger part of what is written.
func TestANameStaysWhereItIsWhenASnapshotFails(t *testing.T) {
	for _, paused := range []bool{false, true} {
		ctx, f := context.Background(), newFixture(t)
		id := f.create(func(r *sandbox.CreateRequest) { r.Env = map[string]string{"A": "1"} }).ID
		first, err := f.rt.Snapshot(ctx, id, "name", "")
		if err != nil {
			t.Fatal(err)
		}
		if paused {
			f.pause(id)
		}
		db := rawDatabase(t, f.dbPath)
		if _, err := db.Exec(`CREATE TRIGGER full BEFORE INSERT ON environments BEGIN SELECT RAISE(ABORT, 'full'); END`); err != nil {
			t.Fatal(err)
		}
		if _, err := f.rt.Snapshot(ctx, id, "name", ""); err == nil {
			t.Error("it has not failed")
		}
		left, err := f.rt.Snapshots(ctx, sandbox.SnapshotFilter{})
		if err != nil || len(left) != 1 || left[0].ID != first.ID || left[0].Name != "name" {
			t.Errorf("paused %v: %+v, %v", paused, left, err)
		}
	}
}

// TestNoEnvironmentIsStoredBeforeTheRowThatItEndsWith: a crash in between would leave
// values for ever that may be secrets.
func TestNoEnvironmentIsStoredBeforeTheRowThatItEndsWith(t *testing.T) {
	warmed(t, pool.Target{Ready: 1, Prepared: 1}, func(t *testing.T, f *fixture) {
		f.refill(false)
		db := rawDatabase(t, f.dbPath)
		if _, err := db.Exec(`CREATE TRIGGER early BEFORE INSERT ON environments WHEN NOT EXISTS (SELECT 1 FROM sandboxes WHERE id = new.id)
			BEGIN SELECT RAISE(ABORT, 'the row is missing'); END`); err != nil {
			t.Fatal(err)
		}
		for range 3 { // The ready machine, the prepared one, and none.
			f.create(func(r *sandbox.CreateRequest) { r.Env = map[string]string{"A": "secret"} })
		}
	})
}

// TestTheEnvironmentOfAChainOfSnapshotsIsBounded: each adds to what it is made from.
func TestTheEnvironmentOfAChainOfSnapshotsIsBounded(t *testing.T) {
	ctx, f := context.Background(), newFixture(t)
	given := func(name string) func(*sandbox.CreateRequest) {
		return func(r *sandbox.CreateRequest) {
			r.Env = map[string]string{}
			for i := range 6 {
				r.Env[fmt.Sprint(name, i)] = strings.Repeat("x", 100<<10)
			}
		}
	}
	parent := f.create(given("A")).ID
	snapshot, err := f.rt.Snapshot(ctx, parent, "", "")
	if err != nil {
		t.Fatal(err)
	}
	from := func(r *sandbox.CreateRequest) { r.Template = snapshot.ID }
	req := request()
	given("B")(&req)
	from(&req)
	if _, err := f.rt.Create(ctx, req); !errors.Is(err, sandbox.ErrInvalid) {
		t.Errorf("1.2 MB in two steps: %v", err)
	}
	f.create(given("A"), from) // The same again adds nothing.
}

// TestSandboxesOfATemplateAreCounted: of all its builds, and also after a restart.
func TestSandboxesOfATemplateAreCounted(t *testing.T) {
	ctx := context.Background()
	f := newFixture(t)
	base := func() sandbox.Template {
		tpl, err := f.rt.Template(ctx, template.BaseAlias)
		if err != nil {
			t.Fatal(err)
		}
		return tpl
	}
	if tpl := base(); tpl.SpawnCount != 0 || !tpl.LastSpawnedAt.IsZero() {
		t.Errorf("before: %+v", tpl)
	}
	sb := f.create()
	f.create()
	f.pause(sb.ID)
	f.resume(sb.ID) // Is none.
	f.setStamp("v2")
	f.restart() // What was counted is written, and the base is built again.
	last := f.create()
	f.rt.Close()
	f.open()
	if tpl := base(); tpl.SpawnCount != 3 || tpl.LastSpawnedAt.Sub(last.StartedAt).Abs() > time.Second {
		t.Errorf("%+v", tpl)
	}
}

// TestSettledWaitsForWhatComesOfAPause: also of one whose end is retried in the
// background.
func TestSettledWaitsForWhatComesOfAPause(t *testing.T) {
	tests := []struct {
		name, step string
		fails      int
		want       sandbox.State
	}{
		{"done", "", 0, sandbox.StatePaused},
		{"undone", "snapshot", 1, sandbox.StateRunning},
		{"the machine does not end at first", "destroy", 2, sandbox.StatePaused},
		{"it does not go on at first", "start", 2, sandbox.StateRunning},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			id := f.create().ID
			f.failNext(tt.step, tt.fails)
			if tt.step == "start" {
				f.failNext("snapshot", 1)
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			settled := make(chan sandbox.State, 1)
			f.lookDuring("stop", func() {
				go func() {
					sb, err := f.rt.Settled(ctx, id)
					if err != nil {
						t.Error(err)
					}
					settled <- sb.State
				}()
			})
			_ = f.rt.Pause(ctx, id, true)
			if got := <-settled; got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}
