package claim

import (
	"context"
	"errors"
	"testing"

	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
)

// contested is a table with one claim, of which the first drops are refused.
type contested struct {
	Snapshots
	row     store.Snapshot
	refused int  // how many more are
	changed bool // whether the row has another version then
	tries   int
}

func (s *contested) Get(context.Context, string) (store.Snapshot, error) { return s.row, nil }

func (s *contested) Drop(_ context.Context, _ string, version int64) (last bool, err error) {
	if s.tries++; s.tries > 10 {
		return false, errors.New("the drop is retried without end")
	}
	if s.refused == 0 && version == s.row.Version {
		return false, nil
	}
	s.refused--
	if s.changed {
		s.row.Version++
	}
	return false, store.ErrStale
}

type nowhere struct{ vm.Runtime }

func (nowhere) Info() vm.Info { return vm.Info{} }

// A claim that others change is dropped in the end; one that is stale without a change,
// which shows a defect, is not tried for ever.
func TestADropEndsWhoeverChangesTheClaim(t *testing.T) {
	for what, c := range map[string]struct {
		table contested
		tries int
		want  error
	}{
		"it is as it was read":       {contested{}, 1, nil},
		"it was changed three times": {contested{refused: 3, changed: true}, 4, nil},
		"stale, and yet unchanged":   {contested{refused: 100}, 2, store.ErrStale},
	} {
		c.table.row = store.Snapshot{ID: "a", Version: 1}
		claims := &Claims{cfg: Config{Store: Store{Snapshots: &c.table}, Driver: nowhere{}}}
		if err := claims.Drop(t.Context(), "a"); !errors.Is(err, c.want) || c.table.tries != c.tries {
			t.Errorf("%s: %v after %d tries", what, err, c.table.tries)
		}
	}
}
