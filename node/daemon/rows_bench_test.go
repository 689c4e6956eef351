package daemon

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/rundlet/rundlet/e2b"
	"github.com/rundlet/rundlet/node"
	"github.com/rundlet/rundlet/node/keys"
	"github.com/rundlet/rundlet/policy/capacity"
	"github.com/rundlet/rundlet/runtime"
	"github.com/rundlet/rundlet/runtime/machine"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/store"
	"github.com/rundlet/rundlet/telemetry"
	"github.com/rundlet/rundlet/vm"
	"github.com/rundlet/rundlet/vm/memvm"
)

// BenchmarkRowsByHTTP is what a client waits for beside ten paused sandboxes, snapshots
// and killed sandboxes, and beside ten thousand of each.
func BenchmarkRowsByHTTP(b *testing.B) {
	for _, n := range []int{10, 10000} {
		url, key := rowsServer(b, n)
		for _, bench := range []struct{ name, path string }{
			{"metrics", "/metrics"}, {"sandboxes", "/v2/sandboxes?limit=100"}, {"snapshots", "/snapshots?limit=100"}, {"nothing", "/sandboxes/inone"},
		} {
			b.Run(fmt.Sprintf("%s/%d", bench.name, n), func(b *testing.B) {
				for b.Loop() {
					req, _ := http.NewRequest("GET", url+bench.path, nil)
					req.Header.Set("X-API-Key", key)
					resp, err := http.DefaultClient.Do(req)
					if err != nil {
						b.Fatal(err)
					}
					_, _ = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
					if resp.StatusCode != http.StatusOK && bench.name != "nothing" {
						b.Fatal(resp.Status)
					}
				}
			})
		}
	}
}

// noNetwork is for sandboxes that are never started.
type noNetwork struct{ machine.Network }

func (noNetwork) Adopt(context.Context, []string) ([]string, error) { return nil, nil }

// rowsServer serves a node with n rows of each kind, which nothing was made of but
// one snapshot.
func rowsServer(b *testing.B, n int) (url, key string) {
	b.Helper()
	ctx := context.Background()
	ok := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	driver := memvm.New(memvm.Options{})
	ok(driver.Create(ctx, "vm", vm.Spec{Rootfs: "/base"}))
	ok(driver.Start(ctx, "vm"))
	ok(driver.Snapshot(ctx, "vm", "saved"))
	path := filepath.Join(b.TempDir(), "db")
	db, err := store.Open(ctx, path)
	ok(err)
	b.Cleanup(func() { db.Close() })
	blob := fmt.Sprintf("%2048d", 0)
	claim := store.Snapshot{ID: "p0", Instance: "bench", Kind: "pause", State: store.SnapshotReady, VMID: "vm", Snapshot: "saved",
		Source: "p0", Spec: blob, Manifest: blob, Bytes: 1, CreatedAt: time.Unix(1, 0)}
	saved := claim
	saved.ID, saved.Kind = "s0", "snapshot"
	ok(db.Snapshots.Put(ctx, &claim))
	ok(db.Snapshots.Put(ctx, &saved))
	paused := store.Sandbox{ID: "p0", Instance: "bench", State: "paused", SnapshotID: "p0", Spec: blob, Metadata: map[string]string{"user": "somebody"}, StartedAt: time.Unix(1, 0)}
	ok(db.Sandboxes.Put(ctx, &paused))
	ok(db.Sandboxes.Put(ctx, &store.Sandbox{ID: "k0", Instance: "bench", State: "killed", KilledAt: time.Now()}))
	copies(b, path, "sandboxes", n, "id", "snapshot_id")
	copies(b, path, "snapshots", n, "id", "source")
	_, key, err = keys.New(db).Create(ctx, "bench")
	ok(err)
	log := slog.New(slog.DiscardHandler)
	tel, err := telemetry.New(ctx, telemetry.Config{Log: log})
	ok(err)
	rt, err := runtime.Open(ctx, runtime.Config{
		Instance: "bench", Driver: driver, Network: noNetwork{}, Store: db,
		LockTemplates: func(context.Context) (func(), error) { return func() {}, nil },
		Capacity:      capacity.Budget{CPUs: 1 << 40, MemoryBytes: 1 << 50, DiskBytes: 1 << 60, Sandboxes: 10},
	})
	ok(err)
	b.Cleanup(rt.Close)
	all, err := rt.List(ctx, sandbox.ListFilter{States: []sandbox.State{sandbox.StatePaused}})
	if err != nil || len(all) != n {
		b.Fatalf("%d of %d sandboxes are there, %v", len(all), n, err)
	}
	ok(tel.RegisterState((&node.Node{Runtime: rt}).State))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	ok(err)
	ctx, cancel := context.WithCancel(ctx)
	served := make(chan error, 1)
	go func() {
		served <- e2b.NewServer(e2b.Config{Metrics: tel.Handler(), Log: log}, rt, keys.New(db)).Serve(ctx, ln)
	}()
	b.Cleanup(func() { cancel(); <-served })
	return "http://" + ln.Addr().String(), key
}

// copies makes n rows of each row of a table whose id ends in 0, which is what some
// columns end in.
func copies(b *testing.B, path, table string, n int, numbered ...string) {
	b.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(10000)")
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	var columns, values string
	rows, err := db.Query(`SELECT name FROM pragma_table_info(?)`, table)
	if err != nil {
		b.Fatal(err)
	}
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			b.Fatal(err)
		}
		value := name
		for _, c := range numbered {
			if c == name {
				value = "iif(" + name + " = '', '', substr(" + name + ", 1, 1) || i)"
			}
		}
		columns, values = columns+", "+name, values+", "+value
	}
	rows.Close()
	if _, err := db.Exec(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < ?)
		INSERT INTO `+table+` (`+columns[2:]+`) SELECT `+values[2:]+` FROM n, `+table+` WHERE id LIKE '%0'`, n-1); err != nil {
		b.Fatal(err)
	}
}
