package runtime

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/rundlet/rundlet/policy/capacity"
	"github.com/rundlet/rundlet/policy/pageout"
	"github.com/rundlet/rundlet/policy/reconcile"
	"github.com/rundlet/rundlet/policy/warmpool"
	"github.com/rundlet/rundlet/runtime/supervise"
	"github.com/rundlet/rundlet/sandbox"
)

// Figures are the current state of a Runtime, and its counts since it was opened.
// Each part is read at one moment, and the parts one after another: an object that
// moves between them may be counted in both or in neither.
type Figures struct {
	// Sandboxes that are not killed, by state.
	Sandboxes map[sandbox.State]int
	// Stuck ones of them are past the deadline of a transitional state.
	Stuck    int
	Capacity capacity.Usage
	Queue    capacity.Stats
	// GaveUp of Queue.Cancelled had waited as long as a request may.
	GaveUp uint64
	// DiskFull are the creates and resumes that were refused for the floor of the
	// disk, before they asked the queue.
	DiskFull  uint64
	WarmPools []WarmPool
	// Kills are the sandboxes that ended, by their reason up to its colon.
	Kills map[string]uint64
	// Reconciled reports the actions of Open on the state that an earlier process left.
	Reconciled reconcile.Report
	// Snapshots that are complete, by kind: snapshot, pause, filesystem_pause,
	// continuation, fork.
	Snapshots map[string]SnapshotFigures
	// SetAside counts the orphans by kind, and the quarantined sandboxes.
	SetAside map[string]int
	// Supervision and Pressure are of the last look of each.
	Supervision SupervisionReport
	Pressure    supervise.PressureReport
	// PagedOut counts the sandboxes in the host's swap.
	PagedOut pageout.Figures
	// Lacking names the resources that the daemon lacks for its own work.
	Lacking []string
	// Repairs counts those of the network, by loss; nil if it does not count them.
	Repairs map[string]uint64
	// RefusedPackets counts packets of sandboxes that the network refused, as far as it saw them.
	RefusedPackets uint64
}

// WarmPool is the pool of one template.
type WarmPool struct {
	// Template is its name, or its id if it has none.
	Template string
	warmpool.Stats
}

// SnapshotFigures are of one kind of snapshots.
type SnapshotFigures struct {
	Count int
	// Bytes of their files. Files that several snapshots share are counted once,
	// for the oldest.
	Bytes int64
}

// tally keeps the counts that no other part of the runtime keeps.
type tally struct {
	mu sync.Mutex
	// kills are by the reason up to its colon, frees by the kind of the freed object.
	kills, frees map[string]uint64
}

func (t *tally) killed(reason string) {
	class, _, _ := strings.Cut(reason, ":")
	t.count(&t.kills, class)
}

func (t *tally) freed(what string) { t.count(&t.frees, what) }

func (t *tally) count(counts *map[string]uint64, key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if *counts == nil {
		*counts = map[string]uint64{}
	}
	(*counts)[key]++
}

// counts returns copies of both.
func (t *tally) counts() (kills, frees map[string]uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.kills), maps.Clone(t.frees)
}

// Figures reads them. It costs a query of the store; errors are the store's.
func (r *reads) Figures(ctx context.Context) (Figures, error) {
	now := time.Now()
	gaveUp, diskFull := r.admission.Refused() // Before the queue's, which have them too.
	f := Figures{
		Capacity: r.admission.Ledger.Usage(),
		GaveUp:   gaveUp, DiskFull: diskFull, Reconciled: r.reconciled,
		Supervision: r.Supervision(), Pressure: r.Pressure(), PagedOut: r.pager.Figures(), Lacking: r.Lacking(),
	}
	f.Queue = r.admission.Queue.Stats()
	f.Sandboxes, f.Stuck = r.live.Roster.Figures(now)
	if n, ok := r.cfg.Network.(supervise.SelfRepairer); ok {
		f.Repairs, f.RefusedPackets = n.Repairs(), n.RefusedPackets()
	}
	for _, stats := range r.pool.Stats(now) {
		f.WarmPools = append(f.WarmPools, WarmPool{r.pool.Name(stats.Key), stats})
	}
	f.Kills, _ = r.tally.counts()
	counts, err := r.cfg.Store.Snapshots.Count(ctx)
	if err != nil {
		return Figures{}, fmt.Errorf("figures: %w", err)
	}
	f.Snapshots = map[string]SnapshotFigures{}
	for kind, n := range counts {
		f.Snapshots[kind] = SnapshotFigures(n)
	}
	if f.SetAside, err = r.Orphans(ctx); err != nil {
		return Figures{}, fmt.Errorf("figures: %w", err)
	}
	return f, nil
}

// Orphans counts the orphans by kind, and as "sandbox" the quarantined sandboxes.
func (r *reads) Orphans(ctx context.Context) (map[string]int, error) { return r.orphans.Count(ctx) }
