package claim

import (
	"context"
	"errors"
	"testing"

	"github.com/rundlet/rundlet/store"
)

// sealStore has one row, and counts what is sealed.
type sealStore struct {
	Snapshots
	row    store.Snapshot
	sealed []string
}

func (s *sealStore) Get(_ context.Context, idOrName string) (store.Snapshot, error) {
	if s.row.ID == idOrName || s.row.Name == idOrName {
		return s.row, nil
	}
	return store.Snapshot{}, store.ErrNotFound
}

func (s *sealStore) Seal(_ context.Context, id string, version int64, _ string) error {
	if s.row.ID != id || s.row.Version != version {
		return store.ErrStale
	}
	s.sealed = append(s.sealed, id)
	return nil
}

// A snapshot may be deleted while its digests are computed, and another be named as it was
// called. The digests are not those of the other.
func TestASealIsOfTheSnapshotThatWasRead(t *testing.T) {
	claim := store.Snapshot{ID: "a", State: store.SnapshotReady, Version: 1}
	for what, c := range map[string]struct {
		row  store.Snapshot
		want string
	}{
		"the same":               {claim, "a"},
		"its name has moved":     {store.Snapshot{ID: "a", State: store.SnapshotReady, Version: 2}, "a"},
		"another of its name":    {store.Snapshot{ID: "b", Name: "a", State: store.SnapshotReady, Version: 1}, ""},
		"another, changed since": {store.Snapshot{ID: "b", Name: "a", State: store.SnapshotReady, Version: 3}, ""},
	} {
		s := &sealStore{row: c.row}
		err := (&Claims{cfg: Config{Store: Store{Snapshots: s}}}).writeSeal(t.Context(), claim, "manifest")
		if c.want == "" {
			if !errors.Is(err, store.ErrStale) || s.sealed != nil {
				t.Errorf("%s: %v, sealed %q", what, err, s.sealed)
			}
		} else if err != nil || len(s.sealed) != 1 || s.sealed[0] != c.want {
			t.Errorf("%s: %v, sealed %q", what, err, s.sealed)
		}
	}
}
