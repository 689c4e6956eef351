package e2e

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	_ "modernc.org/sqlite" // database/sql driver "sqlite"

	"github.com/rundlet/rundlet/policy/snapshot"
)

// remains is what a state directory holds after a power cut, before any daemon
// has looked at it. It is read as files, and not by the code under test.
type remains struct {
	dir       string
	sandboxes map[string]struct{ state, claim string }
	claims    map[string]claimRow
	verdicts  map[string]error // of whole, by claim
}

type claimRow struct{ state, vm, name, manifest string }

// readRemains opens the database, which must be whole.
func readRemains(ctx context.Context, dir string) (*remains, error) {
	r := &remains{dir: dir, sandboxes: map[string]struct{ state, claim string }{}, claims: map[string]claimRow{}, verdicts: map[string]error{}}
	db, err := openWhole(ctx, filepath.Join(dir, "rundlet.db"))
	if err != nil {
		return nil, err
	}
	defer db.Close()
	err = eachRow(ctx, db, `SELECT id, state, snapshot_id FROM sandboxes`, 3, func(f []string) {
		r.sandboxes[f[0]] = struct{ state, claim string }{f[1], f[2]}
	})
	if err != nil {
		return nil, err
	}
	return r, eachRow(ctx, db, `SELECT id, state, vm_id, snapshot, manifest FROM snapshots`, 5, func(f []string) {
		r.claims[f[0]] = claimRow{f[1], f[2], f[3], f[4]}
	})
}

// openWhole opens a database that is there and passes SQLite's own check.
func openWhole(ctx context.Context, path string) (*sql.DB, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, err // SQLite would make one.
	}
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(10000)")
	if err != nil {
		return nil, err
	}
	var said []string
	err = eachRow(ctx, db, `PRAGMA integrity_check`, 1, func(f []string) { said = append(said, f[0]) })
	if err == nil && !slices.Equal(said, []string{"ok"}) {
		err = errors.New(strings.Join(said, "; "))
	}
	if err != nil {
		db.Close()
		return nil, fmt.Errorf("database %s: %w", path, err)
	}
	return db, nil
}

func eachRow(ctx context.Context, db *sql.DB, query string, columns int, see func([]string)) error {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		fields, into := make([]string, columns), make([]any, columns)
		for i := range fields {
			into[i] = &fields[i]
		}
		if err := rows.Scan(into...); err != nil {
			return err
		}
		see(fields)
	}
	return rows.Err()
}

// broken lists the rows that promise files which are not there or not whole,
// whether or not a client knows of them.
func (r *remains) broken() []string {
	var out []string
	for _, id := range slices.Sorted(maps.Keys(r.claims)) {
		if r.claims[id].state != "ready" {
			continue // It is given up at the next start.
		}
		if err := r.whole(id); err != nil {
			out = append(out, fmt.Sprintf("claim %s: %v", id, err))
		}
	}
	for _, id := range slices.Sorted(maps.Keys(r.sandboxes)) {
		sb := r.sandboxes[id]
		if sb.state != "paused" && sb.state != "resuming" {
			continue
		}
		if err := r.whole(sb.claim); err != nil {
			out = append(out, fmt.Sprintf("sandbox %s is %s: %v", id, sb.state, err))
		}
	}
	return out
}

// whole checks that a claim has its row and its files, with their sizes and, as
// soon as they are known, their digests.
func (r *remains) whole(id string) error {
	err, known := r.verdicts[id]
	if !known {
		err = r.readClaim(id)
		r.verdicts[id] = err
	}
	return err
}

func (r *remains) readClaim(id string) error {
	row, there := r.claims[id]
	if !there {
		return fmt.Errorf("there is no row of its snapshot %q", id)
	}
	if row.state != "ready" {
		return fmt.Errorf("its snapshot %s is %q", id, row.state)
	}
	dir := filepath.Join(r.dir, "drivers", "gvisor", "snapshots", row.vm, row.name)
	data, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		return err
	}
	var driver struct{ Files map[string]int64 }
	if err := json.Unmarshal(data, &driver); err != nil {
		return fmt.Errorf("%s/manifest.json: %w", dir, err)
	}
	for name, size := range driver.Files {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return err
		} else if info.Size() != size {
			return fmt.Errorf("%s/%s has %d bytes of %d", dir, name, info.Size(), size)
		}
	}
	if row.manifest == "" {
		return nil
	}
	m, err := snapshot.Decode([]byte(row.manifest))
	if err != nil {
		return err
	}
	sums := map[string]snapshot.Sum{}
	for _, file := range m.Files {
		if sums[file.Name], err = digestOf(filepath.Join(dir, file.Name)); err != nil {
			return err
		}
	}
	return snapshot.Verify(m.Files, sums)
}

func digestOf(path string) (snapshot.Sum, error) {
	f, err := os.Open(path)
	if err != nil {
		return snapshot.Sum{}, err
	}
	defer f.Close()
	return snapshot.Digest(f)
}

// backup checks that a backup is whole and has these paused sandboxes in it.
func (r *remains) backup(name, want string) error {
	db, err := openWhole(context.Background(), filepath.Join(r.dir, name))
	if err != nil {
		return err
	}
	defer db.Close()
	var have []string
	err = eachRow(context.Background(), db, `SELECT id FROM sandboxes WHERE state = 'paused' ORDER BY id`, 1, func(f []string) {
		have = append(have, f[0])
	})
	if err == nil && strings.Join(have, " ") != want {
		err = fmt.Errorf("it has %v, want %s", have, want)
	}
	return err
}
