package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/runtime/pool"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// flip inverts one bit of a file, anywhere in it. It returns when the file
// system shows the change: times of a file can have a resolution of some
// milliseconds.
func flip(t *testing.T, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	data[rand.IntN(len(data))] ^= 1 << rand.IntN(8)
	for {
		// In place: another inode would be seen by that alone.
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt(data, 0); err != nil {
			t.Fatal(err)
		}
		f.Close()
		if now, err := os.Stat(path); err != nil || !now.ModTime().Equal(before.ModTime()) {
			return
		}
	}
}

func (f *fixture) image(vmID, name string) string { return filepath.Join(f.files, vmID+"-"+name) }

func (f *fixture) snap(id string) store.Snapshot {
	f.t.Helper()
	row, err := f.db.Snapshots.Get(context.Background(), id)
	if err != nil {
		f.t.Fatal(err)
	}
	return row
}

func (f *fixture) template() store.Template {
	f.t.Helper()
	rows, err := f.db.Templates.All(context.Background())
	if err != nil || len(rows) != 1 {
		f.t.Fatal(rows, err)
	}
	return rows[0]
}

// What is restored is what was saved: a flipped bit is found by the process that
// saved it, before its digests are known and after, and however the files are used.
func TestASnapshotIsWhatWasSaved(t *testing.T) {
	restores := map[string]func(f *fixture, sb sandbox.Sandbox) (snap string, restore func() error){
		"pause": func(f *fixture, sb sandbox.Sandbox) (string, func() error) {
			f.pause(sb.ID)
			return f.row(sb.ID).SnapshotID, func() error {
				_, _, err := f.rt.Connect(context.Background(), sb.ID, time.Minute)
				return err
			}
		},
		"snapshot": func(f *fixture, sb sandbox.Sandbox) (string, func() error) {
			snap, err := f.rt.Snapshot(context.Background(), sb.ID, "", "")
			if err != nil {
				f.t.Fatal(err)
			}
			return snap.ID, func() error {
				req := request()
				req.Template = snap.ID
				_, err := f.rt.Create(context.Background(), req)
				return err
			}
		},
		"snapshot of what is paused": func(f *fixture, sb sandbox.Sandbox) (string, func() error) {
			f.pause(sb.ID)
			snap, err := f.rt.Snapshot(context.Background(), sb.ID, "", "")
			if err != nil {
				f.t.Fatal(err)
			}
			return snap.ID, func() error {
				req := request()
				req.Template = snap.ID
				_, err := f.rt.Create(context.Background(), req)
				return err
			}
		},
		"continuation": func(f *fixture, sb sandbox.Sandbox) (string, func() error) {
			c, err := f.rt.Capture(context.Background(), sb.ID, sandbox.ReasonIdle, "")
			if err != nil {
				f.t.Fatal(err)
			}
			return c.ID, func() error {
				_, err := f.rt.FollowUp(context.Background(), c.ID, request())
				return err
			}
		},
	}
	for name, make := range restores {
		for _, sealed := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, sealed %v", name, sealed), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := newFixture(t)
					var text strings.Builder
					f.cfg.Log = slog.New(slog.NewTextHandler(&text, nil))
					f.restart()
					if !sealed {
						f.rt.claims.HoldSeals() // Its seal waits.
					}
					id, restore := make(f, f.create(hours))
					synctest.Wait()
					row := f.snap(id)
					if (row.Manifest != "") != sealed {
						t.Fatalf("its manifest is %q", row.Manifest)
					}
					image := f.image(row.VMID, row.Snapshot)
					good, err := os.ReadFile(image)
					if err != nil {
						t.Fatal(err)
					}
					flip(t, image)
					f.forgetHistory()
					for range 2 {
						if err := restore(); !errors.Is(err, sandbox.ErrNotRestorable) || !strings.Contains(err.Error(), "pages.img") {
							t.Errorf("restored from a flipped bit: %v", err)
						}
					}
					if h := f.history(); len(h) != 0 {
						t.Errorf("it did %v", h)
					}
					if n := strings.Count(text.String(), "kept, but cannot be restored"); n != 1 {
						t.Errorf("it was logged %d times:\n%s", n, text.String())
					}
					if row := f.snap(id); row.State != store.SnapshotReady {
						t.Errorf("the snapshot is %+v", row)
					}
					if sealed { // What was wrong may be the disk's, and pass.
						if err := os.WriteFile(image, good, 0o600); err != nil {
							t.Fatal(err)
						}
						if err := restore(); err != nil {
							t.Errorf("whole again: %v", err)
						}
					}
				})
			})
		}
	}
}

func TestADamagedSnapshotIsNotSealed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		sb := f.create(hours)
		release := f.rt.claims.HoldSeals()
		f.pause(sb.ID)
		row := f.snap(f.row(sb.ID).SnapshotID)
		flip(t, f.image(row.VMID, row.Snapshot))
		release()
		synctest.Wait()
		if row := f.snap(row.ID); row.Manifest != "" {
			t.Errorf("sealed as %s", row.Manifest)
		}
	})
}

// A file that changes while it is restored is found after the restore.
func TestAChangeDuringTheRestoreIsFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		sb := f.create(hours)
		f.pause(sb.ID)
		synctest.Wait()
		row := f.snap(f.row(sb.ID).SnapshotID)
		f.lookDuring("create", sync.OnceFunc(func() { flip(t, f.image(row.VMID, row.Snapshot)) }))
		if _, _, err := f.rt.Connect(context.Background(), sb.ID, time.Minute); !errors.Is(err, sandbox.ErrNotRestorable) {
			t.Errorf("got %v", err)
		}
		if row := f.row(sb.ID); row.State != sandbox.StatePaused {
			t.Errorf("row %+v", row)
		}
	})
}

func TestADamagedTemplateIsMadeAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.create(hours)
		before := f.template()
		if before.Manifest == "" {
			t.Fatal("the template has no manifest")
		}
		flip(t, f.image(before.VMID, before.Snapshot))
		f.create(hours)
		if n := countOf(f, "snapshot"); n != 2 {
			t.Errorf("it was built %d times", n)
		}
		if after := f.template(); after.BuildID == before.BuildID || after.Manifest == "" {
			t.Errorf("template %+v", after)
		}
	})
}

func TestADamagedTemplateIsMadeAnewForThePool(t *testing.T) {
	warmed(t, pool.Target{Ready: 1, Prepared: 1}, func(t *testing.T, f *fixture) {
		before := f.template()
		flip(t, f.image(before.VMID, before.Snapshot))
		f.create(hours) // takes the ready one, so that the prepared one is loaded
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if got := f.pooled(); got != [2]int{1, 1} {
			t.Errorf("the pool holds %v", got)
		}
		if after := f.template(); after.BuildID == before.BuildID {
			t.Error("the template was not built anew")
		}
	})
}

// A template of an earlier version has no manifest.
func TestATemplateWithoutAManifestGetsOne(t *testing.T) {
	f := newFixture(t)
	f.create()
	tpl := f.template()
	tpl.Manifest = ""
	if err := f.db.Templates.Put(context.Background(), &tpl); err != nil {
		t.Fatal(err)
	}
	f.restart()
	f.create()
	if got := f.template(); got.Manifest == "" || got.BuildID != tpl.BuildID {
		t.Errorf("template %+v", got)
	}
}
