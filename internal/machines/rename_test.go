package machines

import (
	"context"
	"errors"
	"testing"

	"github.com/rundlet/rundlet/vm"
)

func TestAMachineIsRenamed(t *testing.T) {
	var table Table[*guest]
	m := show(t, &table, "a")
	show(t, &table, "taken")
	failed := errors.New("failed")
	rename := func(from, to string, result error) (called bool, err error) {
		err = table.Rename(t.Context(), from, to, func(got *guest) error {
			called = true
			if got != m || got.ID() != "a" {
				t.Errorf("rename %s to %s is given %s", from, to, got.ID())
			}
			if _, ok := table.View(to); ok {
				t.Errorf("%s is shown before it is renamed", to)
			}
			return result
		})
		return called, err
	}
	for name, c := range map[string]struct {
		from, to     string
		result, want error
		called       bool
	}{
		"one that fails":    {"a", "b", failed, failed, true},
		"to a machine's id": {"a", "taken", nil, vm.ErrAlreadyExists, false},
		"of no machine":     {"none", "b", nil, vm.ErrNotFound, false},
		"to a bad id":       {"a", "../b", nil, vm.ErrInvalid, false},
		"to its own id":     {"a", "a", nil, nil, false},
	} {
		called, err := rename(c.from, c.to, c.result)
		var e *vm.Error
		if called != c.called || !errors.Is(err, c.want) || err != nil && (!errors.As(err, &e) || e.Op != "rename" || e.ID != c.from) {
			t.Errorf("%s: called %v, %v", name, called, err)
		}
		state(t, &table, name, "a", vm.StatusRunning, "")
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if err := m.Turn.Lock(t.Context(), "save"); err != nil {
		t.Fatal(err)
	}
	if err := table.Rename(ended, "a", "b", func(*guest) error { t.Error("it was called"); return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("without a turn: %v", err)
	}
	m.Turn.Unlock()
	if called, err := rename("a", "b", nil); !called || err != nil {
		t.Fatalf("called %v, %v", called, err)
	}
	state(t, &table, "renamed", "b", vm.StatusRunning, "")
	if _, err := table.Find("stop", "a"); !errors.Is(err, vm.ErrNotFound) {
		t.Errorf("the old id: %v", err)
	}
	table.BeginDestroy(m)
	table.Destroyed(m)
	if err := table.Rename(t.Context(), "b", "c", func(*guest) error { t.Error("it was called"); return nil }); !errors.Is(err, vm.ErrInvalidTransition) {
		t.Errorf("destroyed: %v", err)
	}
}
