package layers

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/runtime/claim"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

var errBroken = errors.New("the disk is broken")

// kept has layers, the newest first, of which some cannot be dropped.
type kept struct {
	rows  []string
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
