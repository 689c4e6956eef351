package gvisor

import (
	"context"
	"errors"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/internal/process/processtest"
)

// Machines that answer late are waited for while others answer, and no longer.
func TestAnAdoptionWaitsForThoseThatAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answers := map[string]time.Duration{"quick": time.Millisecond, "slow": 90 * time.Millisecond, "late": 400 * time.Millisecond, "never": time.Hour}
		var found []*adoption
		for id := range answers {
			found = append(found, &adoption{r: record{ID: id}})
		}
		began := time.Now()
		adoptAll(t.Context(), found, func(ctx context.Context, r record) (*machine, error) {
			select {
			case <-time.After(answers[r.ID]):
				return newMachine(r.ID, "key"), nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		})
		// The longest time between two answers is then that of a quiet one.
		if took := time.Since(began); took != answers["late"]+quietFactor*mostGap {
			t.Errorf("it took %v", took)
		}
		for _, a := range found {
			if (a.m != nil) != (a.r.ID != "never") || (a.err != nil) != (a.r.ID == "never") {
				t.Errorf("%s: %v, %v", a.r.ID, a.m, a.err)
			}
		}
	})
}

// A machine whose processes cannot be looked for leaves its files, by which the next Adopt finds it: an unknown one would run forever.
func TestFilesStayWhereAProcessMayLive(t *testing.T) {
	d := newDriver(t)
	ctx := testContext(t)
	before := leftovers(d)
	if err := errors.Join(d.Create(ctx, "a", guestSpec(t)), d.Start(ctx, "a")); err != nil {
		t.Fatal(err)
	}
	m := mustFind(t, d, "a")
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	processtest.WithDescriptors(t, 0, func() { clean(d.dirs, []string{m.Key}) })
	again := open(t, d.conf)
	if views, lost, err := again.Adopt(ctx); err != nil || len(lost) > 0 || len(views) != 1 {
		t.Fatalf("adopted %v, lost %q, %v", views, lost, err)
	}
	if got := run(t, again, "a", "", "/init", "write", "/small", "1"); got != "ok" {
		t.Error(got)
	}
	if err := again.Destroy(ctx, "a"); err != nil {
		t.Error(err)
	}
	if after := leftovers(again); !slices.Equal(before, after) {
		t.Errorf("before %q\nafter %q", before, after)
	}
}

// Where a record cannot be read, the processes that it names are not known: the files stay, as for Adopt.
func TestFilesStayWhereARecordCannotBeRead(t *testing.T) {
	d := newDriver(t)
	bundle, record := d.dirs.Bundle("0011"), d.dirs.Record("0011")
	if err := errors.Join(os.Mkdir(bundle, 0o700), os.Mkdir(record, 0o700)); err != nil { // A directory cannot be read.
		t.Fatal(err)
	}
	clean(d.dirs, []string{"0011"})
	if _, err := os.Stat(bundle); err != nil {
		t.Error(err)
	}
	if err := os.Remove(record); err != nil {
		t.Fatal(err)
	}
	clean(d.dirs, []string{"0011"})
	if _, err := os.Stat(bundle); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a record it is left: %v", err)
	}
}
