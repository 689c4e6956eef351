package objectives

import "testing"

// An objective that is judged in one place is not absent at the same time, and a limit that
// no figure can break judges nothing.
func TestAll(t *testing.T) {
	all := All()
	for name := range all.Absent {
		if _, ok := all.Places[name]; ok {
			t.Errorf("%s is measured and absent", name)
		}
	}
	for _, l := range all.Limits {
		if l.Max <= 0 || l.Place.Group == "" || l.Place.Row == "" {
			t.Errorf("%+v", l)
		}
	}
}
