package supervise

import (
	"context"
	"log/slog"
	"maps"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rundlet/rundlet/policy/reconcile"
	"github.com/rundlet/rundlet/runtime/background"
	"github.com/rundlet/rundlet/sandbox"
)

const (
	// BeatTimeout is how long an agent has for a sign of life: more than at a
	// start, where others wait for the answer.
	BeatTimeout = 5 * time.Second
	// LeastBeats and MostBeats bound how many are asked at the same time: each wakes
	// its guest, which is work for a processor.
	LeastBeats, MostBeats = 4, 64
	// BeatTime is the longest time in which an answering one answers, on a busy host.
	BeatTime = 50 * time.Millisecond
	// LeastMissed is how many signs of life in a row must be missed, however
	// long the silence was.
	LeastMissed = 3
)

// WatcherConfig holds the dependencies and settings of a Watcher. All fields are required.
type WatcherConfig struct {
	// Interval is how often Beat is called, and Timeout how long a running sandbox may
	// be silent; 0 is reconcile.DefaultHeartbeatTimeout.
	Interval, Timeout time.Duration
	Sandboxes         Sandboxes
	// Agent opens a connection to a guest's agent.
	Agent func(id string) func(context.Context) (net.Conn, error)
	// PagedOut reports a sandbox that is paged out and has not been used since. It is
	// not asked, for that would bring it back, and it is as it was when it answered last.
	PagedOut func(id string) bool
	// Network may be a PathChecker.
	Network    any
	Host       *Host
	Background *background.Group
	Log        *slog.Logger
}

// Watcher asks running sandboxes for heartbeats and settles stuck ones. Safe for
// concurrent use.
type Watcher struct {
	cfg  WatcherConfig
	life context.Context

	beating sync.Mutex // one round at a time; guards rounds
	rounds  rounds

	mu     sync.Mutex // guards what follows
	beats  map[string]*beat
	report WatcherReport
}

// WatcherReport lists the findings and actions of a Watcher. The caller may keep it.
type WatcherReport struct {
	// Stuck is how many sandboxes the last round found past the deadline of a
	// transitional state, and Silent how many running ones did not answer.
	Stuck, Silent int
	// Settled counts the actions on stuck sandboxes, by reconcile.Action.
	Settled map[string]uint64
}

// beat is the last sign of life of a sandbox's machine, or the last time that it
// could not be heard if that was later: its silence counts from then.
type beat struct {
	run    int       // the machine; see View.Run
	heard  time.Time // the last time that there was no silence
	missed int       // since then
	// answered is when it answered last: one that sleeps gives no silence, and no answer.
	answered time.Time
	// settling: a goroutine waits to apply a decision.
	settling bool
}

// NewWatcher returns a Watcher without observations.
func NewWatcher(cfg WatcherConfig) *Watcher {
	return &Watcher{cfg: cfg, life: cfg.Background.Context(), beats: map[string]*beat{}}
}

// Report returns the findings and actions of the Watcher.
func (w *Watcher) Report() WatcherReport {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.report
	out.Settled = maps.Clone(out.Settled)
	return out
}

// AtOnce is how many of n sandboxes are asked at the same time, so that all of them
// are in half of the interval: a round that takes longer delays the next.
func AtOnce(n int, interval time.Duration) int {
	if interval <= 0 {
		return LeastBeats
	}
	return min(max(LeastBeats, int(time.Duration(n)*BeatTime/(interval/2))), MostBeats)
}

// Beat asks the running sandboxes for a sign of life, and settles those that are
// stuck. It waits for no lifecycle call.
func (w *Watcher) Beat(ctx context.Context) {
	w.beating.Lock()
	defer w.beating.Unlock()
	all := w.cfg.Sandboxes.Views()
	w.forget(all)
	silent := w.listen(ctx, all)
	var stuck atomic.Int64
	var group errgroup.Group
	group.SetLimit(AtOnce(len(all), w.cfg.Interval))
	for _, v := range all {
		group.Go(func() error {
			if ctx.Err() != nil {
				return nil // Silence at the end of the context says nothing.
			}
			v, ok := w.cfg.Sandboxes.View(v.ID)
			if !ok {
				return nil
			}
			rec := w.judge(ctx, v, time.Now())
			if v, ok = w.cfg.Sandboxes.View(v.ID); !ok || rec.Action == reconcile.Preserve && !v.Overdue {
				return nil
			}
			if v.state() != sandbox.StateRunning || v.Overdue {
				stuck.Add(1)
			}
			w.settle(v, rec)
			return nil
		})
	}
	_ = group.Wait()
	w.mu.Lock()
	w.report.Silent, w.report.Stuck = silent, int(stuck.Load())
	w.mu.Unlock()
}

// forget drops the beats of sandboxes that are gone.
func (w *Watcher) forget(all []View) {
	w.mu.Lock()
	defer w.mu.Unlock()
	known := make(map[string]*beat, len(all))
	for _, v := range all {
		if known[v.ID] = w.beats[v.ID]; known[v.ID] == nil {
			known[v.ID] = &beat{}
		}
	}
	w.beats = known
}

// with calls f with the beat of a sandbox.
func (w *Watcher) with(id string, f func(*beat)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	b := w.beats[id]
	if b == nil {
		b = &beat{}
		w.beats[id] = b
	}
	f(b)
}

// judge decides about a sandbox now.
func (w *Watcher) judge(ctx context.Context, v View, now time.Time) reconcile.Record {
	watched := reconcile.Watched{ID: v.ID, Deadline: v.Deadline, Row: reconcile.Row{State: v.State}}
	w.with(v.ID, func(b *beat) {
		if b.run == v.Run && b.missed >= LeastMissed {
			watched.Heartbeat = b.heard
		}
	})
	if v.State.Transitional() && !now.Before(v.Deadline) {
		watched.Row, watched.Machine, watched.Network = w.cfg.Sandboxes.Found(ctx, v.ID)
	}
	return reconcile.Stuck([]reconcile.Watched{watched}, now, w.silenceTimeout())[0]
}

// silenceTimeout is how long a sandbox may give no sign of life.
func (w *Watcher) silenceTimeout() time.Duration {
	if w.cfg.Timeout > 0 {
		return w.cfg.Timeout
	}
	return reconcile.DefaultHeartbeatTimeout
}
