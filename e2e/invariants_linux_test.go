package e2e

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/client"
	"github.com/rundlet/rundlet/store"
)

// node is a directory with a server that comes and goes, and what it must hold.
type node struct {
	// owner is the test that the servers die with, and not a sub-test.
	owner *testing.T
	dir   string
	srv   *server
	api   client.API
	flags []string
	db    *store.Store
}

// networkSlots is how many slots a server keeps ready, as its flag says.
const networkSlots = 4

// newNode starts a server whose base is prepared.
func newNode(t *testing.T, flags ...string) *node {
	t.Helper()
	srv, api, dir := newServer(t)
	n := &node{owner: t, dir: dir, srv: srv, api: api, flags: append(slices.Clone(cold), flags...)}
	var err error
	if n.db, err = store.Open(t.Context(), filepath.Join(dir, "state", "rundlet.db")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.db.Close() })
	if len(flags) > 0 {
		n.crash(t)
	}
	return n
}

// crash ends the daemon as kill -9 does and starts the next.
func (n *node) crash(t *testing.T) {
	t.Helper()
	n.kill(t)
	n.start()
}

func (n *node) kill(t *testing.T) {
	t.Helper()
	if err := n.srv.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-n.srv.exited
}

func (n *node) start() {
	n.owner.Helper()
	n.srv = startServer(n.owner, n.dir, n.flags...)
	n.api = n.srv.api()
}

// await waits until what check finds wrong has gone, and fails with what stays.
func await(t *testing.T, check func() ([]string, error)) {
	t.Helper()
	awaitFor(t, settle, check)
}

func awaitFor(t *testing.T, most time.Duration, check func() ([]string, error)) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(most)
	for {
		wrong, err := check()
		if err == nil && len(wrong) == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			for _, w := range wrong {
				t.Error(w)
			}
			if err != nil {
				t.Error(err)
			}
			return
		}
	}
}

// checkConsistent waits until rows, machines, network and snapshots are those of
// each other, and fails if they do not become it. snapshots are the ids of the
// snapshots that must be there.
func (n *node) checkConsistent(t *testing.T, snapshots ...string) {
	t.Helper()
	rows := make([]string, len(snapshots))
	for i, id := range snapshots {
		rows[i] = strings.TrimSuffix(id, ":default") // They have no names.
	}
	await(t, func() ([]string, error) { return n.discrepancies(t.Context(), rows) })
}

// checkCapacity creates until there is no room: what is promised must be what
// runs, neither more nor less. It kills what it created.
func (n *node) checkCapacity(t *testing.T, most int) {
	t.Helper()
	list, err := n.api.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	runs := 0
	for _, sb := range list {
		if sb.State == "running" {
			runs++
		}
	}
	var filled []client.Sandbox
	for len(filled) <= most {
		sb, err := n.api.Create(t.Context(), "base", time.Minute)
		if code(err) == 429 {
			break
		}
		if err != nil {
			t.Errorf("fill the server: %v", err)
			break
		}
		filled = append(filled, sb)
	}
	if runs+len(filled) != most {
		t.Errorf("%d ran, and there was room for %d more: want %d together", runs, len(filled), most)
	}
	killAll(t, n.api, filled)
}

// finish kills and deletes all there is, and ends the server: nothing is left.
func (n *node) finish(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	list, err := n.api.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	killAll(t, n.api, list)
	snapshots, err := n.api.Snapshots(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range snapshots {
		if err := n.api.DeleteSnapshot(ctx, s.ID); err != nil {
			t.Error(err)
		}
	}
	n.checkConsistent(t)
	n.srv.stop(t)
	inv, err := takeInventory(n.dir)
	if err != nil {
		t.Fatal(err)
	}
	templates, err := n.db.Templates.All(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if len(inv.machines)+len(inv.bundles)+len(inv.containers)+len(inv.groups)+len(inv.running)+len(inv.pending)+
		len(inv.slots)+len(inv.mounts)+inv.veths+inv.uplinks > 0 || len(inv.snapshots) != len(templates) {
		t.Errorf("the server left %+v", inv)
	}
}

// answers reports what a sandbox that runs says to a command, or why not.
func (n *node) answers(ctx context.Context, id string) error {
	sb, err := n.api.Get(ctx, id)
	if err != nil {
		return err
	}
	out, err := run(ctx, n.api, sb, "hostname")
	if err == nil && strings.TrimSpace(out) != id {
		err = errors.New("it calls itself " + out)
	}
	return err
}

// checkAnswers asks every sandbox that runs.
func (n *node) checkAnswers(t *testing.T) {
	t.Helper()
	list, err := n.api.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, sb := range list {
		if sb.State != "running" {
			continue
		}
		if err := n.answers(t.Context(), sb.ID); err != nil {
			t.Errorf("%s is listed as running: %v", sb.ID, err)
		}
	}
}
