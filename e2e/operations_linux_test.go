package e2e

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rundlet/rundlet/client"
)

var seed = flag.Uint64("seed", 0, "seed of the random operations; 0 draws one and prints it")

// The sizes of the random runs. There is a place for each sandbox,
// and the server has room for more.
const (
	actors = 8
	places = 20
	room   = 40
)

func TestRandomOperationsLeaveEveryFileAndCounterAsItMustBe(t *testing.T) {
	most := 120
	if *soak {
		most = 2000
	}
	randomly(t, most, 0)
}

func TestRandomOperationsUnderADaemonThatIsKilledLoseNothing(t *testing.T) {
	most, kills := 150, 2
	if *soak {
		most, kills = 2000, 20
	}
	randomly(t, most, kills)
}

// randomly lets the clients do a number of operations, while the daemon is
// killed and started a number of times, and then looks at everything.
func randomly(t *testing.T, most, kills int) {
	s := drawSeed(t)
	n := newNode(t, fmt.Sprintf("--max-sandboxes=%d", room), "--warm=2", "--prepared=1", "--queue-wait=20s")
	w := newWorld(t, n, places)
	begin := time.Now()
	at := moments(s, most, kills)
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	for i := range actors {
		a := &actor{world: w, name: actorName(i), rng: rand.New(rand.NewPCG(s, uint64(i)))}
		all.Go(func() {
			// Each has its share, so that it decides the same whatever the others do.
			for done := 0; done < most/actors && ctx.Err() == nil; {
				if a.act(ctx) {
					done++
				}
			}
		})
	}
	ended := make(chan struct{})
	go func() { all.Wait(); close(ended) }()
	w.follow(at, ended, most)
	took := time.Since(begin)
	w.report(t, took, kills, s)
	if t.Failed() {
		t.Log(n.srv.troubles(w.failed...))
		return
	}
	w.settleUp(t)
}

// drawSeed returns the seed that was asked for, or draws and prints one.
func drawSeed(t *testing.T) uint64 {
	t.Helper()
	s := *seed
	if s == 0 {
		s = rand.Uint64()
	}
	t.Logf("seed %d: the same decisions again with -seed=%d", s, s)
	return s
}

// moments are the numbers of operations after which the daemon is killed.
func moments(seed uint64, most, kills int) []int {
	rng := rand.New(rand.NewPCG(seed, 1<<32))
	at := make([]int, kills)
	for i := range at {
		at[i] = 1 + rng.IntN(most*9/10)
	}
	slices.Sort(at)
	return at
}

// follow kills the daemon at the moments, until the clients are through.
func (w *world) follow(at []int, ended <-chan struct{}, most int) {
	next := most / 10
	for {
		select {
		case <-ended:
			return
		case done := <-w.progress:
			if done >= next {
				w.t.Logf("%d of %d operations", done, most)
				next += most / 10
			}
			if len(at) > 0 && done >= at[0] {
				at = at[1:]
				w.crash()
			}
		}
	}
}

func (w *world) report(t *testing.T, took time.Duration, kills int, seed uint64) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range w.failures {
		t.Error(f)
	}
	record(t, "random operations", map[string]any{"seed": seed, "operations": w.done, "daemon_kills": kills,
		"failures": len(w.failures), "seconds": took.Seconds(), "outcomes": w.counts})
}

// settleUp checks everything after all operations have ended.
func (w *world) settleUp(t *testing.T) {
	w.n.api = w.api
	ctx := t.Context()
	w.checkLives(t)
	w.reap(t)
	var ids []string
	for id := range w.snapshots {
		ids = append(ids, id)
	}
	w.n.checkConsistent(t, ids...)
	w.n.checkAnswers(t)
	for id, f := range w.snapshots {
		sb, err := w.api.CreateWith(ctx, client.CreateOptions{Template: id, Timeout: live})
		if err != nil {
			t.Errorf("create from snapshot %s: %v", id, err)
			continue
		}
		w.checkFiles(t, newLife(sb, f))
		killAll(t, w.api, []client.Sandbox{sb})
	}
	w.n.checkCapacity(t, room)
	w.n.finish(t)
}

// checkLives looks for each sandbox, and into it.
func (w *world) checkLives(t *testing.T) {
	t.Helper()
	for _, l := range slices.Clone(w.places) {
		if l == nil {
			continue
		}
		_, _, err := w.api.Connect(t.Context(), l.sb.ID, live)
		if code(err) == 404 && l.mayBeGone() {
			w.remove(l)
			continue
		}
		if err != nil {
			t.Errorf("%s is lost: %v", l.sb.ID, err)
			continue
		}
		w.checkFiles(t, l)
	}
}

// checkFiles compares a sandbox with what is known of it, and lets its counter
// count on.
func (w *world) checkFiles(t *testing.T, l *life) {
	t.Helper()
	l.known, l.killing = running, false
	var names []string
	for i := range actors {
		names = append(names, actorName(i))
	}
	a := &actor{world: w, name: "end"}
	for _, err := range []error{
		a.inspect(t.Context(), l, names...), a.append(t.Context(), l, 0), a.inspect(t.Context(), l, names...),
	} {
		if err != nil {
			t.Errorf("%s: %v", l.sb.ID, err)
		}
	}
}

func actorName(i int) string { return string(rune('a' + i)) }

// reap ends what calls that failed together with the server made all the same.
func (w *world) reap(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	known := map[string]bool{}
	for _, l := range w.places {
		if l != nil {
			known[l.sb.ID] = true
		}
	}
	list, err := w.api.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var orphans []client.Sandbox
	for _, sb := range list {
		if !known[sb.ID] {
			orphans = append(orphans, sb)
		}
	}
	if len(orphans) > w.orphans {
		t.Errorf("%d orphaned sandboxes, want at most %d", len(orphans), w.orphans)
	}
	killAll(t, w.api, orphans)
	snapshots, err := w.api.Snapshots(ctx)
	if err != nil {
		t.Fatal(err)
	}
	strays := 0
	for _, s := range snapshots {
		if _, ok := w.snapshots[s.ID]; ok {
			continue
		}
		strays++
		if err := w.api.DeleteSnapshot(ctx, s.ID); err != nil {
			t.Error(err)
		}
	}
	if strays > w.strays {
		t.Errorf("%d orphaned snapshots, want at most %d", strays, w.strays)
	}
}
