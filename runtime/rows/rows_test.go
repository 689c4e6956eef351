package rows

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/rundlet/rundlet/runtime/live"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// table is the table of sandboxes with one row.
type table struct{ row *store.Sandbox }

func (t *table) Get(context.Context, string) (store.Sandbox, error) {
	if t.row == nil {
		return store.Sandbox{}, store.ErrNotFound
	}
	return *t.row, nil
}

func (t *table) Put(_ context.Context, row *store.Sandbox, _ ...sandbox.Event) error {
	if t.row == nil && row.Version != 0 || t.row != nil && t.row.Version != row.Version {
		return store.ErrStale
	}
	row.Version++
	now := *row
	t.row = &now
	return nil
}

func TestAKillWinsOverAnotherWriterUnlessASnapshotWouldBeLost(t *testing.T) {
	for name, tt := range map[string]struct {
		there *store.Sandbox
		want  error
	}{
		"the row is gone":            {nil, nil},
		"another state":              {&store.Sandbox{ID: "i1", Instance: "a", State: sandbox.StatePausing, Version: 7}, nil},
		"a snapshot of that writer":  {&store.Sandbox{ID: "i1", Instance: "a", State: sandbox.StatePaused, SnapshotID: "s", Version: 7}, store.ErrStale},
		"it is of another instance":  {&store.Sandbox{ID: "i1", Instance: "b", State: sandbox.StateRunning, Version: 7}, store.ErrStale},
		"it is of another node here": {&store.Sandbox{ID: "i1", Instance: "a", Node: "n2", Version: 7}, store.ErrStale},
	} {
		t.Run(name, func(t *testing.T) {
			db := &table{tt.there}
			w := Writer{Store: Store{Sandboxes: db}, Log: slog.New(slog.DiscardHandler), Here: func(row store.Sandbox) error {
				if row.Node != "" {
					return errors.New("elsewhere")
				}
				return nil
			}}
			row := store.Sandbox{ID: "i1", Instance: "a", State: sandbox.StateKilling, Version: 3}
			sb := live.New(row)
			if err := w.Put(t.Context(), sb, &row); !errors.Is(err, store.ErrStale) || sb.Row().Version != 3 {
				t.Fatalf("a write with a version that has passed: %v, version %d", err, sb.Row().Version)
			}
			err := w.PutOver(t.Context(), sb, &row)
			if !errors.Is(err, tt.want) {
				t.Fatalf("error %v, want %v", err, tt.want)
			}
			if now, _ := db.Get(t.Context(), "i1"); err == nil && (now.State != sandbox.StateKilling || sb.Row().Version != now.Version) {
				t.Errorf("the row is %+v, and the sandbox has version %d", now, sb.Row().Version)
			}
			if tt.want != nil && tt.there.State == sandbox.StateKilling {
				t.Error("it was overwritten")
			}
		})
	}
}
