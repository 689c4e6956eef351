package live

import (
	"errors"
	"fmt"
	"maps"

	"github.com/rundlet/rundlet/sandbox"
)

// Verify checks that the roster agrees with the sandboxes. It is for a
// test, while no sandbox changes.
func (s *Set) Verify() error {
	all := s.All()
	r := s.Roster
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	if len(r.order) != len(all) {
		errs = append(errs, fmt.Errorf("%d sandboxes are on the roster, and there are %d", len(r.order), len(all)))
	}
	recorded, shown := map[sandbox.State]int{}, map[sandbox.State]int{}
	for _, sb := range all {
		row, state := sb.Row(), sb.State()
		recorded[row.State]++
		shown[state.Shown()]++
		i, ok := r.find(sandbox.Cursor{StartedAt: row.StartedAt, ID: row.ID})
		if !ok || r.order[i].recorded != row.State || r.order[i].State != state {
			errs = append(errs, fmt.Errorf("%s is %s since %v, and not so on the roster", row.ID, state, row.StartedAt))
		}
	}
	if !maps.Equal(recorded, r.recorded) || !maps.Equal(shown, r.shown) {
		errs = append(errs, fmt.Errorf("the roster counts %v, %v; want %v, %v", r.recorded, r.shown, recorded, shown))
	}
	return errors.Join(errs...)
}
