package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"modernc.org/sqlite"

	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store/internal/database"
)

// spy is SQLite's driver, and keeps the statements that pass.
type spy struct {
	driver.Driver
	mu   sync.Mutex
	seen map[string]bool
	// during is called with each statement, before SQLite has it; nil for nothing.
	during func(query string)
}

func (d *spy) Open(name string) (driver.Conn, error) {
	conn, err := d.Driver.Open(name)
	return spiedConn{conn, d}, err
}

func (d *spy) note(query string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.seen[query] = true
	if d.during != nil {
		d.during(query)
	}
}

// take returns what was kept, and begins anew.
func (d *spy) take() map[string]bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	seen := d.seen
	d.seen = map[string]bool{}
	return seen
}

type spiedConn struct {
	driver.Conn
	spy *spy
}

func (c spiedConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	c.spy.note(query)
	return c.Conn.(driver.ExecerContext).ExecContext(ctx, query, args)
}

func (c spiedConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	c.spy.note(query)
	return c.Conn.(driver.QueryerContext).QueryContext(ctx, query, args)
}

func (c spiedConn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	return c.Conn.(driver.ConnBeginTx).BeginTx(ctx, opts)
}

var statements = func() *spy {
	d := &spy{Driver: &sqlite.Driver{}, seen: map[string]bool{}}
	sql.Register("spied", d)
	return d
}()

// A row has some KiB in it that are of use when something is made from it only. What
// is asked with each request, or each reading of the figures, looks its rows up, or
// goes through an index that has all that is asked for.
func TestNoRequestReadsATable(t *testing.T) {
	database.Driver = "spied"
	s, err := Open(t.Context(), filepath.Join(t.TempDir(), "db"))
	database.Driver = "sqlite"
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx := t.Context()
	sb := sample("i1", "running")
	known := []sandbox.State{"running"}
	counted := Counted{Kinds: []string{"snapshot", "continuation"}, Most: 100, MostOfAKey: 100}
	named := filler(60)
	named.Name = "name"
	pages := []Page{}
	for _, source := range []string{"", "i1"} {
		for _, after := range []string{"", "x"} {
			for _, limit := range []int{0, 101} {
				pages = append(pages, Page{Kind: "snapshot", Source: source, AfterID: after, AfterTime: time.Unix(9, 0), Limit: limit})
			}
		}
	}
	for name, request := range map[string]func() error{
		"check a key":        func() error { _, err := s.Keys.ByHash(ctx, []byte("h")); return ignore(err, ErrNotFound) },
		"write a sandbox":    func() error { return s.Sandboxes.Put(ctx, &sb) },
		"read a sandbox":     func() error { _, err := s.Sandboxes.Get(ctx, "i1"); return ignore(err, ErrNotFound) },
		"drop the killed":    func() error { _, err := s.Sandboxes.DropKilled(ctx, time.Unix(1, 0), 10); return err },
		"find a snapshot":    func() error { _, err := s.Snapshots.Get(ctx, "name"); return ignore(err, ErrNotFound) },
		"add a snapshot":     func() error { return s.Snapshots.Add(ctx, &named, counted) },
		"drop a snapshot":    func() error { _, err := s.Snapshots.Drop(ctx, "5", 1); return err },
		"release a snapshot": func() error { return s.Snapshots.Release(ctx, "5", 1) },
		"seal a snapshot":    func() error { return ignore(s.Snapshots.Seal(ctx, "5", 1, "m"), ErrStale) },
		"count snapshots":    func() error { _, err := s.Snapshots.Count(ctx); return err },
		"count orphans":      func() error { _, err := s.Orphans.Count(ctx); return err },
		"count quarantined":  func() error { _, err := s.Sandboxes.CountQuarantined(ctx, known); return err },
		"write an event":     func() error { sb.State = "paused"; return s.Sandboxes.Put(ctx, &sb, sandbox.Event{}) },
		"pages of events": func() error {
			for _, id := range []string{"", "i1"} {
				for _, types := range [][]sandbox.EventType{nil, {"a"}, {"a", "b"}} {
					for _, ascending := range []bool{true, false} {
						if _, err := s.Events.Page(ctx, sandbox.EventFilter{SandboxID: id, Types: types, Ascending: ascending, Limit: 100}, 9); err != nil {
							return err
						}
					}
				}
			}
			_, _, err := s.Events.Newest(ctx)
			return err
		},
		"pages": func() error {
			for _, p := range append(pages, Page{Kind: "snapshot", Name: "name"}, Page{Kind: "snapshot", Name: "name", AllTags: true}) {
				if _, err := s.Snapshots.Page(ctx, p); err != nil {
					return err
				}
			}
			return nil
		},
	} {
		statements.take()
		if err := request(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for query := range statements.take() {
			for _, step := range plan(t, s, query) {
				if scansTable.MatchString(step) || strings.Contains(step, "TEMP B-TREE FOR ORDER BY") && name == "pages" && !strings.Contains(query, "UNION") {
					t.Errorf("%s: %s: %s", name, step, query)
				}
			}
		}
	}
	if steps := plan(t, s, `SELECT count(*) FROM snapshots WHERE reason = 'x'`); !scansTable.MatchString(strings.Join(steps, "\n")) {
		t.Errorf("a statement that reads a table is not found: %q", steps)
	}
}

// scansTable is how the planner says that all rows are read, not from an index that
// has all that is asked for.
var scansTable = regexp.MustCompile(`SCAN (sandboxes|snapshots|api_keys|orphans|garbage|templates|events)\b(?: USING INDEX|$)`)

func plan(t *testing.T, s *Store, query string) []string {
	t.Helper()
	if !regexp.MustCompile(`^(SELECT|INSERT|UPDATE|DELETE)`).MatchString(strings.TrimSpace(query)) {
		return nil
	}
	steps, err := database.List(t.Context(), s.db, query, func(rows *sql.Rows) (detail string, err error) {
		var id, parent, unused int
		err = rows.Scan(&id, &parent, &unused, &detail)
		return detail, err
	}, "EXPLAIN QUERY PLAN "+query, make([]any, arguments(query))...)
	if err != nil {
		t.Fatal(err)
	}
	return steps
}

// arguments is how many arguments a statement takes.
func arguments(query string) int {
	numbered := map[string]bool{}
	plain := 0
	for _, mark := range regexp.MustCompile(`\?\d*`).FindAllString(query, -1) {
		if mark == "?" {
			plain++
		} else {
			numbered[mark] = true
		}
	}
	return plain + len(numbered)
}

func ignore(err, known error) error {
	if err != nil && strings.Contains(err.Error(), known.Error()) {
		return nil
	}
	return err
}

// filler is a snapshot as it is at a client's: a spec and a manifest of 2 KiB each.
func filler(i int) Snapshot {
	blob := strings.Repeat("x", 2048)
	return Snapshot{
		ID: fmt.Sprint(i), Instance: "d1", Kind: "snapshot", State: SnapshotReady, VMID: fmt.Sprint("i", i%100), Snapshot: fmt.Sprint(i),
		Source: fmt.Sprint("i", i%100), Spec: blob, Manifest: blob, Bytes: 1 << 20, KeyID: "k", CreatedAt: time.Unix(int64(i+1), 0),
	}
}
