package runtime

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/runtime/save"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm/memvm"
)

// inside is the guest of a sandbox that runs.
func (f *fixture) inside(id string) *memvm.Guest {
	f.t.Helper()
	g := f.driver.Guest(id)
	if g == nil {
		f.t.Fatalf("sandbox %s has no machine", id)
	}
	return g
}

func (f *fixture) pause(id string) {
	f.t.Helper()
	if err := f.rt.Pause(context.Background(), id, true); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) resume(id string) sandbox.Sandbox {
	f.t.Helper()
	sb, resumed, err := f.rt.Connect(context.Background(), id, time.Minute)
	if err != nil || !resumed {
		f.t.Fatalf("resumed %v, %v", resumed, err)
	}
	return sb
}

func TestPauseFreezesThenSavesThenEndsThenFreesThenReleases(t *testing.T) {
	f := newFixture(t)
	sb := f.create()
	f.forgetHistory()
	f.lookDuring("destroy", func() {
		if row := f.row(sb.ID); row.State != "pausing" {
			t.Errorf("the machine is ended while the row says %s", row.State)
		}
		if snap, err := f.db.Snapshots.Get(context.Background(), f.row(sb.ID).SnapshotID); err != nil || snap.State != store.SnapshotReady {
			t.Errorf("the machine is ended before it is known to be saved: %+v, %v", snap, err)
		}
	})
	f.lookDuring("release", func() {
		if f.rt.admission.Ledger.Active().Sandboxes != 1 {
			t.Error("its capacity was released before its network was freed")
		}
	})
	f.pause(sb.ID)
	if want := []string{"stop", "snapshot", "destroy", "release"}; !slices.Equal(f.history(), want) {
		t.Errorf("order %v, want %v", f.history(), want)
	}
	if n := f.rt.admission.Ledger.Active().Sandboxes; n != 0 {
		t.Errorf("a paused sandbox holds capacity for %d", n)
	}
	got, err := f.rt.Get(context.Background(), sb.ID)
	if err != nil || got.State != sandbox.StatePaused {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := f.rt.Dial(context.Background(), sb.ID, 80); !errors.Is(err, sandbox.ErrNotRunning) {
		t.Errorf("dial: %v", err)
	}
	if err := f.rt.Pause(context.Background(), sb.ID, true); !errors.Is(err, sandbox.ErrConflict) {
		t.Errorf("second pause: %v", err)
	}
}

func TestEachResumeHasWhatTheLastPauseSaved(t *testing.T) {
	f := newFixture(t)
	sb := f.create()
	for i, mark := range []string{"one", "two", "three", "four"} {
		f.inside(sb.ID).Set("mark", mark)
		f.pause(sb.ID)
		if i%2 == 1 {
			f.restart()
		}
		started := f.row(sb.ID).StartedAt
		got := f.resume(sb.ID)
		if have := f.inside(sb.ID).Get("mark"); have != mark {
			t.Errorf("resumed with %q, paused with %q", have, mark)
		}
		if got.EnvdAccessToken != sb.EnvdAccessToken || got.ID != sb.ID {
			t.Errorf("another sandbox: %+v", got)
		}
		if !got.StartedAt.After(started) {
			t.Error("its start did not move")
		}
		if n := countSnapshots(f); n != 1 {
			t.Errorf("%d snapshots after a resume, want the base's", n)
		}
	}
	if err := f.rt.Kill(context.Background(), sb.ID); err != nil {
		t.Fatal(err)
	}
	f.wantNothingLeft()
}

func countSnapshots(f *fixture) (n int) {
	for _, o := range f.host.Objects() {
		if isSnapshot(o) {
			n++
		}
	}
	return n
}

func TestAResumedAgentIsShownTheTokenThatItHas(t *testing.T) {
	f := newFixture(t)
	sb := f.create(func(r *sandbox.CreateRequest) { r.Env = map[string]string{"A": "1"} })
	f.pause(sb.ID)
	f.resume(sb.ID)
	got := f.initOf(sb.ID)
	if !got.Restored || got.BootID != "" || got.AccessToken != sb.EnvdAccessToken || got.SandboxID != sb.ID {
		t.Errorf("init %+v", got)
	}
}

func TestAFilesystemPauseKeepsFilesAndBootsAnew(t *testing.T) {
	f := newFixture(t)
	sb := f.create()
	f.inside(sb.ID).Set("mark", "memory")
	f.inside(sb.ID).SetFile("/f", "file")
	if err := f.rt.Pause(context.Background(), sb.ID, false); err != nil {
		t.Fatal(err)
	}
	got := f.resume(sb.ID)
	if f.inside(sb.ID).Get("mark") != "" || f.inside(sb.ID).File("/f") != "file" {
		t.Error("want its files and not its memory")
	}
	if init := f.initOf(sb.ID); init.Restored || init.BootID == "" || init.AccessToken != got.EnvdAccessToken {
		t.Errorf("init %+v", init)
	}
}

func TestAPauseThatFailsIsUndoneAndTheSandboxRunsOn(t *testing.T) {
	for _, step := range []string{"stop", "snapshot"} {
		t.Run(step, func(t *testing.T) {
			f := newFixture(t)
			sb := f.create()
			f.inside(sb.ID).Set("mark", "here")
			f.failNext(step, 1)
			if err := f.rt.Pause(context.Background(), sb.ID, true); !errors.Is(err, errInjected) {
				t.Fatalf("got %v", err)
			}
			if row := f.row(sb.ID); row.State != "running" || row.SnapshotID != "" {
				t.Errorf("row %+v", row)
			}
			if f.inside(sb.ID).Get("mark") != "here" {
				t.Error("it is another machine")
			}
			if rows, _ := f.db.Snapshots.Claims(context.Background()); len(rows) != 0 {
				t.Errorf("claims left: %+v", rows)
			}
			f.pause(sb.ID)
			f.resume(sb.ID)
			if f.inside(sb.ID).Get("mark") != "here" {
				t.Error("the mark is lost")
			}
		})
	}
}

func TestASavedSandboxWhoseMachineCannotBeEndedIsCarriedOnWith(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		defer f.rt.Close()
		sb := f.create()
		f.inside(sb.ID).Set("mark", "here")
		f.failNext("destroy", 3)
		if err := f.rt.Pause(context.Background(), sb.ID, true); !errors.Is(err, errInjected) {
			t.Fatalf("got %v", err)
		}
		if n := f.rt.admission.Ledger.Active().Sandboxes; n != 1 {
			t.Errorf("capacity for %d while its machine is there", n)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if row := f.row(sb.ID); row.State != "paused" {
			t.Fatalf("row %+v", row)
		}
		f.resume(sb.ID)
		if f.inside(sb.ID).Get("mark") != "here" {
			t.Error("the mark is lost")
		}
	})
}

func TestATimeoutPausesWhatIsToBePaused(t *testing.T) {
	for _, how := range []sandbox.OnTimeout{sandbox.OnTimeoutPause, sandbox.OnTimeoutPauseFilesystem} {
		synctest.Test(t, func(t *testing.T) {
			f := newFixture(t)
			defer f.rt.Close()
			sb := f.create(func(r *sandbox.CreateRequest) { r.OnTimeout = how })
			f.inside(sb.ID).SetFile("/f", "file")
			f.failNext("stop", 1) // the first attempt fails: it must not be killed for that
			time.Sleep(61 * time.Second)
			synctest.Wait()
			if row := f.row(sb.ID); row.State != "running" {
				t.Errorf("after a pause that failed: %+v", row)
			}
			time.Sleep(save.ExpireRetry)
			synctest.Wait()
			if row := f.row(sb.ID); row.State != "paused" {
				t.Fatalf("row %+v", row)
			}
			f.resume(sb.ID)
			if f.inside(sb.ID).File("/f") != "file" {
				t.Error("its file is gone")
			}
		})
	}
}

func TestKillOfAPausedSandboxRemovesWhatItWouldResumeFrom(t *testing.T) {
	f := newFixture(t)
	sb := f.create()
	f.pause(sb.ID)
	f.failNext("delete snapshot", 1)
	if err := f.rt.Kill(context.Background(), sb.ID); !errors.Is(err, errInjected) {
		t.Fatalf("got %v", err)
	}
	if row := f.row(sb.ID); row.State != "killing" {
		t.Errorf("row %+v", row)
	}
	f.restart()
	if row := f.row(sb.ID); row.State != "killed" || row.Reason != "killed by request" {
		t.Errorf("row %+v", row)
	}
	if n := countSnapshots(f); n != 1 {
		t.Errorf("%d snapshots, want the base's", n)
	}
	f.wantNothingLeft()
}

func TestAKillInterruptsAPauseAndAResumeThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		defer f.rt.Close()
		f.cfg.Capacity.Sandboxes = 1
		f.restart()
		defer f.rt.Close()
		paused := f.create()
		f.pause(paused.ID)
		f.create(func(r *sandbox.CreateRequest) { r.Timeout = time.Hour }) // takes the only place
		result := make(chan error)
		go func() {
			_, _, err := f.rt.Connect(context.Background(), paused.ID, time.Minute)
			result <- err
		}()
		synctest.Wait()
		if err := f.rt.Kill(context.Background(), paused.ID); err != nil {
			t.Fatal(err)
		}
		if err := <-result; !errors.Is(err, sandbox.ErrNotFound) {
			t.Errorf("the resume of what was killed: %v", err)
		}
		if row := f.row(paused.ID); row.State != "killed" {
			t.Errorf("row %+v", row)
		}
	})
}

func TestWhatAKillBreaksOffSaysThatTheSandboxIsGone(t *testing.T) {
	for name, call := range map[string]func(f *fixture, id string) error{
		"pause": func(f *fixture, id string) error { return f.rt.Pause(context.Background(), id, true) },
		"snapshot": func(f *fixture, id string) error {
			_, err := f.rt.Snapshot(context.Background(), id, "", "")
			return err
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := newFixture(t)
			defer f.rt.Close()
			sb := f.create()
			killed := make(chan error, 1)
			f.lookDuring("snapshot", func() {
				go func() { killed <- f.rt.Kill(context.Background(), sb.ID) }()
				synctest.Wait() // The kill waits for the call that it breaks off.
			})
			f.failNext("snapshot", 1) // as a driver does whose context has ended
			if err := call(f, sb.ID); !errors.Is(err, sandbox.ErrNotFound) || errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v", name, err)
			}
			if err := <-killed; err != nil {
				t.Errorf("%s: kill: %v", name, err)
			}
		})
	}
}

func TestTheEndOfAFormerMachineDoesNotEndAPausedSandbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		defer f.rt.Close()
		sb := f.create(func(r *sandbox.CreateRequest) { r.Timeout = time.Hour })
		f.pause(sb.ID)
		synctest.Wait() // the watcher saw its machine go
		f.resume(sb.ID)
		synctest.Wait()
		if row := f.row(sb.ID); row.State != "running" {
			t.Errorf("row %+v", row)
		}
		f.inside(sb.ID).Exit("oom")
		synctest.Wait()
		if row := f.row(sb.ID); row.State != "killed" || row.Reason != "oom" {
			t.Errorf("row %+v", row)
		}
	})
}

func TestPausesAtOnceJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		defer f.rt.Close()
		sb := f.create(hours)
		f.lookDuring("snapshot", func() { time.Sleep(time.Second) })
		errs := make(chan error, 4)
		for range 3 {
			go func() { errs <- f.rt.Pause(context.Background(), sb.ID, true) }()
		}
		synctest.Wait()
		go func() { errs <- f.rt.Pause(context.Background(), sb.ID, false) }() // Asks for something else.
		conflicts := 0
		for range 4 {
			switch err := <-errs; {
			case errors.Is(err, sandbox.ErrConflict):
				conflicts++
			case err != nil:
				t.Error(err)
			}
		}
		if conflicts != 1 || countOf(f, "stop") != 1 {
			t.Errorf("%d conflicts, paused %d times", conflicts, countOf(f, "stop"))
		}
		if err := f.rt.Pause(context.Background(), sb.ID, true); !errors.Is(err, sandbox.ErrConflict) {
			t.Errorf("a pause of a paused sandbox: %v", err)
		}
	})
}
