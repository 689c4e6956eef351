package admission

import (
	"cmp"
	"sync"

	"github.com/rundlet/rundlet/runtime/fault"
)

// Shares bounds the objects of one API key, and of all of them, at a time. Zero means
// the default, and a negative number no bound.
type Shares struct {
	// RunningPerKey are the sandboxes of a key that have a machine, or wait for
	// one. By default a key may have all that the node runs.
	RunningPerKey int
	// SandboxesPerKey and Sandboxes are those that are not killed, paused ones
	// included: each takes a row, a handle in memory of a few KiB, and time at
	// each start.
	SandboxesPerKey, Sandboxes int
	// SnapshotsPerKey and Snapshots are the snapshots and continuations. A row
	// takes about 4 KiB of the database.
	SnapshotsPerKey, Snapshots int
}

// DefaultShares are far above the use of a node of this kind, and low enough for all
// of them to fit the memory and the database of a small one.
var DefaultShares = Shares{
	RunningPerKey:   -1,
	SandboxesPerKey: 20000, Sandboxes: 50000,
	SnapshotsPerKey: 20000, Snapshots: 50000,
}

// OrDefault replaces zero fields by the defaults.
func (s Shares) OrDefault() Shares {
	d := DefaultShares
	return Shares{
		RunningPerKey:   cmp.Or(s.RunningPerKey, d.RunningPerKey),
		SandboxesPerKey: cmp.Or(s.SandboxesPerKey, d.SandboxesPerKey), Sandboxes: cmp.Or(s.Sandboxes, d.Sandboxes),
		SnapshotsPerKey: cmp.Or(s.SnapshotsPerKey, d.SnapshotsPerKey), Snapshots: cmp.Or(s.Snapshots, d.Snapshots),
	}
}

// Place is a sandbox in the count of its key, from before it waits for capacity
// until it is killed. Its sandbox owns it.
type Place struct {
	key     string
	running bool
	gone    bool
}

// Places counts sandboxes by key. Safe for concurrent use.
type Places struct {
	bounds Shares

	mu      sync.Mutex // guards what follows, and the places
	all     int
	by      map[string]int // by key; without those that have none
	running map[string]int
}

func newPlaces(bounds Shares) *Places {
	return &Places{bounds: bounds, by: map[string]int{}, running: map[string]int{}}
}

// Take counts one more sandbox of a key, which is to run. The caller gives it to
// a sandbox or frees it.
func (p *Places) Take(key string) (*Place, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.bounds
	switch {
	case reached(b.SandboxesPerKey, p.by[key]):
		return nil, fault.Share("this key has %d sandboxes, including paused ones, and cannot have more: end some of them", p.by[key])
	case reached(b.Sandboxes, p.all):
		return nil, fault.Share("this machine has %d sandboxes, including paused ones, and accepts no more: end some of them", p.all)
	}
	if err := p.mayRun(key); err != nil {
		return nil, err
	}
	return p.count(key, true), nil
}

// Adopt counts a sandbox that is there already, whatever the bounds are.
func (p *Places) Adopt(key string, running bool) *Place {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count(key, running)
}

func (p *Places) count(key string, running bool) *Place {
	p.all++
	p.by[key]++
	if running {
		p.running[key]++
	}
	return &Place{key: key, running: running}
}

// Run counts a paused sandbox as one that runs, or is about to.
func (p *Places) Run(pl *Place) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if pl.running || pl.gone {
		return nil
	}
	if err := p.mayRun(pl.key); err != nil {
		return err
	}
	pl.running = true
	p.running[pl.key]++
	return nil
}

func (p *Places) mayRun(key string) error {
	if reached(p.bounds.RunningPerKey, p.running[key]) {
		return fault.Share("this key has %d running sandboxes and cannot have more at a time: end or pause some of them", p.running[key])
	}
	return nil
}

// Rest counts a sandbox as paused. It can be repeated.
func (p *Places) Rest(pl *Place) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stop(pl)
}

func (p *Places) stop(pl *Place) {
	if !pl.running {
		return
	}
	pl.running = false
	decrease(p.running, pl.key)
}

// Free takes a sandbox out of the count. It can be repeated, and nil is none.
func (p *Places) Free(pl *Place) {
	if pl == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if pl.gone {
		return
	}
	p.stop(pl)
	pl.gone = true
	p.all--
	decrease(p.by, pl.key)
}

// reached reports whether a bound leaves no room for one more.
func reached(bound, have int) bool { return bound >= 0 && have >= bound }

// decrease takes one off a count, which ends at zero.
func decrease(counts map[string]int, key string) {
	if counts[key]--; counts[key] == 0 {
		delete(counts, key)
	}
}

// Counts returns how many sandboxes are counted, and how many of them run.
func (p *Places) Counts() (all, running int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, n := range p.running {
		running += n
	}
	return p.all, running
}
