package runtime

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/policy/egress"
	"github.com/rundlet/rundlet/runtime/recovery"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
)

func TestARestartKeepsWhatRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		sb := f.create()
		f.restart()
		defer f.rt.Close()
		got, err := f.rt.Get(context.Background(), sb.ID)
		if err != nil || !got.EndAt.Equal(sb.EndAt.Truncate(time.Microsecond)) || got.State != sandbox.StateRunning {
			t.Fatalf("got %+v, %v", got, err)
		}
		if n := f.rt.admission.Ledger.Active().Sandboxes; n != 1 {
			t.Errorf("%d reserved", n)
		}
		time.Sleep(61 * time.Second) // its timeout is still in force
		synctest.Wait()
		f.wantNothingLeft()
	})
}

func TestARestartAccountsForEverything(t *testing.T) {
	ctx := context.Background()
	for _, tc := range []struct {
		name   string
		damage func(f *fixture, sb sandbox.Sandbox)
		reason string
	}{
		{"machine died", func(f *fixture, sb sandbox.Sandbox) { guest(f, sb.ID).Exit("signal: killed") }, "lost: "},
		{"agent does not answer", func(f *fixture, _ sandbox.Sandbox) { f.failNext("health", 1) }, "lost: its agent"},
		{"ended while creating", func(f *fixture, sb sandbox.Sandbox) { setState(f, sb.ID, "creating") }, "lost: its creation was not finished"},
		{"ended while killing", func(f *fixture, sb sandbox.Sandbox) {
			row := f.row(sb.ID)
			row.State, row.Reason = "killing", "killed by request"
			f.db.Sandboxes.Put(ctx, &row)
		}, "killed by request"},
		{"timeout passed meanwhile", func(f *fixture, sb sandbox.Sandbox) {
			row := f.row(sb.ID)
			row.EndAt = time.Now().Add(-time.Second)
			f.db.Sandboxes.Put(ctx, &row)
		}, "timeout"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFixture(t)
			sb := f.create()
			f.rt.Close()
			tc.damage(f, sb)
			f.open()
			if _, err := f.rt.Get(ctx, sb.ID); !errors.Is(err, sandbox.ErrNotFound) {
				t.Errorf("get: %v", err)
			}
			if row := f.row(sb.ID); row.State != "killed" || !strings.HasPrefix(row.Reason, tc.reason) {
				t.Errorf("row %+v", row)
			}
			f.wantNothingLeft()
		})
	}
}

func TestARestartOnABusyMachineKeepsWhatAnswersLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		sb := f.create(long)
		f.rt.Close()
		f.lookDuring("health", func() { time.Sleep(2 * recovery.ProbeTimeout) })
		f.open()
		defer f.rt.Close()
		time.Sleep(2 * recovery.ProbeTimeout) // until the answer has come
		synctest.Wait()
		if row := f.row(sb.ID); row.State != "running" {
			t.Errorf("row %+v", row)
		}
	})
}

func setState(f *fixture, id string, state sandbox.State) {
	row := f.row(id)
	row.State = state
	if err := f.db.Sandboxes.Put(context.Background(), &row); err != nil {
		f.t.Fatal(err)
	}
}

func TestARestartEndsWhatBelongsToNoSandbox(t *testing.T) {
	f := newFixture(t)
	if err := f.rt.machines.Mark("stray"); err != nil {
		t.Fatal(err)
	}
	if err := f.cfg.Driver.Create(context.Background(), "stray", vm.Spec{Rootfs: "/base"}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.network.Acquire(context.Background(), egress.Everything); err != nil {
		t.Fatal(err)
	}
	f.restart()
	f.wantNothingLeft()
}

func TestOtherInstancesAreLeftAlone(t *testing.T) {
	f := newFixture(t)
	other := store.Sandbox{ID: "iother", Instance: "elsewhere", State: "running", EndAt: time.Now()}
	if err := f.db.Sandboxes.Put(context.Background(), &other); err != nil {
		t.Fatal(err)
	}
	f.restart()
	if row := f.row("iother"); row.State != "running" {
		t.Errorf("row %+v", row)
	}
}
