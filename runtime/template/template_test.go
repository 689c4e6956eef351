package template

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/rundlet/rundlet/runtime/background"
	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
)

func open(t *testing.T) (*Templates, *store.Store) {
	db, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	tables := Store{Templates: db.Templates, Garbage: db.Garbage, Sandboxes: db.Sandboxes, Orphans: db.Orphans, Specs: db.Specs}
	return New(Config{Store: tables, Size: sandbox.DefaultSize, Background: background.New(t.Context()), Log: slog.New(slog.DiscardHandler)}), db
}

func TestTheBaseIsListedBeforeItIsBuilt(t *testing.T) {
	templates, db := open(t)
	for _, name := range []string{"base", "base:default"} {
		got, err := templates.Get(t.Context(), name)
		if err != nil || got.ID != BaseAlias || got.MemoryMiB != sandbox.DefaultSize.MemoryMiB || got.BuildID != "" {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if _, err := templates.Get(t.Context(), "other"); !errors.Is(err, sandbox.ErrTemplateNotFound) {
		t.Errorf("another: %v", err)
	}
	row := store.Template{ID: "t1", Alias: BaseAlias, BuildID: "b1", Spec: []byte("{}"), VCPUs: 1, MemoryMiB: 64}
	if err := db.Templates.Put(t.Context(), &row); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"base", "t1"} {
		if got, err := templates.Get(t.Context(), name); err != nil || got.ID != "t1" || got.MemoryMiB != 64 {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if all, err := templates.List(t.Context()); err != nil || len(all) != 1 {
		t.Errorf("%+v, %v", all, err)
	}
}

func TestNothingIsBuiltWhenTheDaemonCloses(t *testing.T) {
	templates, _ := open(t)
	templates.cfg.Lock = func(context.Context) (func(), error) {
		t.Error("a build began")
		return nil, errors.New("no")
	}
	templates.cfg.Background.Stop()
	if err := templates.Prepare(t.Context()); !errors.Is(err, sandbox.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}

// A base that cannot be restored is marked once, and never in place of the one that
// a build, here or in another process, stored in the meantime.
func TestOnlyTheBaseThatCannotBeRestoredIsMarked(t *testing.T) {
	for name, tt := range map[string]struct {
		stored bool // by another, which has the lock until then
		want   store.Template
	}{
		"no build in progress":         {false, store.Template{BuildID: "b1", VMID: "v1", Version: 2}},
		"a build in progress succeeds": {true, store.Template{BuildID: "b2", VMID: "v2", Stamp: "s2", Version: 2}},
	} {
		t.Run(name, func(t *testing.T) {
			templates, db := open(t)
			row := store.Template{ID: "t1", Alias: BaseAlias, BuildID: "b1", VMID: "v1", Stamp: "s1", Spec: []byte("{}")}
			if err := db.Templates.Put(t.Context(), &row); err != nil {
				t.Fatal(err)
			}
			from, locked := claim.OfTemplate(row), 0
			templates.cfg.Lock = func(ctx context.Context) (func(), error) {
				locked++
				if !tt.stored {
					return func() {}, nil
				}
				next := row
				next.BuildID, next.VMID, next.Stamp = "b2", "v2", "s2"
				return func() {}, db.Templates.Put(ctx, &next)
			}
			for range 2 {
				if !templates.Stale(t.Context(), from, vm.ErrNotFound) {
					t.Error("the create is not repeated")
				}
			}
			got, _, err := templates.Stored(t.Context())
			if err != nil || locked != 1 || got.BuildID != tt.want.BuildID || got.VMID != tt.want.VMID || got.Stamp != tt.want.Stamp || got.Version != tt.want.Version {
				t.Errorf("locked %d times; %+v, %v; want %+v", locked, got, err, tt.want)
			}
		})
	}
}

// A change of what is kept warm may come when the pool has the base already, and its preparation has not ended: it is given again.
func TestTheBaseIsKeptHoweverLateThatIsSaid(t *testing.T) {
	templates, _ := open(t)
	kept := make(chan string, 3)
	b := &build{done: make(chan struct{}), tpl: store.Template{ID: "t1", BuildID: "b1"}}
	templates.building = b
	templates.cfg.Keep = func(from claim.Origin) { kept <- from.BuildID }
	templates.KeepBase()
	close(b.done)
	if got := <-kept; got != "b1" {
		t.Errorf("kept %s", got)
	}
	templates.building = &build{done: b.done, tpl: store.Template{ID: "t1", BuildID: "b2"}}
	templates.keep(b) // It comes late.
	templates.KeepBase()
	if got := <-kept; got != "b2" {
		t.Errorf("kept %s after another build", got)
	}
}

// What the base is made of is held for the build alone, not as long as the daemon runs.
func TestABuildLetsItsImageGo(t *testing.T) {
	templates, _ := open(t)
	var held context.Context
	broken := errors.New("broken")
	templates.cfg.Lock = func(context.Context) (func(), error) { return func() {}, nil }
	templates.cfg.Base = func(ctx context.Context) (Image, error) {
		held = ctx
		return Image{}, broken
	}
	if err := templates.Prepare(t.Context()); !errors.Is(err, broken) || held.Err() == nil {
		t.Errorf("%v; held: %v", err, held.Err())
	}
}

// While an image is pulled, others can have the lock.
func TestAPullOfAnImageHoldsNoLock(t *testing.T) {
	for _, unlocked := range []bool{true, false} {
		templates, _ := open(t)
		locked, broken := false, errors.New("broken")
		templates.cfg.BaseUnlocked = unlocked
		templates.cfg.Lock = func(context.Context) (func(), error) {
			locked = true
			return func() { locked = false }, nil
		}
		templates.cfg.Base = func(context.Context) (Image, error) {
			if locked == unlocked {
				t.Errorf("unlocked %v: locked: %v", unlocked, locked)
			}
			return Image{}, broken
		}
		if err := templates.Prepare(t.Context()); !errors.Is(err, broken) || locked {
			t.Errorf("unlocked %v: %v, locked: %v", unlocked, err, locked)
		}
		calls := 0
		templates.cfg.Base = func(context.Context) (Image, error) {
			calls++
			return Image{Stamp: "v1"}, nil
		}
		img, unlock, err := templates.image(t.Context())
		if err != nil || img.Stamp != "v1" || calls != 1 || !locked {
			t.Errorf("unlocked %v: %+v after %d calls, %v; locked: %v", unlocked, img, calls, err, locked)
		}
		if unlock(); locked {
			t.Errorf("unlocked %v: the lock is held", unlocked)
		}
	}
}
