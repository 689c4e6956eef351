package runtime

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestUserDataOutlivesAStartThatCanNeitherKeepNorPauseIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		defer func() { f.rt.Close() }()
		f.cfg.Supervision = Supervision{Heartbeat: 30 * time.Second, Hygiene: 5 * time.Minute}
		sb := f.create(hours)
		f.inside(sb.ID).Set("mark", "kept")
		slot := f.row(sb.ID).SlotID
		f.network.mu.Lock()
		delete(f.network.leased, slot)
		f.network.mu.Unlock()
		f.failNext("snapshot", 1<<30) // As on a full disk.
		f.restart()
		time.Sleep(time.Hour)
		if row := f.row(sb.ID); row.State == "killed" || row.QuarantinedAt.IsZero() {
			t.Fatalf("it is %s: %s", row.State, row.Reason)
		}
		if counts, err := f.rt.Orphans(context.Background()); err != nil || counts["sandbox"] != 1 {
			t.Errorf("%v, %v", counts, err)
		}
		f.failNext("snapshot", 0)
		time.Sleep(time.Minute)
		synctest.Wait()
		if row := f.row(sb.ID); row.State != "paused" || !row.QuarantinedAt.IsZero() || row.Reason != "" {
			t.Fatalf("it is %s: %s", row.State, row.Reason)
		}
		f.resume(sb.ID)
		if got := f.inside(sb.ID).Get("mark"); got != "kept" {
			t.Errorf("its memory says %q", got)
		}
	})
}
