package journal_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/store/journal"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)

func open(t testing.TB, path string) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func openTest(t testing.TB) journal.Table { return open(t, filepath.Join(t.TempDir(), "db")).Events }

// fill writes events, each a second after the one before.
func fill(t testing.TB, j journal.Table, n int, of func(i int, e *sandbox.Event)) {
	t.Helper()
	events := make([]sandbox.Event, n)
	for i := range events {
		events[i] = sandbox.Event{Type: sandbox.EventUpdated, SandboxID: "i1", KeyID: "k", At: start.Add(time.Duration(i) * time.Second)}
		if of != nil {
			of(i, &events[i])
		}
	}
	if err := j.Write(t.Context(), events); err != nil {
		t.Fatal(err)
	}
}

func page(t testing.TB, j journal.Table, f sandbox.EventFilter, after int64) []sandbox.Event {
	t.Helper()
	if f.Limit == 0 {
		f.Limit = 1000
	}
	events, err := j.Page(t.Context(), f, after)
	if err != nil {
		t.Fatal(err)
	}
	return events
}

func positions(events []sandbox.Event) (out []int64) {
	for _, e := range events {
		out = append(out, e.Position)
	}
	return out
}

func TestAnEventIsReadAsItWasWritten(t *testing.T) {
	j := openTest(t)
	want := sandbox.Event{
		Type: sandbox.EventCreated, Data: []byte(`{"sandbox_metadata":{"a":"\u0000"}}`), SandboxID: "i1", ExecutionID: "x", TemplateID: "t", BuildID: "b", KeyID: "k", At: start,
	}
	if err := j.Write(t.Context(), []sandbox.Event{want, {Type: sandbox.EventKilled, SandboxID: "i1", At: start}}); err != nil {
		t.Fatal(err)
	}
	got := page(t, j, sandbox.EventFilter{Ascending: true}, 0)
	if len(got) != 2 || got[1].Data != nil || got[0].ID == got[1].ID {
		t.Fatalf("%+v", got)
	}
	want.Position, want.ID = 1, got[0].ID
	if fmt.Sprintf("%+v", got[0]) != fmt.Sprintf("%+v", want) {
		t.Errorf("%+v\nwant %+v", got[0], want)
	}
}

// Every page of every filter is a part of the list that a slow reading of all events makes.
func TestPagesAreOfTheWholeJournal(t *testing.T) {
	j := openTest(t)
	fill(t, j, 60, func(i int, e *sandbox.Event) {
		e.SandboxID, e.Type = fmt.Sprint("i", i%3), sandbox.EventTypes[i%len(sandbox.EventTypes)]
	})
	all := page(t, j, sandbox.EventFilter{Ascending: true}, 0)
	if len(all) != 60 {
		t.Fatalf("%d events", len(all))
	}
	for _, id := range []string{"", "i1", "another"} {
		for _, types := range [][]sandbox.EventType{nil, {sandbox.EventPaused}, {sandbox.EventKilled, sandbox.EventCreated}, {"no such type"}} {
			for _, after := range []int64{0, 30, 60} {
				for _, ascending := range []bool{true, false} {
					var want []int64
					for _, e := range all {
						if (id == "" || e.SandboxID == id) && (types == nil || slices.Contains(types, e.Type)) && e.Position > after {
							want = append(want, e.Position)
						}
					}
					if !ascending {
						slices.Reverse(want)
					}
					var got []int64
					for offset := 0; ; offset += 7 {
						p := page(t, j, sandbox.EventFilter{SandboxID: id, Types: types, Ascending: ascending, Offset: offset, Limit: 7}, after)
						got = append(got, positions(p)...)
						if len(p) < 7 {
							break
						}
					}
					if !slices.Equal(got, want) {
						t.Errorf("of %q, types %v, after %d, ascending %v: %v, want %v", id, types, after, ascending, got, want)
					}
				}
			}
		}
	}
}

func TestThePositionOfAnEvent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	j := open(t, path).Events
	if id, n, err := j.Newest(t.Context()); n != 0 || id != "00000000-0000-0000-0000-000000000000" || err != nil {
		t.Errorf("the newest of none: %s, %d, %v", id, n, err)
	}
	fill(t, j, 3, nil)
	fill(t, openTest(t), 3, nil)
	other := openTest(t)
	fill(t, other, 4, nil)
	events, others := page(t, j, sandbox.EventFilter{Ascending: true}, 0), page(t, other, sandbox.EventFilter{Ascending: true}, 0)
	if id, n, err := j.Newest(t.Context()); n != 3 || id != events[2].ID || err != nil {
		t.Errorf("the newest: %s, %d, %v", id, n, err)
	}
	if _, err := j.Trim(t.Context(), start.Add(time.Second+journal.DefaultBounds.Age), journal.DefaultBounds); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]int64{
		events[0].ID: 1, events[2].ID: 3, "00000000-0000-0000-0000-000000000000": 0,
		others[2].ID: -1, others[3].ID: -1, "": -1, "3": -1, "6ba7b810-9dad-11d1-80b4-00c04fd430c8": -1,
	} {
		got, err := j.Position(t.Context(), id)
		if want < 0 && !errors.Is(err, store.ErrNotFound) || want >= 0 && (err != nil || got != want) {
			t.Errorf("%q: %d, %v, want %d", id, got, err, want)
		}
	}
}

func TestOldEventsGo(t *testing.T) {
	j := openTest(t)
	fill(t, j, 350, nil)
	bounds := journal.Bounds{Age: time.Hour, Most: 1000}
	if n, err := j.Trim(t.Context(), start.Add(time.Hour), bounds); n != 0 || err != nil {
		t.Errorf("nothing is old: %d, %v", n, err)
	}
	if n, err := j.Trim(t.Context(), start.Add(time.Hour+250*time.Second), bounds); n != 250 || err != nil {
		t.Errorf("%d removed, %v", n, err)
	}
	if got := page(t, j, sandbox.EventFilter{Ascending: true}, 0); len(got) != 100 || got[0].Position != 251 {
		t.Errorf("%d are left, from %d on", len(got), got[0].Position)
	}
	if n, err := j.Trim(t.Context(), start.Add(2*time.Hour), bounds); n != 100 || err != nil {
		t.Errorf("%d removed, %v", n, err)
	}
	fill(t, j, 1, nil)
	if got := page(t, j, sandbox.EventFilter{}, 0); len(got) != 1 || got[0].Position != 351 {
		t.Errorf("after the last was removed a position is used again: %v", positions(got))
	}
}

// A clock that was ahead for a while keeps no other events from going.
func TestEventsOfAClockThatWasAheadKeepNoOthers(t *testing.T) {
	j := openTest(t)
	ahead := func(_ int, e *sandbox.Event) { e.At = start.AddDate(10, 0, 0) }
	fill(t, j, 10, nil)
	fill(t, j, 250, ahead)
	fill(t, j, 120, nil)
	fill(t, j, 1, ahead)
	fill(t, j, 5, func(_ int, e *sandbox.Event) { e.At = start.Add(time.Hour) })
	bounds := journal.Bounds{Age: time.Hour, Most: 1000}
	if n, err := j.Trim(t.Context(), start.Add(time.Hour+200*time.Second), bounds); n != 130 || err != nil {
		t.Errorf("%d removed, %v", n, err)
	}
	if got := page(t, j, sandbox.EventFilter{}, 0); len(got) != 256 {
		t.Errorf("%d are left", len(got))
	}
}

// A key that makes many events removes its own.
func TestTheKeyWithTheMostEventsLosesItsOldest(t *testing.T) {
	j := openTest(t)
	few := func(_ int, e *sandbox.Event) { e.KeyID = "few" }
	fill(t, j, 50, few)
	fill(t, j, 900, func(_ int, e *sandbox.Event) { e.KeyID = "many" })
	fill(t, j, 50, few)
	bounds := journal.Bounds{Age: time.Hour, Most: 400}
	if n, err := j.Trim(t.Context(), start, bounds); n != 600 || err != nil {
		t.Fatalf("%d removed, %v", n, err)
	}
	left := map[string][]int64{}
	for _, e := range page(t, j, sandbox.EventFilter{Ascending: true}, 0) {
		left[e.KeyID] = append(left[e.KeyID], e.Position)
	}
	if len(left["few"]) != 100 || len(left["many"]) != 300 || left["many"][0] != 651 {
		t.Errorf("%d of one that has few, and %d of the other, from %d on", len(left["few"]), len(left["many"]), left["many"][0])
	}
	if n, err := j.Trim(t.Context(), start, bounds); n != 0 || err != nil {
		t.Errorf("within the bounds: %d removed, %v", n, err)
	}
}

func TestDenialsAreATenthAtMost(t *testing.T) {
	j := openTest(t)
	fill(t, j, 10, nil)
	fill(t, j, 300, func(_ int, e *sandbox.Event) { e.Type = sandbox.EventDenied })
	if n, err := j.Trim(t.Context(), start, journal.Bounds{Age: time.Hour, Most: 1000}); n != 200 || err != nil {
		t.Fatalf("%d removed, %v", n, err)
	}
	denied := page(t, j, sandbox.EventFilter{Types: []sandbox.EventType{sandbox.EventDenied}, Ascending: true}, 0)
	if len(denied) != 100 || denied[0].Position != 211 {
		t.Errorf("%d are left, from %d on", len(denied), denied[0].Position)
	}
	if rest := page(t, j, sandbox.EventFilter{Types: []sandbox.EventType{sandbox.EventUpdated}}, 0); len(rest) != 10 {
		t.Errorf("%d others are left", len(rest))
	}
}

// BenchmarkPage is a page of 100 of 100,000 events.
func BenchmarkPage(b *testing.B) {
	j := openTest(b)
	for range 100 {
		fill(b, j, 1000, func(i int, e *sandbox.Event) {
			e.SandboxID, e.Type = fmt.Sprint("i", i%10), sandbox.EventTypes[i%len(sandbox.EventTypes)]
			e.Data = []byte(`{"set_timeout":"2026-01-02T03:04:05Z"}`)
		})
	}
	some := []sandbox.EventType{sandbox.EventPaused, sandbox.EventKilled}
	for name, f := range map[string]sandbox.EventFilter{
		"newest": {}, "oldest": {Ascending: true}, "deep": {Offset: 99_000}, "types": {Types: some}, "types, deep": {Types: some, Offset: 28_000},
		"sandbox": {SandboxID: "i3"}, "sandbox, deep": {SandboxID: "i3", Offset: 9000}, "sandbox, no such type": {SandboxID: "i3", Types: []sandbox.EventType{"x"}},
	} {
		f.Limit = 100
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if got := page(b, j, f, 0); len(got) != 100 && f.Types == nil {
					b.Fatalf("%d events", len(got))
				}
			}
		})
	}
	b.Run("trim", func(b *testing.B) {
		for b.Loop() {
			if _, err := j.Trim(b.Context(), start, journal.DefaultBounds); err != nil {
				b.Fatal(err)
			}
		}
	})
}
