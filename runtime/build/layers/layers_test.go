package layers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/vm"
)

var errBroken = errors.New("the disk is broken")

// kept has layers, the newest first, of which some cannot be dropped.
type kept struct {
	rows  []string
	used  []string
	stuck string
	err   error
}

func (k *kept) Find(_ context.Context, name, kind string) (store.Snapshot, error) {
	if k.err != nil {
		return store.Snapshot{}, k.err
	}
	if id, ok := strings.CutPrefix(name, "#"); ok && kind == claim.KindLayer && slices.Contains(k.rows, id) {
		return store.Snapshot{ID: id}, nil
	}
	return store.Snapshot{}, sandbox.ErrSnapshotNotFound
}

func (k *kept) Drop(_ context.Context, id string) error {
	if id == k.stuck {
		return errBroken
	}
	k.rows = slices.DeleteFunc(k.rows, func(row string) bool { return row == id })
	return nil
}

func (k *kept) UseLayer(_ context.Context, id string, now time.Time) error {
	if now.IsZero() || !slices.Contains(k.rows, id) {
		return store.ErrNotFound
	}
	k.used = append(k.used, id)
	return nil
}

func (k *kept) Page(_ context.Context, p store.Page) (all []store.Snapshot, err error) {
	for _, id := range k.rows {
		if p.Kind == claim.KindLayer {
			all = append(all, store.Snapshot{ID: id})
		}
	}
	return all, k.err
}

func TestLayersAreFoundByTheirStates(t *testing.T) {
	k := &kept{rows: []string{"a"}}
	l := Layers{Claims: k, Rows: k, Log: slog.New(slog.DiscardHandler)}
	if layer, found, err := l.Find(t.Context(), "a"); err != nil || !found || layer.ID != "a" {
		t.Errorf("%+v, %v, %v", layer, found, err)
	}
	if _, found, err := l.Find(t.Context(), "b"); err != nil || found {
		t.Errorf("one that is not there: %v, %v", found, err)
	}
	k.err = errBroken
	if _, found, err := l.Find(t.Context(), "a"); !errors.Is(err, errBroken) || found {
		t.Errorf("a broken store: %v, %v", found, err)
	}
}

func TestLayersBeyondABoundAreDropped(t *testing.T) {
	for name, c := range map[string]struct {
		keep  int
		stuck string
		err   error
		want  string
	}{
		"all but two":     {keep: 2, want: "d c"},
		"all":             {keep: 0, want: ""},
		"one stays":       {keep: 1, stuck: "b", want: "d b"},
		"not listed":      {keep: 0, err: errBroken, want: "d c b a"},
		"fewer than that": {keep: 64, want: "d c b a"},
	} {
		t.Run(name, func(t *testing.T) {
			k := &kept{rows: []string{"d", "c", "b", "a"}, stuck: c.stuck, err: c.err}
			Layers{Claims: k, Rows: k, Log: slog.New(slog.DiscardHandler)}.DropBut(t.Context(), c.keep)
			if got := strings.Join(k.rows, " "); got != c.want {
				t.Errorf("left are %q, want %q", got, c.want)
			}
		})
	}
}

func TestTheLastLayerThatCanBeRestoredIsTaken(t *testing.T) {
	damaged := &vm.Error{Kind: vm.ErrIncompatible}
	for name, c := range map[string]struct {
		states string // "-" has no layer
		fails  map[string]error
		last   int
		tried  string
		broken string
		err    error
	}{
		"none":                {states: "x - y", last: -1},
		"the last":            {states: "a b c", last: 2, tried: "c"},
		"behind others":       {states: "a x - b - y", last: 3, tried: "b"},
		"the last is damaged": {states: "a b c", fails: map[string]error{"c": damaged}, last: 1, tried: "c b", broken: "c"},
		"the last fails":      {states: "a b c", fails: map[string]error{"c": errBroken}, last: 1, tried: "c b", broken: "c"},
		"all are damaged":     {states: "a b c d", fails: map[string]error{"a": damaged, "b": damaged, "c": damaged, "d": damaged}, last: -1, tried: "d c b a", broken: "d c b a"},
		"all fail":            {states: "a b c d", fails: map[string]error{"a": errBroken, "b": errBroken, "c": errBroken, "d": errBroken}, last: -1, tried: "d c b", broken: "d c b a"},
		"the disk is full":    {states: "a b", fails: map[string]error{"b": syscall.ENOSPC}, last: -1, tried: "b", err: syscall.ENOSPC},
		"then it is full":     {states: "a b", fails: map[string]error{"b": errBroken, "a": syscall.ENOSPC}, last: -1, tried: "b a", err: syscall.ENOSPC},
	} {
		t.Run(name, func(t *testing.T) {
			k := &kept{rows: []string{"d", "c", "b", "a"}}
			l := Layers{Claims: k, Rows: k, Uses: k, Log: slog.New(slog.DiscardHandler)}
			states := strings.Fields(c.states)
			var tried, told []string
			last, broken, err := l.Last(t.Context(), len(states), func(i int) string { return strings.TrimPrefix(states[i], "-") }, func(layer store.Snapshot) error {
				tried = append(tried, layer.ID)
				return c.fails[layer.ID]
			}, func(i int, err error) {
				if !errors.Is(err, c.fails[states[i]]) {
					t.Errorf("%s failed with %v", states[i], err)
				}
				told = append(told, states[i])
			})
			ids := []string{}
			for _, layer := range broken {
				ids = append(ids, layer.ID)
			}
			if last != c.last || strings.Join(tried, " ") != c.tried || strings.Join(ids, " ") != c.broken || !errors.Is(err, c.err) {
				t.Errorf("the last is %d, %v, after %q; broken are %q", last, err, tried, ids)
			}
			if used := strings.Join(k.used, " "); last >= 0 && used != states[last] || last < 0 && used != "" {
				t.Errorf("used is %q", used)
			}
			if err == nil && len(told) != min(len(c.fails), len(tried)) {
				t.Errorf("told of %q", told)
			}
			if len(k.rows) != 4 {
				t.Errorf("left are %q", k.rows)
			}
			l.Drop(t.Context(), broken)
			if len(k.rows) != 4-len(broken) {
				t.Errorf("left are %q", k.rows)
			}
		})
	}
}

// A store that notes no use ends no build.
func TestALayerIsUsedWithoutANote(t *testing.T) {
	k := &kept{rows: []string{"a"}}
	l := Layers{Claims: k, Rows: k, Uses: noNotes{}, Log: slog.New(slog.DiscardHandler)}
	last, _, err := l.Last(t.Context(), 1, func(int) string { return "a" }, func(store.Snapshot) error { return nil }, nil)
	if last != 0 || err != nil {
		t.Errorf("%d, %v", last, err)
	}
}

type noNotes struct{}

func (noNotes) UseLayer(context.Context, string, time.Time) error { return errBroken }

func TestWhoseFaultARestoreIs(t *testing.T) {
	ended, cancel := context.WithCancelCause(t.Context())
	cancel(errBroken)
	for name, c := range map[string]struct {
		ctx  context.Context
		err  error
		want Fault
	}{
		"incompatible":            {t.Context(), &vm.Error{Kind: vm.ErrIncompatible}, OfLayer},
		"gone":                    {t.Context(), &vm.Error{Kind: vm.ErrNotFound}, OfLayer},
		"anything":                {t.Context(), fmt.Errorf("restore: %w", errBroken), Unknown},
		"no answer":               {t.Context(), sandbox.ErrNoAnswer, Unknown},
		"a start that is late":    {t.Context(), context.DeadlineExceeded, Unknown},
		"canceled":                {ended, context.Canceled, OfHost},
		"canceled, and damaged":   {ended, &vm.Error{Kind: vm.ErrIncompatible}, OfHost},
		"no capacity":             {t.Context(), &sandbox.CapacityError{Resource: "memory"}, OfHost},
		"no disk":                 {t.Context(), &vm.Error{Kind: vm.ErrIncompatible, Err: syscall.ENOSPC}, OfHost},
		"a full store":            {t.Context(), fmt.Errorf("put: %w", store.ErrFull), OfHost},
		"no descriptors":          {t.Context(), &vm.Error{Kind: vm.ErrIncompatible, Err: syscall.EMFILE}, OfHost},
		"no memory":               {t.Context(), &vm.Error{Kind: vm.ErrOutOfMemory}, OfHost},
		"the daemon shuts down":   {t.Context(), sandbox.ErrUnavailable, OfHost},
		"the driver is not there": {t.Context(), &vm.Error{Kind: vm.ErrUnavailable}, OfHost},
	} {
		if got := FaultOf(c.ctx, c.err); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
