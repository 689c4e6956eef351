package events

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/runtime/live"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/store/journal"
)

// table is a table of events in memory. It can fail.
type table struct {
	// during, if not nil, is called by Page when it has read, and before it returns; its error is Page's.
	during func(ctx context.Context) error
	mu     sync.Mutex
	events []sandbox.Event
	reads  int
	from   []int64 // the positions after which pages were read
	fail   error
	trims  int
}

func (t *table) add(ids ...string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, id := range ids {
		t.events = append(t.events, sandbox.Event{Position: int64(len(t.events) + 1), ID: id})
	}
}

// written is how many events there are.
func (t *table) written() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.events)
}

// failWith lets calls from now on fail; nil, succeed.
func (t *table) failWith(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fail = err
}

func (t *table) Page(ctx context.Context, f sandbox.EventFilter, after int64) ([]sandbox.Event, error) {
	page, err := t.page(f, after)
	if t.during != nil && err == nil {
		if err := t.during(ctx); err != nil {
			return nil, err
		}
	}
	return page, err
}

func (t *table) page(f sandbox.EventFilter, after int64) ([]sandbox.Event, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.reads++
	t.from = append(t.from, after)
	page := t.events[min(int(after), len(t.events)):]
	if len(f.Types) > 0 {
		page = slices.DeleteFunc(slices.Clone(page), func(e sandbox.Event) bool { return !slices.Contains(f.Types, e.Type) })
	}
	return page[:min(len(page), f.Limit)], t.fail
}

func (t *table) Write(_ context.Context, events []sandbox.Event) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.fail == nil {
		t.events = append(t.events, events...)
	}
	return t.fail
}

func (t *table) Newest(context.Context) (string, int64, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.events) == 0 {
		return "", 0, t.fail
	}
	last := t.events[len(t.events)-1]
	return last.ID, last.Position, t.fail
}

func (t *table) Position(_ context.Context, id string) (int64, error) {
	for _, e := range t.events {
		if e.ID == id {
			return e.Position, t.fail
		}
	}
	return 0, store.ErrNotFound
}

func (t *table) Trim(context.Context, time.Time, journal.Bounds) (int64, error) {
	t.trims++
	return 0, t.fail
}

func TestManyEventsAreFewReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := &table{}
		j := New(Config{Store: db, Life: t.Context()})
		got := make(chan []sandbox.Event, 1)
		go func() {
			events, err := j.AwaitEvents(t.Context(), sandbox.EventFilter{Limit: 100}, 0)
			if err != nil {
				t.Error(err)
			}
			got <- events
		}()
		synctest.Wait()
		for range 50 {
			db.add("x")
			j.Wrote([]sandbox.Event{{}})
			synctest.Wait()
		}
		if events := <-got; len(events) != 50 || db.reads != 2 {
			t.Errorf("%d events in %d reads", len(events), db.reads)
		}
	})
}

// An event that is written while the journal is read, after what was read, is not missed.
func TestAnEventDuringAReadIsNotMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := &table{}
		j := New(Config{Store: db, Life: t.Context()})
		db.during = func(context.Context) error {
			db.during = nil
			db.add("x")
			j.Wrote([]sandbox.Event{{}})
			return nil
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if events, err := j.AwaitEvents(ctx, sandbox.EventFilter{Limit: 100}, 0); err != nil || len(events) != 1 {
			t.Errorf("%v, %v", events, err)
		}
	})
}

// A read that hangs ends with its context, whose cause is the error.
func TestAReadThatHangsEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := &table{during: func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}}
		cause := errors.New("silent")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, cause)
		defer cancel()
		j := New(Config{Store: db, Life: t.Context()})
		if events, err := j.AwaitEvents(ctx, sandbox.EventFilter{Limit: 100}, 0); !errors.Is(err, cause) {
			t.Errorf("%v, %v", events, err)
		}
	})
}

// A call that waits for rare events of a sandbox does not read its others again each time that something happens.
func TestWhatDoesNotMatchIsReadOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := &table{}
		db.add("a", "b", "c")
		j := New(Config{Store: db, Life: t.Context()})
		got := make(chan []sandbox.Event, 1)
		go func() {
			events, err := j.AwaitEvents(t.Context(), sandbox.EventFilter{Limit: 100, SandboxID: "i1", Types: []sandbox.EventType{sandbox.EventKilled}}, 1)
			if err != nil {
				t.Error(err)
			}
			got <- events
		}()
		for range 3 {
			synctest.Wait()
			db.add("x", "x")
			j.Wrote([]sandbox.Event{{}})
			time.Sleep(2 * Gather)
		}
		synctest.Wait()
		db.mu.Lock()
		db.events = append(db.events, sandbox.Event{Position: 10, ID: "k", Type: sandbox.EventKilled})
		db.mu.Unlock()
		j.Wrote([]sandbox.Event{{}})
		if events := <-got; len(events) != 1 || !slices.Equal(db.from, []int64{1, 3, 5, 7, 9}) {
			t.Errorf("%v, read after %v", events, db.from)
		}
	})
}

// An event that is written between a read and the wait is not waited for.
func TestNoEventIsMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := &table{}
		j := New(Config{Store: db, Life: t.Context()})
		next := j.awaited()
		db.add("x")
		j.Wrote([]sandbox.Event{{}})
		select {
		case <-next:
		default:
			t.Error("it does not wake a call that waits already")
		}
		if events, err := j.AwaitEvents(t.Context(), sandbox.EventFilter{Limit: 1}, 0); err != nil || len(events) != 1 {
			t.Errorf("%v, %v", events, err)
		}
	})
}

func TestAWaitEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone := errors.New("the client is gone")
		for name, c := range map[string]struct {
			end  func(client context.CancelCauseFunc, daemon context.CancelFunc, db *table)
			want error
		}{
			"with its client": {func(client context.CancelCauseFunc, _ context.CancelFunc, _ *table) { client(gone) }, gone},
			"with the daemon": {func(_ context.CancelCauseFunc, daemon context.CancelFunc, _ *table) { daemon() }, sandbox.ErrUnavailable},
			"with the disk": {func(_ context.CancelCauseFunc, _ context.CancelFunc, db *table) {
				db.mu.Lock()
				defer db.mu.Unlock()
				db.fail = store.ErrFull
			}, sandbox.ErrDiskFull},
		} {
			db := &table{}
			life, daemon := context.WithCancel(t.Context())
			ctx, client := context.WithCancelCause(t.Context())
			j := New(Config{Store: db, Life: life})
			ended := make(chan error, 1)
			go func() {
				_, err := j.AwaitEvents(ctx, sandbox.EventFilter{Limit: 1}, 0)
				ended <- err
			}()
			synctest.Wait()
			c.end(client, daemon, db)
			j.Wrote([]sandbox.Event{{}}) // And it is waked at the same time.
			if err := <-ended; !errors.Is(err, c.want) {
				t.Errorf("%s: %v, want %v", name, err, c.want)
			}
			daemon()
			client(nil)
		}
	})
}

func TestPositionsOfEvents(t *testing.T) {
	db := &table{}
	db.add("a", "b", "c")
	j := New(Config{Store: db, Life: t.Context()})
	for id, want := range map[string]int64{"": 3, "b": 2} {
		known, got, err := j.EventPosition(t.Context(), id)
		if err != nil || got != want || known != cmp.Or(id, "c") {
			t.Errorf("%q: %s, %d, %v", id, known, got, err)
		}
	}
	if _, _, err := j.EventPosition(t.Context(), "d"); !errors.Is(err, sandbox.ErrInvalid) {
		t.Errorf("one that is not there: %v", err)
	}
}

// Where nothing is written, the database is left alone for an hour.
func TestNothingIsTrimmedWithoutNewEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := &table{}
		j := New(Config{Store: db, Life: t.Context(), Log: slog.New(slog.DiscardHandler)})
		after := func(minutes, want int) {
			t.Helper()
			for range minutes {
				time.Sleep(TrimInterval)
				j.Trim(t.Context())
			}
			if db.trims != want {
				t.Errorf("trimmed %d times, want %d", db.trims, want)
			}
		}
		after(1, 1) // What an earlier daemon wrote.
		after(59, 1)
		after(1, 2)
		j.Wrote([]sandbox.Event{{}})
		after(5, 3)
		j.Wrote(nil)
		after(5, 3)
		db.fail = store.ErrFull
		j.Wrote([]sandbox.Event{{}})
		after(3, 6)
		db.fail = nil
		after(5, 7)
	})
}

func TestATrimThatFailsIsLogged(t *testing.T) {
	var log bytes.Buffer
	db := &table{fail: errors.New("disk I/O error")}
	j := New(Config{Store: db, Life: t.Context(), Log: slog.New(slog.NewTextHandler(&log, nil))})
	j.Trim(t.Context())
	if !strings.Contains(log.String(), "disk I/O error") {
		t.Errorf("%q", log.String())
	}
}

func TestNoJournalHasNoEvents(t *testing.T) {
	row := store.Sandbox{State: sandbox.StateRunning}
	var none *Journal
	for _, j := range []*Journal{none, New(Config{Silent: true})} {
		if got := append(j.Change(live.Written{}, row), j.Checkpoint(row, store.Snapshot{Kind: "snapshot"})...); len(got) > 0 {
			t.Errorf("%v", got)
		}
		j.Wrote(nil)
	}
}
