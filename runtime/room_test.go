package runtime

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/policy/disk"
	"github.com/rundlet/rundlet/policy/warmpool"
	"github.com/rundlet/rundlet/runtime/pool"
	"github.com/rundlet/rundlet/runtime/save"
	"github.com/rundlet/rundlet/sandbox"
)

// fakeDisk says how much is free; a negative figure is a disk that cannot be
// asked.
type fakeDisk struct{ free atomic.Int64 }

var errNoDisk = errors.New("the disk does not answer")

func (d *fakeDisk) FreeBytes(root string) (int64, error) {
	if root != "/state" {
		return 0, errors.New("asked about " + root)
	}
	if free := d.free.Load(); free >= 0 {
		return free, nil
	}
	return 0, errNoDisk
}

// floors are all different, so that an entry that asks for another's is seen.
var floors = disk.Floors{Restore: 100, Save: 200, Build: 300, WarmPool: 400}

const plenty = 1000

// entry is a way to begin work that needs room on the disk.
type entry struct {
	name  string
	floor int64
	// ready makes what the entry needs, and work begins it.
	ready func(f *fixture) string
	work  func(f *fixture, id string) error
}

func (f *fixture) paused(change ...func(*sandbox.CreateRequest)) string {
	id := f.create(change...).ID
	f.pause(id)
	return id
}

func entries() []entry {
	ctx := context.Background()
	nothing := func(*fixture) string { return "" }
	running := func(f *fixture) string { return f.create(long).ID }
	from := func(f *fixture, template string) error {
		req := request()
		req.Template = template
		_, err := f.rt.Create(ctx, req)
		return err
	}
	return []entry{
		{"create", floors.Restore, nothing, func(f *fixture, _ string) error { return from(f, "base") }},
		{"create from a snapshot", floors.Restore, func(f *fixture) string {
			snap, err := f.rt.Snapshot(ctx, running(f), "", "")
			if err != nil {
				f.t.Fatal(err)
			}
			return snap.ID
		}, from},
		{"follow-up", floors.Restore, func(f *fixture) string {
			c, err := f.rt.Capture(ctx, running(f), sandbox.ReasonIdle, "")
			if err != nil {
				f.t.Fatal(err)
			}
			return c.ID
		}, func(f *fixture, id string) error { _, err := f.rt.FollowUp(ctx, id, request()); return err }},
		{"fork of what is saved", floors.Restore, func(f *fixture) string { return f.paused() }, func(f *fixture, id string) error {
			results, err := f.rt.Fork(ctx, id, sandbox.ForkRequest{Count: 1, Timeout: time.Minute})
			if err != nil {
				return err
			}
			return results[0].Err
		}},
		{"resume", floors.Restore, func(f *fixture) string { return f.paused() }, func(f *fixture, id string) error {
			_, _, err := f.rt.Connect(ctx, id, time.Minute)
			return err
		}},
		{"resume by traffic", floors.Restore, func(f *fixture) string {
			return f.paused(func(r *sandbox.CreateRequest) { r.AutoResume = true })
		}, func(f *fixture, id string) error { _, err := f.rt.Wake(ctx, id); return err }},
		{"pause", floors.Save, running, func(f *fixture, id string) error { return f.rt.Pause(ctx, id, true) }},
		{"pause of the files", floors.Save, running, func(f *fixture, id string) error { return f.rt.Pause(ctx, id, false) }},
		{"snapshot", floors.Save, running, func(f *fixture, id string) error { _, err := f.rt.Snapshot(ctx, id, "", ""); return err }},
		{"fork", floors.Save, running, func(f *fixture, id string) error {
			_, err := f.rt.Fork(ctx, id, sandbox.ForkRequest{Count: 2, Timeout: time.Minute})
			return err
		}},
		{"continuation", floors.Save, running, func(f *fixture, id string) error {
			_, err := f.rt.Capture(ctx, id, sandbox.ReasonExited, "")
			return err
		}},
		{"template build", floors.Build, func(f *fixture) string {
			f.setStamp("of a changed host")
			f.restart()
			return ""
		}, func(f *fixture, _ string) error { return f.rt.Prepare(ctx) }},
	}
}

// onDisk has a base, and a disk with much room.
func onDisk(t *testing.T) (*fixture, *fakeDisk) {
	d := &fakeDisk{}
	d.free.Store(plenty)
	return prepared(t, func(c *Config) { c.Disk, c.DiskRoot, c.Floors = d, "/state", floors }), d
}

// work are the events that change machines, networks or snapshots.
func (f *fixture) work() []string {
	changes := []string{"acquire", "release", "set egress", "create", "start", "stop", "destroy", "snapshot", "snapshot files", "delete snapshot", "init"}
	return slices.DeleteFunc(f.history(), func(e string) bool { return !slices.Contains(changes, e) })
}

func TestTheDiskFloorIsCheckedBeforeAnyMachineOrSnapshotWorkAtEveryEntry(t *testing.T) {
	for _, e := range entries() {
		for _, c := range []struct {
			name string
			free int64
			want error
		}{
			{"a byte too few", e.floor - 1, sandbox.ErrDiskFull},
			{"unknown", -1, sandbox.ErrUnavailable},
			{"exactly enough", e.floor, nil},
		} {
			t.Run(e.name+"/"+c.name, func(t *testing.T) {
				f, d := onDisk(t)
				id := e.ready(f)
				rows, _ := f.db.Sandboxes.Live(context.Background(), "test")
				snapshots, used := countSnapshots(f), f.rt.admission.Ledger.Usage()
				f.forgetHistory()
				d.free.Store(c.free)
				if err := e.work(f, id); !errors.Is(err, c.want) {
					t.Fatalf("got %v, want %v", err, c.want)
				}
				if c.want == nil {
					if len(f.work()) == 0 {
						t.Error("it did nothing")
					}
					return
				}
				if did := f.work(); len(did) != 0 {
					t.Errorf("it did %v", did)
				}
				if f.rt.admission.Ledger.Usage() != used || countSnapshots(f) != snapshots {
					t.Errorf("before %+v, after %+v; %v", used, f.rt.admission.Ledger.Usage(), f.host.Objects())
				}
				after, _ := f.db.Sandboxes.Live(context.Background(), "test")
				if len(after) != len(rows) || len(rows) > 0 && after[0].State != rows[0].State {
					t.Errorf("before %+v, after %+v", rows, after)
				}
			})
		}
	}
}

func TestTheDiskFloorStopsTheRefillOfTheWarmPoolAndEqualityPasses(t *testing.T) {
	for free, want := range map[int64]int{floors.WarmPool - 1: 0, -1: 0, floors.WarmPool: 2} {
		synctest.Test(t, func(t *testing.T) {
			f, d := onDisk(t)
			log := &logged{}
			f.cfg.Log = slog.New(log)
			f.cfg.Warm = pool.Target{Ready: 1, Prepared: 1}
			f.restart()
			defer f.rt.Close()
			d.free.Store(free)
			if err := f.rt.Prepare(context.Background()); err != nil {
				t.Fatal(err)
			}
			f.forgetHistory()
			time.Sleep(3 * warmpool.RefillInterval)
			synctest.Wait()
			if got := f.pooled(); got[0]+got[1] != want {
				t.Errorf("%d free: pooled %v", free, got)
			}
			if want == 0 && (len(f.work()) != 0 || f.rt.admission.Ledger.Usage().Warm.Sandboxes != 0) {
				t.Errorf("%d free: it did %v", free, f.work())
			}
			if n := len(log.saying("no capacity to refill")); n != min(2-want, 1) {
				t.Errorf("%d free: logged %d times: %q", free, n, log.saying())
			}
			d.free.Store(plenty)
			time.Sleep(warmpool.RefillInterval)
			synctest.Wait()
			if got := f.pooled(); got != [2]int{1, 1} {
				t.Errorf("room again: pooled %v", got)
			}
		})
	}
}

// A sandbox that is to be paused at its timeout is not killed for want of room.
func TestATimeoutWithoutRoomForAPauseIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, d := onDisk(t)
		defer f.rt.Close()
		id := f.create(func(r *sandbox.CreateRequest) { r.OnTimeout = sandbox.OnTimeoutPause }).ID
		f.forgetHistory()
		d.free.Store(floors.Save - 1)
		time.Sleep(61 * time.Second)
		synctest.Wait()
		if row := f.row(id); row.State != "running" || len(f.work()) != 0 {
			t.Errorf("row %+v, did %v", row, f.work())
		}
		d.free.Store(floors.Save)
		time.Sleep(save.ExpireRetry)
		synctest.Wait()
		if row := f.row(id); row.State != "paused" {
			t.Errorf("row %+v", row)
		}
	})
}

func TestATimeoutThatPassedWhileTheDaemonWasAwayPausesAsAskedAndIsTriedAgain(t *testing.T) {
	for _, how := range []sandbox.OnTimeout{sandbox.OnTimeoutPause, sandbox.OnTimeoutPauseFilesystem} {
		synctest.Test(t, func(t *testing.T) {
			f, d := onDisk(t)
			id := f.create(func(r *sandbox.CreateRequest) { r.OnTimeout = how }).ID
			f.rt.Close()
			time.Sleep(2 * time.Minute)
			d.free.Store(floors.Save - 1)
			f.open()
			defer f.rt.Close()
			synctest.Wait()
			if row := f.row(id); row.State != "running" {
				t.Errorf("row %+v", row)
			}
			d.free.Store(floors.Save)
			f.forgetHistory()
			time.Sleep(save.ExpireRetry)
			synctest.Wait()
			if row := f.row(id); row.State != "paused" || row.FilesystemOnly != (how == sandbox.OnTimeoutPauseFilesystem) {
				t.Errorf("row %+v", row)
			}
		})
	}
}
