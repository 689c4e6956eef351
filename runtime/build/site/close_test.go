package site

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/policy/latency"
	"github.com/rundlet/rundlet/runtime/machine"
	"github.com/rundlet/rundlet/runtime/orphan"
	"github.com/rundlet/rundlet/runtime/step"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/memvm"
)

var errBroken = errors.New("broken")

// house has the machine and the slots of a site. It records what is taken down, with whether the machine has its mark then, and fails
// some of it, once each.
type house struct {
	*memvm.Driver
	machines *machine.Machines
	id       string
	fails    []string
	events   []string
	t        *testing.T
}

func (h *house) happens(ctx context.Context, what string) error {
	if h.machines.Marked(h.id) {
		what += " (marked)"
	}
	if ctx.Err() != nil {
		h.t.Errorf("%s with a context that has ended", what)
	}
	if i := slices.IndexFunc(h.fails, func(f string) bool { return strings.HasPrefix(what, f) }); i >= 0 {
		h.fails = slices.Delete(h.fails, i, i+1)
		h.events = append(h.events, what+" fails")
		return errBroken
	}
	h.events = append(h.events, what)
	return nil
}

func (h *house) Destroy(ctx context.Context, id string) error {
	if err := h.happens(ctx, "destroy"); err != nil {
		return err
	}
	return h.Driver.Destroy(ctx, id)
}

// network has the slots of a house.
type network struct {
	machine.Network
	h *house
}

func (n network) Release(ctx context.Context, slot string) error {
	return n.h.happens(ctx, "release "+slot)
}

// A machine is destroyed before its slot is another's, and its mark stays until it is: after a crash in between, the next process finds
// it. The capacity is given back last. What failed is done again, and what is done is not.
func TestASiteIsTakenDownInOrder(t *testing.T) {
	for name, c := range map[string]struct {
		fails []string
		want  string
	}{
		"at once":            {nil, "destroy (marked), release a, release b, free 1, free 2"},
		"destroy fails":      {[]string{"destroy", "destroy"}, "destroy (marked) fails, destroy (marked) fails, destroy (marked), release a, release b, free 1, free 2"},
		"a slot stays":       {[]string{"release a"}, "destroy (marked), release a fails, release a, release b, free 1, free 2"},
		"another slot stays": {[]string{"release b"}, "destroy (marked), release a, release b fails, release b, free 1, free 2"},
		"each fails": {[]string{"destroy", "release a", "release b"},
			"destroy (marked) fails, destroy (marked), release a fails, release a, release b fails, release b, free 1, free 2"},
	} {
		t.Run(name, func(t *testing.T) {
			h := &house{Driver: memvm.New(memvm.Options{Host: memvm.NewHost()}), fails: c.fails, t: t}
			log := slog.New(slog.DiscardHandler)
			var err error
			if h.machines, err = machine.New(machine.Config{Driver: h, Network: network{h: h}, Steps: &step.Recorder{Latency: &latency.Recorder{}}, ScratchDir: t.TempDir(), Log: log}); err != nil {
				t.Fatal(err)
			}
			s := New(Config{Driver: h, Network: network{h: h}, Machines: h.machines, InUse: &orphan.InUse{}, Log: log}, Plan{Size: sandbox.DefaultSize})
			h.id = s.guest.ID
			if err := errors.Join(h.machines.Mark(h.id), h.Create(t.Context(), h.id, vm.Spec{Rootfs: "/r", Args: []string{"/agent"}})); err != nil {
				t.Fatal(err)
			}
			s.marked = true
			s.slotted("a")
			s.slotted("b")
			held := map[string]bool{}
			if s.cfg.InUse.Add(held); !held["a"] || !held["b"] {
				t.Errorf("in use are %v", held)
			}
			for n := range 2 {
				s.freed = append(s.freed, func() { h.events = append(h.events, fmt.Sprint("free ", n+1)) })
			}
			ended, cancel := context.WithCancelCause(t.Context())
			cancel(nil) // As that of a build that was broken off.
			for range len(c.fails) {
				if err := s.Close(ended); !errors.Is(err, errBroken) {
					t.Errorf("error %v", err)
				}
			}
			for range 2 { // Once more does nothing.
				if err := s.Close(ended); err != nil {
					t.Error(err)
				}
			}
			if got := strings.Join(h.events, ", "); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			clear(held)
			s.cfg.InUse.Add(held)
			if all, err := h.List(t.Context()); err != nil || len(all) != 0 || len(held) != 0 || h.machines.Marked(h.id) {
				t.Errorf("left are %v, %v; in use %v", all, err, held)
			}
		})
	}
}
