package runtime

import (
	"context"
	"errors"
	"os"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/vm"
)

// restarted returns a fixture with a snapshot that an earlier process sealed.
func restarted(t *testing.T, change func(*Config)) (*fixture, sandbox.CreateRequest) {
	t.Helper()
	f := newFixture(t)
	snap, err := f.rt.Snapshot(context.Background(), f.create(hours).ID, "", "")
	if err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	f.rt.Close()
	change(&f.cfg)
	f.open()
	req := request()
	req.Template = snap.ID
	return f, req
}

func TestAHundredCreatesReadASnapshotOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, req := restarted(t, func(c *Config) { c.Launches, c.Capacity.Sandboxes = 200, 200 })
		defer f.rt.Close()
		release := f.rt.claims.HoldReads()
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				if _, err := f.rt.Create(context.Background(), req); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait() // All wait for the one read, which waits for its turn.
		release()
		all.Wait()
		if n, _ := f.rt.claims.Reads(); n != 1 {
			t.Errorf("it was read %d times", n)
		}
	})
}

func TestNothingIsReadBeforeAdmission(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, req := restarted(t, func(c *Config) { c.Capacity.Sandboxes = 1 }) // which the source takes
		defer f.rt.Close()
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		go func() {
			_, err := f.rt.Create(ctx, req)
			done <- err
		}()
		synctest.Wait()
		if n, _ := f.rt.claims.Reads(); n != 0 {
			t.Errorf("%d snapshots were read for a request that waits for capacity", n)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func TestAReadEndsWithTheLastWhoWaitsForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, req := restarted(t, func(*Config) {})
		defer f.rt.Close()
		release := f.rt.claims.HoldReads()
		from, err := f.rt.starter.Resolve(context.Background(), req.Template)
		if err != nil {
			t.Fatal(err)
		}
		ask := func() (context.CancelFunc, chan error) {
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error, 1)
			go func() { done <- f.rt.claims.Whole(ctx, from) }()
			synctest.Wait()
			return cancel, done
		}
		leave, left := ask()
		stay, stayed := ask()
		leave()
		if err := <-left; !errors.Is(err, context.Canceled) || errors.Is(err, vm.ErrIncompatible) {
			t.Errorf("who left got %v", err)
		}
		synctest.Wait()
		if _, n := f.rt.claims.Reads(); n != 1 {
			t.Errorf("%d reads are under way while one waits", n)
		}
		stay()
		<-stayed
		synctest.Wait()
		if _, n := f.rt.claims.Reads(); n != 0 {
			t.Errorf("%d reads are under way without a waiter", n)
		}
		release()
		if err := f.rt.claims.Whole(context.Background(), from); err != nil {
			t.Errorf("later: %v", err)
		}
	})
}

// What the daemon cannot read is not damage: it may be short of descriptors.
func TestAFailureToReadIsNoProofOfDamage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, req := restarted(t, func(*Config) {})
		defer f.rt.Close()
		row := f.snap(req.Template)
		image := f.image(row.VMID, row.Snapshot)
		if err := os.Remove(image); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(image, image); err != nil { // ELOOP
			t.Fatal(err)
		}
		if err := f.rt.claims.Whole(context.Background(), claim.OfSnapshot(row)); err == nil || errors.Is(err, vm.ErrIncompatible) {
			t.Errorf("got %v", err)
		}
	})
}
