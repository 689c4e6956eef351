package runtime

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/runtime/orphan"
)

func TestWhatIsSetAsideIsDeletedAfterDaysOrByCommandAndNotBefore(t *testing.T) {
	for name, c := range map[string]struct {
		wait    time.Duration
		discard bool
		gone    bool
	}{
		"before":     {orphan.Retention - time.Hour, false, false},
		"after":      {orphan.Retention, false, true},
		"by command": {time.Hour, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, ctx := newFixture(t), context.Background()
				defer func() { f.rt.Close() }()
				f.create(long)
				before := f.copyDatabase()
				b := f.belongings()
				saved := countSnapshots(f)
				f.startWith(before)
				orphans, err := f.db.Orphans.All(ctx)
				if err != nil || len(orphans) != 3 { // One machine, a pause and a snapshot.
					t.Fatalf("%+v, %v", orphans, err)
				}
				time.Sleep(c.wait)
				if c.discard {
					for _, o := range orphans {
						if err := f.db.Orphans.Discard(ctx, o.Name); err != nil {
							t.Fatal(err)
						}
					}
				}
				f.restart() // The date is that of the first start.
				f.rt.cleaner.Clean(ctx)
				want := saved
				if c.gone {
					want -= 2
				}
				if n := countSnapshots(f); n != want {
					t.Errorf("%d snapshots, want %d", n, want)
				}
				if _, ok, err := f.cfg.Driver.Get(ctx, b.running); err != nil || ok == c.gone {
					t.Errorf("the machine is there: %v, %v", ok, err)
				}
				if left, err := f.db.Orphans.All(ctx); err != nil || (len(left) == 0) != c.gone {
					t.Errorf("%+v, %v", left, err)
				}
			})
		})
	}
}
