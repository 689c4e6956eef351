package runtime

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/runtime/machine"
	"github.com/rundlet/rundlet/sandbox"
)

func waking(req *sandbox.CreateRequest) {
	req.AutoResume, req.OnTimeout, req.Timeout = true, sandbox.OnTimeoutPause, time.Hour
}

func TestWhoWaitsForAGuestsAnswerHoldsNoLaunchSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := prepared(t, func(c *Config) { c.Launches = 1; c.MaxWait = time.Minute })
		defer f.rt.Close()
		snap := f.create(waking)
		if _, err := f.rt.Snapshot(context.Background(), snap.ID, "mine", ""); err != nil {
			t.Fatal(err)
		}
		paused := f.create(waking)
		f.pause(paused.ID)
		f.mute("") // Of all that are restored from now on.
		woken := make(chan error, 2)
		go func() {
			_, err := f.rt.Wake(context.Background(), paused.ID)
			woken <- err
		}()
		go func() {
			_, err := f.rt.Create(context.Background(), sandbox.CreateRequest{Template: "mine", Timeout: time.Minute, Secure: true})
			woken <- err
		}()
		time.Sleep(time.Second)
		synctest.Wait()
		if u := f.rt.admission.Ledger.Active(); u.Launches != 0 || u.Sandboxes != 3 {
			t.Errorf("two wait for answers with %+v", u)
		}
		f.unmute()
		begin := time.Now()
		f.create()
		if took := time.Since(begin); took != 0 {
			t.Errorf("a create waited %v", took)
		}
		for range 2 {
			if err := <-woken; err == nil || !strings.Contains(err.Error(), "does not answer") {
				t.Errorf("got %v", err)
			}
		}
		if took := time.Since(begin); took > machine.AnswerTimeout {
			t.Errorf("they waited %v", took)
		}
		if row := f.row(paused.ID); row.State != "paused" || row.SnapshotID == "" {
			t.Errorf("row %+v", row)
		}
	})
}

func TestTrafficDoesNotRetryAFailedResumeAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, ctx := prepared(t), context.Background()
		defer f.rt.Close()
		sb := f.create(waking)
		f.pause(sb.ID)
		f.mute(sb.ID)
		if _, err := f.rt.Wake(ctx, sb.ID); err == nil {
			t.Fatal("it answered")
		}
		for _, pause := range []time.Duration{5 * time.Second, 10 * time.Second, 20 * time.Second} {
			before := countOf(f, "create")
			time.Sleep(pause - time.Second)
			_, err := f.rt.Wake(ctx, sb.ID)
			var retry *sandbox.RetryError
			if !errors.As(err, &retry) || retry.After > time.Second || !errors.Is(err, sandbox.ErrUnavailable) {
				t.Errorf("within the pause of %v: %v", pause, err)
			}
			if n := countOf(f, "create"); n != before {
				t.Errorf("it was restored %d times more", n-before)
			}
			time.Sleep(time.Second)
			if _, err := f.rt.Wake(ctx, sb.ID); errors.As(err, &retry) || err == nil {
				t.Errorf("after the pause: %v", err)
			}
		}
		f.unmute()
		f.resume(sb.ID) // Explicitly: at any time.
		f.pause(sb.ID)
		if _, err := f.rt.Wake(ctx, sb.ID); err != nil {
			t.Errorf("after a resume that was right: %v", err)
		}
	})
}

func TestAForkWhoseClientGoesAwayEndsWhatHasNotBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := prepared(t, func(c *Config) { c.Launches = 1; c.Capacity.Sandboxes = 200 })
		defer f.rt.Close()
		sb := f.create(hours)
		f.mute("")
		ctx, cancel := context.WithCancel(context.Background())
		forked := make(chan error, 1)
		f.lookDuring("create", func() { time.Sleep(100 * time.Millisecond) })
		f.forgetHistory()
		go func() {
			_, err := f.rt.Fork(ctx, sb.ID, sandbox.ForkRequest{Count: sandbox.MaxForks, Timeout: time.Hour})
			forked <- err
		}()
		time.Sleep(time.Second)
		cancel()
		if err := <-forked; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if n := countOf(f, "create"); n > 12 {
			t.Errorf("%d were begun in a second of a hundred milliseconds each", n)
		}
		if u := f.rt.admission.Ledger.Active(); u.Sandboxes != 1 || f.network.count() != 1 {
			t.Errorf("%+v and %d slots are left", u, f.network.count())
		}
		if rows, _ := f.db.Snapshots.Claims(context.Background()); len(rows) != 0 {
			t.Errorf("claims left: %+v", rows)
		}
	})
}
