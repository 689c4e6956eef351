// Package pager pages idle sandboxes out to the host's swap, as package pageout decides. It
// changes no state of a sandbox: for its client it runs all the time. It may import host,
// policy, sandbox, vm and runtime/live.
package pager

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/rundlet/rundlet/host"
	"github.com/rundlet/rundlet/policy/pageout"
	"github.com/rundlet/rundlet/runtime/live"
	"github.com/rundlet/rundlet/sandbox"
	"github.com/rundlet/rundlet/vm"
)

// Interval is how often a daemon looks which sandboxes are due.
const Interval = 5 * time.Second

// outTimeout bounds one page-out: a swap file on a slow disk takes a while for a large
// sandbox, and what is not out then stays in memory.
const outTimeout = 5 * time.Second

// Sandbox is the state of a sandbox that a Pager knows.
type Sandbox struct {
	ID string
	// Run counts the machines that it had.
	Run int
	// Traffic is when bytes went into or out of it last; zero if never.
	Traffic time.Time
	// Running: it has a machine now. Busy: a lifecycle call works on it.
	Running, Busy bool
}

// Of returns what a Pager must know of the sandboxes of a set, for Config.Sandbox.
func Of(all *live.Set) func(id string) (Sandbox, bool) {
	return func(id string) (Sandbox, bool) {
		sb, ok := all.Find(id)
		if !ok {
			return Sandbox{}, false
		}
		row, run, condemned := sb.Look()
		return Sandbox{
			ID: id, Run: run, Traffic: sb.Traffic(), Busy: sb.Life.Busy(time.Now()),
			Running: row.State == sandbox.StateRunning && sb.Elsewhere == nil && !condemned,
		}, true
	}
}

// Driver is the part of a driver that a Pager uses.
type Driver interface {
	vm.PageOuter
	vm.Statser
}

// Config holds the dependencies and settings of a Pager. All fields are required.
type Config struct {
	// After is how long a sandbox is idle before it is paged out; 0 or less is never.
	After time.Duration
	// Driver may be a Driver of this package; without one nothing is paged out.
	Driver vm.Runtime
	// Sandbox returns one that is not killed.
	Sandbox func(id string) (Sandbox, bool)
	// Swap reports the swap of the host; nil is none.
	Swap func() (host.Swap, error)
	Log  *slog.Logger
}

// Pager pages sandboxes out. Its methods do nothing on a nil Pager. Safe for concurrent
// use.
type Pager struct {
	cfg    Config
	driver Driver

	looking sync.Mutex // one look at a time; guards unread
	unread  string     // the last failure to read the swap

	mu   sync.Mutex // guards what follows; never held across a call
	idle *pageout.Idle
}

// New returns a Pager that has observed no sandbox; nil if none is to be paged out.
func New(cfg Config) *Pager {
	driver, ok := cfg.Driver.(Driver)
	if !ok || cfg.After <= 0 || cfg.Swap == nil {
		return nil
	}
	return &Pager{cfg: cfg, driver: driver, idle: pageout.New(cfg.After)}
}

// Observe takes what a sandbox's machine uses.
func (p *Pager) Observe(id string, run int, s vm.Stats) {
	if p == nil {
		return
	}
	sb, ok := p.cfg.Sandbox(id)
	if !ok || !sb.Running || sb.Run != run {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle.Observe(pageout.Observation{
		ID: id, Run: run, At: s.Time, CPU: s.CPUTime, Memory: s.MemoryBytes, Traffic: sb.Traffic, Busy: sb.Busy,
	})
}

// PagedOut reports whether a sandbox is paged out and has not been used since, so that
// nothing is gained by asking it how it is.
func (p *Pager) PagedOut(id string) bool {
	if p == nil {
		return false
	}
	sb, ok := p.cfg.Sandbox(id)
	if !ok {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.idle.PagedOut(id, sb.Traffic)
}

// Look pages out the sandboxes that are due, one after another. pressed: the host is
// short of memory. Without pressure only compressed memory is used: from a disk a
// sandbox wakes up slowly, and what is in its memory is to be written there only if it must
// be. A look while another one is under way does nothing.
func (p *Pager) Look(ctx context.Context, pressed bool) {
	if p == nil || !p.looking.TryLock() {
		return
	}
	defer p.looking.Unlock()
	swap, err := p.cfg.Swap()
	if p.reportUnread(err); err != nil {
		return
	}
	room := pageout.Room(swap.Total, swap.Free)
	if !pressed && !swap.Zram {
		room = 0
	}
	p.mu.Lock()
	p.idle.Keep(p.running)
	due := p.idle.Due(time.Now(), room, pressed)
	p.mu.Unlock()
	for _, id := range due {
		if ctx.Err() != nil {
			return
		}
		p.pageOut(ctx, id)
	}
}

func (p *Pager) running(id string) bool {
	sb, ok := p.cfg.Sandbox(id)
	return ok && sb.Running
}

// pageOut pages a sandbox out that is idle still.
func (p *Pager) pageOut(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(ctx, outTimeout)
	defer cancel()
	sb, ok := p.cfg.Sandbox(id)
	if !ok || !sb.Running || sb.Busy {
		return
	}
	stats, err := p.driver.Stats(ctx, id)
	if err != nil {
		return // It is about to end.
	}
	p.Observe(id, sb.Run, stats)
	p.mu.Lock()
	still := p.idle.Still(id)
	p.mu.Unlock()
	if !still {
		return
	}
	freed, err := p.driver.PageOut(ctx, id)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.idle.Failed(id, time.Now())
		if _, there := p.cfg.Sandbox(id); there {
			p.cfg.Log.Warn("could not page out idle sandbox", "sandbox_id", id, "error", err)
		}
		return
	}
	p.idle.Done(id, time.Now(), freed)
	p.cfg.Log.Debug("idle sandbox paged out", "sandbox_id", id, "freed_mib", freed>>20)
}

// reportUnread reports a failure to read the swap once, until it is another.
func (p *Pager) reportUnread(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != "" && text != p.unread {
		p.cfg.Log.Warn("could not read the swap; idle sandboxes stay in memory", "error", err)
	}
	p.unread = text
}

// Figures reports the page-outs since New.
func (p *Pager) Figures() pageout.Figures {
	if p == nil {
		return pageout.Figures{}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.idle.Figures()
}
