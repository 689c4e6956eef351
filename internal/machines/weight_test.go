package machines

import (
	"context"
	"errors"
	"io/fs"
	"syscall"
	"testing"

	"github.com/rundlet/rundlet/vm"
)

func TestTheWeightOfAMachine(t *testing.T) {
	var table Table[*guest]
	m := show(t, &table, "a")
	var set []int
	answer := error(nil)
	group := func(got *guest) func(int) error {
		if got != m {
			t.Errorf("the group of %p, want that of %p", got, m)
		}
		return func(weight int) error {
			set = append(set, weight)
			return answer
		}
	}
	ended, end := context.WithCancel(t.Context())
	end()
	other := errors.New("other")
	for _, c := range []struct {
		name   string
		ctx    context.Context
		id     string
		weight int
		answer error
		want   error
	}{
		{"set", t.Context(), "a", 7, nil, nil},
		{"least", t.Context(), "a", vm.MinWeight, nil, nil},
		{"most", t.Context(), "a", vm.MaxWeight, nil, nil},
		{"too small", t.Context(), "a", vm.MinWeight - 1, nil, vm.ErrInvalid},
		{"too large", t.Context(), "a", vm.MaxWeight + 1, nil, vm.ErrInvalid},
		{"unknown", t.Context(), "b", 7, nil, vm.ErrNotFound},
		{"ended context", ended, "a", 7, nil, context.Canceled},
		{"the group is gone", t.Context(), "a", 7, &fs.PathError{Op: "open", Path: "cpu.shares", Err: syscall.ENOENT}, nil},
		{"the group goes", t.Context(), "a", 7, &fs.PathError{Op: "write", Path: "cpu.shares", Err: syscall.ENODEV}, nil},
		{"another failure", t.Context(), "a", 7, other, other},
	} {
		set, answer = nil, c.answer
		calls := 0
		if c.want == nil || c.answer != nil {
			calls = 1
		}
		if err := table.SetWeight(c.ctx, c.id, c.weight, group); !errors.Is(err, c.want) || len(set) != calls || calls == 1 && set[0] != c.weight {
			t.Errorf("%s: %v, want %v; set %v", c.name, err, c.want, set)
		}
	}
	without := func(*guest) func(int) error { return nil }
	if err := table.SetWeight(t.Context(), "a", 7, without); !errors.Is(err, vm.ErrUnsupported) {
		t.Errorf("without a group: %v", err)
	}
	table.Ended(m, "it ended")
	if err := table.SetWeight(t.Context(), "a", 7, without); err != nil {
		t.Errorf("of one that has ended: %v", err)
	}
	table.Destroyed(m)
	if err := table.SetWeight(t.Context(), "a", 7, group); !errors.Is(err, vm.ErrInvalidTransition) {
		t.Errorf("of a destroyed one: %v", err)
	}
}
