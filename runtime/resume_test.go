package runtime

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

func TestAResumeThatFailsLeavesItPausedAndCanBeTriedAgain(t *testing.T) {
	for _, step := range []string{"acquire", "create", "init"} {
		t.Run(step, func(t *testing.T) {
			f := newFixture(t)
			sb := f.create()
			f.inside(sb.ID).Set("mark", "here")
			f.pause(sb.ID)
			f.failNext(step, 1)
			if _, _, err := f.rt.Connect(context.Background(), sb.ID, time.Minute); err == nil {
				t.Fatal("it resumed")
			}
			if row := f.row(sb.ID); row.State != "paused" || row.SnapshotID == "" {
				t.Errorf("row %+v", row)
			}
			if f.network.count() != 0 || f.rt.admission.Ledger.Active().Sandboxes != 0 {
				t.Errorf("%d slots, %+v", f.network.count(), f.rt.admission.Ledger.Active())
			}
			f.resume(sb.ID)
			if f.inside(sb.ID).Get("mark") != "here" {
				t.Error("the mark is lost")
			}
		})
	}
}

func TestManyWhoWakeASandboxShareOneResume(t *testing.T) {
	f := newFixture(t)
	sb := f.create(func(r *sandbox.CreateRequest) { r.AutoResume = true })
	f.pause(sb.ID)
	f.forgetHistory()
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if got, err := f.rt.Wake(context.Background(), sb.ID); err != nil || got.State != sandbox.StateRunning {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
	wg.Wait()
	if n := strings.Count(strings.Join(f.history(), " "), "create"); n != 1 {
		t.Errorf("%d resumes", n)
	}
	if left := time.Until(f.row(sb.ID).EndAt); left < 4*time.Minute {
		t.Errorf("it has %s", left)
	}
}

func TestTrafficDoesNotResumeWhatIsNotToBeResumedByIt(t *testing.T) {
	for _, memory := range []bool{true, false} {
		f := newFixture(t)
		sb := f.create(func(r *sandbox.CreateRequest) { r.AutoResume = !memory })
		if err := f.rt.Pause(context.Background(), sb.ID, memory); err != nil {
			t.Fatal(err)
		}
		if got, err := f.rt.Get(context.Background(), sb.ID); err != nil || got.FilesystemOnly == memory {
			t.Errorf("memory %v: %+v, %v", memory, got, err)
		}
		if _, err := f.rt.Wake(context.Background(), sb.ID); !errors.Is(err, sandbox.ErrNotRunning) {
			t.Errorf("memory %v: got %v", memory, err)
		}
		if row := f.row(sb.ID); row.State != "paused" {
			t.Errorf("memory %v: row %+v", memory, row)
		}
		if got := f.resume(sb.ID); got.FilesystemOnly {
			t.Errorf("memory %v: it runs, and is %+v", memory, got)
		}
	}
}

func TestWakeWaitsForWhatIsUnderWay(t *testing.T) {
	f := newFixture(t)
	id := f.create().ID
	sb, _ := f.rt.live.Find(id)
	become := func(s sandbox.State) { sb.Update(func(row *store.Sandbox) { row.State = s }) }
	if err := sb.Life.Lock(context.Background()); err != nil {
		t.Fatal(err)
	}
	become(sandbox.StatePausing)
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := f.rt.Wake(gone, id); !errors.Is(err, context.Canceled) {
		t.Errorf("while it is being paused: %v", err)
	}
	become(sandbox.StateRunning) // The pause failed.
	sb.Life.Unlock()
	if got, err := f.rt.Wake(context.Background(), id); err != nil || got.State != sandbox.StateRunning {
		t.Errorf("afterwards: %+v, %v", got, err)
	}
}
