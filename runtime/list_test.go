package runtime

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/rundlet/rundlet/runtime/live"
	"github.com/rundlet/rundlet/runtime/template"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// known puts sandboxes into a runtime that nothing was made of: n of them, every
// second one paused, several started at the same time.
func (f *fixture) known(n int) {
	for i := range n {
		row := store.Sandbox{
			ID: fmt.Sprintf("i%05d", i*7919%n), Instance: f.cfg.Instance, TemplateID: "t", Alias: template.BaseAlias, State: sandbox.StateRunning,
			Secure: true, PrivatePorts: true, Metadata: map[string]string{"third": fmt.Sprint(i % 3)},
			StartedAt: time.Unix(int64(i/3), 0), EndAt: time.Unix(1<<40, 0), KeyID: "k",
		}
		if i%2 == 1 {
			row.State = sandbox.StatePaused
		}
		sb := live.New(row)
		if err := f.rt.live.Add(sb, f.rt.admission.Places.Adopt(row.KeyID, i%2 == 0)); err != nil {
			f.t.Fatal(err)
		}
	}
}

// Pages of any size, put together, are the whole list.
func TestPagesOfSandboxesAreTheWholeList(t *testing.T) {
	f := newFixture(t)
	f.known(210)
	ctx := context.Background()
	for _, filter := range []sandbox.ListFilter{
		{}, {Ascending: true}, {States: []sandbox.State{sandbox.StatePaused}}, {Metadata: map[string]string{"third": "1"}, Ascending: true},
		{StartedAfter: time.Unix(30, 0)}, {Template: "other"},
	} {
		whole, err := f.rt.List(ctx, filter)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.IsSortedFunc(whole, func(a, b sandbox.Sandbox) int {
			byStart := a.StartedAt.Compare(b.StartedAt)
			if !filter.Ascending {
				byStart = -byStart
			}
			return cmp.Or(byStart, cmp.Compare(a.ID, b.ID))
		}) {
			t.Errorf("%+v: out of order", filter)
		}
		running := 0
		for _, sb := range whole {
			if sb.State == sandbox.StateRunning {
				running++
			}
		}
		if n, err := f.rt.CountRunning(ctx, filter); err != nil || n != running && len(filter.States) == 0 {
			t.Errorf("%+v: %d running, counted %d, %v", filter, running, n, err)
		}
		for _, limit := range []int{1, 7, 100, 300} {
			var got []sandbox.Sandbox
			page := filter
			page.Limit = limit
			for {
				rows, err := f.rt.List(ctx, page)
				if err != nil {
					t.Fatal(err)
				}
				if got = append(got, rows...); len(rows) < limit {
					break
				}
				page.After = &sandbox.Cursor{StartedAt: rows[limit-1].StartedAt, ID: rows[limit-1].ID}
			}
			if !slices.EqualFunc(got, whole, func(a, b sandbox.Sandbox) bool { return a.ID == b.ID && a.State == b.State }) {
				t.Errorf("%+v in pages of %d: %d, want %d", filter, limit, len(got), len(whole))
			}
		}
	}
	if n, _ := f.rt.CountRunning(ctx, sandbox.ListFilter{States: []sandbox.State{sandbox.StatePaused}, Limit: 1}); n != 105 {
		t.Errorf("%d running ones", n)
	}
}

// wantRoster checks that the roster has what the sandboxes say themselves.
func (f *fixture) wantRoster() {
	f.t.Helper()
	if err := f.rt.live.Verify(); err != nil {
		f.t.Error(err)
	}
}
