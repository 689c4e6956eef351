package template

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"github.com/rundlet/rundlet/runtime/background"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

func open(t *testing.T) (*Templates, *store.Store) {
	db, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return New(Config{Store: db, Size: sandbox.DefaultSize, Background: background.New(t.Context())}), db
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
	if err := db.PutTemplate(t.Context(), row); err != nil {
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
