package events

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/runtime/live"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
)

// world has sandboxes, and what their slots were refused.
type world struct {
	*Journal
	db      *table
	refused map[string][]sandbox.Refusal
	lists   int // how many lists were made
	log     bytes.Buffer
}

func newWorld(t *testing.T, sandboxes ...string) *world {
	w := &world{db: &table{}, refused: map[string][]sandbox.Refusal{}}
	set := live.NewSet()
	for _, id := range sandboxes {
		set.Know(live.New(store.Sandbox{ID: id, State: sandbox.StateRunning, SlotID: "slot-" + id, StartedAt: now}), nil)
	}
	w.Journal = New(Config{Store: w.db, Live: set, Life: t.Context(), Log: slog.New(slog.NewTextHandler(&w.log, nil)), Refused: func(slot string, since time.Time) ([]sandbox.Refusal, error) {
		list, ok := w.refused[slot]
		switch {
		case !ok:
			return nil, errors.New("not leased")
		case len(list) == 0 || list[0].Last.Equal(since):
			return nil, nil
		}
		w.lists++
		return list, nil
	}})
	return w
}

// look looks once, and returns what was written.
func (w *world) look(t *testing.T) (out []string) {
	t.Helper()
	before := len(w.db.events)
	w.LookForDenied(t.Context())
	for _, e := range w.db.events[before:] {
		if e.Type != sandbox.EventDenied {
			t.Errorf("%+v", e)
		}
		out = append(out, e.SandboxID+" "+string(e.Data))
	}
	return out
}

// refusal is a destination that was refused; more often is later.
func refusal(address string, port uint16, count int) sandbox.Refusal {
	return sandbox.Refusal{Proto: "tcp", Address: address, Port: port, Count: count, Last: now.Add(time.Duration(count) * time.Second)}
}

func TestADenialStandsForThoseOfItsSecond(t *testing.T) {
	w := newWorld(t, "i1")
	name := sandbox.Refusal{Proto: "dns", Name: "a.example", Count: 2, Last: now.Add(time.Minute)}
	for i, step := range []struct {
		refused []sandbox.Refusal
		want    string
	}{
		{nil, ""},
		{[]sandbox.Refusal{refusal("1.1.1.1", 443, 3)}, `i1 {"protocol":"tcp","address":"1.1.1.1","port":443,"count":3,"destinations":1}`},
		{[]sandbox.Refusal{refusal("1.1.1.1", 443, 3)}, ""},
		{[]sandbox.Refusal{name, refusal("1.1.1.1", 443, 8)}, `i1 {"protocol":"dns","name":"a.example","count":7,"destinations":2}`},
		{[]sandbox.Refusal{refusal("1.1.1.1", 443, 9), name}, `i1 {"protocol":"tcp","address":"1.1.1.1","port":443,"count":1,"destinations":1}`},
		{[]sandbox.Refusal{refusal("1.1.1.1", 443, 2)}, `i1 {"protocol":"tcp","address":"1.1.1.1","port":443,"count":2,"destinations":1}`}, // It was forgotten meanwhile.
	} {
		w.refused["slot-i1"] = step.refused
		if got := strings.Join(w.look(t), "; "); got != step.want {
			t.Errorf("step %d: %s, want %s", i, got, step.want)
		}
	}
	// After a resume it has another slot, which begins anew.
	sb, _ := w.cfg.Live.Find("i1")
	sb.Update(func(row *store.Sandbox) { row.SlotID = "slot-other" })
	w.refused["slot-other"] = []sandbox.Refusal{refusal("1.1.1.1", 443, 2)}
	if got := w.look(t); len(got) != 1 || !strings.Contains(got[0], `"count":2`) {
		t.Errorf("in another slot: %v", got)
	}
	sb.Update(func(row *store.Sandbox) { row.State = sandbox.StatePaused })
	w.refused["slot-other"] = []sandbox.Refusal{refusal("1.1.1.1", 443, 5)}
	if got := w.look(t); len(got) > 0 {
		t.Errorf("of one that is paused: %v", got)
	}
	sb.Update(func(row *store.Sandbox) { row.SlotID = "" })
	if w.look(t); len(w.denials.reported) > 0 { // It is kept for as long as a client wants.
		t.Errorf("it knows %v of one that is paused", w.denials.reported)
	}
	w.cfg.Live.Remove(sb)
	w.look(t)
	if len(w.denials.reported) > 0 {
		t.Errorf("it knows %v of one that is gone", w.denials.reported)
	}
}

// However many sandboxes are refused something, few events are written at a time, and each gets its turn.
func TestDenialsAreBoundedAndLoseNothing(t *testing.T) {
	var ids []string
	for i := range 35 {
		ids = append(ids, fmt.Sprint("i", i))
	}
	w := newWorld(t, ids...)
	for _, id := range ids {
		w.refused["slot-"+id] = []sandbox.Refusal{refusal("1.1.1.1", 443, 7)}
	}
	reported := map[string]int{}
	for _, want := range []int{10, 10, 10, 5, 0} {
		got := w.look(t)
		if len(got) != want {
			t.Errorf("%d events, want %d", len(got), want)
		}
		for _, e := range got {
			reported[e]++
		}
	}
	if len(reported) != len(ids) {
		t.Errorf("%d of %d sandboxes: %v", len(reported), len(ids), reported)
	}
}

func TestADenialThatCannotBeWrittenComesLater(t *testing.T) {
	w := newWorld(t, "i1")
	w.refused["slot-i1"] = []sandbox.Refusal{refusal("1.1.1.1", 443, 3)}
	w.db.fail = store.ErrFull
	for range 3 {
		if got := w.look(t); len(got) > 0 {
			t.Errorf("%v", got)
		}
	}
	if n := strings.Count(w.log.String(), "could not write"); n != 1 {
		t.Errorf("logged %d times: %s", n, w.log.String())
	}
	w.db.fail = nil
	if got := w.look(t); len(got) != 1 || !strings.Contains(got[0], `"count":3`) {
		t.Errorf("%v", got)
	}
}

// The lists of those that were refused nothing lately are not read.
func TestNothingNewIsNotRead(t *testing.T) {
	w := newWorld(t, "i1", "i2")
	w.refused["slot-i1"], w.refused["slot-i2"] = []sandbox.Refusal{refusal("1.1.1.1", 443, 3)}, nil
	w.look(t)
	before := w.lists
	for range 5 {
		w.look(t)
	}
	if w.lists != before || before > 1 {
		t.Errorf("%d lists were read for 1 event, and then %d for none", before, w.lists-before)
	}
}

// What is refused is reported an interval later, and what is left over after another one. Where nothing is refused, no list is looked at.
func TestDenialsAreReportedWhenThereAreSome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ids []string
		for i := range mostDenied + 3 {
			ids = append(ids, fmt.Sprint("i", i))
		}
		w := newWorld(t, ids...)
		inner := w.cfg.Refused
		var looks atomic.Int64
		w.cfg.Refused = func(slot string, since time.Time) ([]sandbox.Refusal, error) {
			looks.Add(1)
			return inner(slot, since)
		}
		refusals := make(chan struct{}, 1)
		w.cfg.Refusals = refusals
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); w.reportDenied(ctx) }()
		pass := func(d time.Duration) { time.Sleep(d); synctest.Wait() }
		pass(time.Hour)
		if looks.Load() > 0 {
			t.Errorf("%d lists were looked at, and nothing was refused", looks.Load())
		}
		for _, id := range ids {
			w.refused["slot-"+id] = []sandbox.Refusal{refusal("1.1.1.1", 443, 7)}
		}
		refusals <- struct{}{}
		for i, want := range []int{0, mostDenied, len(ids), len(ids)} {
			if i > 0 {
				pass(DeniedInterval)
			}
			if got := w.db.written(); got != want {
				t.Errorf("%d intervals later there are %d events, want %d", i, got, want)
			}
		}
		before := looks.Load()
		pass(time.Hour)
		if looks.Load() != before {
			t.Errorf("%d lists were looked at after all was reported", looks.Load()-before)
		}
		w.db.failWith(store.ErrFull)
		w.refused["slot-i1"] = []sandbox.Refusal{refusal("1.1.1.1", 443, 8)}
		refusals <- struct{}{}
		pass(time.Minute)
		w.db.failWith(nil)
		pass(2 * DeniedInterval)
		if got := w.db.written(); got != len(ids)+1 {
			t.Errorf("%d events after a write that failed, want %d", got, len(ids)+1)
		}
		stop()
		<-ended
	})
}

// What a sandbox is refused while it begins is reported when it runs, also if nothing more is refused.
func TestADenialOfOneThatBeginsComesLater(t *testing.T) {
	w := newWorld(t)
	sb := live.New(store.Sandbox{ID: "i1", State: sandbox.StateCreating, SlotID: "slot-i1"})
	w.cfg.Live.Know(sb, nil)
	w.refused["slot-i1"] = []sandbox.Refusal{refusal("1.1.1.1", 443, 3)}
	if again := w.LookForDenied(t.Context()); !again || len(w.db.events) > 0 {
		t.Errorf("look again: %v; %v", again, w.db.events)
	}
	w.cfg.Live.Remove(sb)
	w.cfg.Live.Know(live.New(store.Sandbox{ID: "i1", State: sandbox.StateRunning, SlotID: "slot-i1"}), nil)
	if again := w.LookForDenied(t.Context()); again || len(w.db.events) != 1 {
		t.Errorf("look again: %v; %v", again, w.db.events)
	}
}

// A warm machine is refused something before it is a sandbox: that is reported when it is one, also if nothing more is refused.
func TestADenialOfAWarmMachineComesLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		refusals := make(chan struct{}, 1)
		w.cfg.Refusals = refusals
		w.refused["slot-i1"] = []sandbox.Refusal{refusal("1.1.1.1", 443, 3)}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); w.reportDenied(ctx) }()
		pass := func() int { time.Sleep(2 * DeniedInterval); synctest.Wait(); return w.db.written() }
		refusals <- struct{}{}
		if got := pass(); got > 0 {
			t.Errorf("%d events of no sandbox", got)
		}
		w.cfg.Live.Know(live.New(store.Sandbox{ID: "i1", State: sandbox.StateRunning, SlotID: "slot-i1"}), nil)
		w.Wrote([]sandbox.Event{{Type: sandbox.EventCreated}})
		if got := pass(); got != 1 {
			t.Errorf("%d events, want 1", got)
		}
		stop()
		<-ended
	})
}

// Where no change is an event, no refusal is one.
func TestASilentJournalReportsNoDenials(t *testing.T) {
	for silent, want := range map[bool]int{true: 0, false: 1} {
		begun := 0
		New(Config{Silent: silent}).Run(func(time.Duration, func(context.Context)) {}, func(func()) bool { begun++; return true })
		if begun != want {
			t.Errorf("silent %v: %d begun, want %d", silent, begun, want)
		}
	}
}

// BenchmarkLookForDenied is a look at 1,000 sandboxes that were refused much, and nothing lately.
func BenchmarkLookForDenied(b *testing.B) {
	var list []sandbox.Refusal
	for i := range 64 {
		list = append(list, refusal(fmt.Sprint("1.1.1.", i), 443, 7))
	}
	set := live.NewSet()
	for i := range 1000 {
		set.Know(live.New(store.Sandbox{ID: fmt.Sprint("i", i), State: sandbox.StateRunning, SlotID: "s", Metadata: map[string]string{"a": "b"}}), nil)
	}
	j := New(Config{Store: &table{}, Live: set, Refused: func(_ string, since time.Time) ([]sandbox.Refusal, error) {
		if !list[len(list)-1].Last.After(since) {
			return nil, nil
		}
		return slices.Clone(list), nil
	}})
	for range 101 {
		j.LookForDenied(b.Context())
	}
	for b.Loop() {
		j.LookForDenied(b.Context())
	}
}
