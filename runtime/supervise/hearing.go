package supervise

import (
	"context"
	"fmt"
	"hash/crc32"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/host"
	"github.com/rundlet/rundlet/policy/reconcile"
	"github.com/rundlet/rundlet/sandbox"
)

// PathChecker is a Network that can prove that the daemon is able to reach its
// guests, so that their silence is theirs.
type PathChecker interface {
	// CheckSelf proves that this process can make such a connection at all.
	CheckSelf(ctx context.Context) error
	// CheckPath proves that the way to the guest of a slot is in place.
	CheckPath(ctx context.Context, slotID string) error
}

const (
	// beatSlack is how much longer than BeatTimeout a question may take before
	// the daemon itself is the reason: it was stopped, or had no processor.
	beatSlack = 2 * time.Second
	// leastTolerance is how late a round may begin, however short the interval.
	leastTolerance = 5 * time.Second
)

// sign is the result of a heartbeat request to a sandbox.
type sign int

const (
	signHeard   sign = iota // It answered, or a lifecycle call works on it.
	signSilent              // It did not answer, and the daemon could hear.
	signUnknown             // The daemon could not hear.
	signAsleep              // It was not asked, because it is paged out and answered not long ago.
)

// asked is a heartbeat request to a sandbox and its result.
type asked struct {
	id   string // empty: it was not asked
	run  int
	sign sign
	// lacking is the missing resource of the daemon, for all sandboxes; empty if none.
	lacking string
}

// rounds is the state that passes from one round to the next. Guarded by
// Watcher.beating.
type rounds struct {
	begun, ended time.Time
}

// listen asks the running sandboxes for a heartbeat and records the results.
func (w *Watcher) listen(ctx context.Context, all []View) (count int) {
	begin := time.Now()
	round := reconcile.Round{Tolerance: max(w.cfg.Interval, leastTolerance), Late: w.rounds.late(begin, w.cfg.Interval)}
	answers := w.askAll(ctx, all, false)
	if silence, asleep := silent(answers); silence >= reconcile.MassSilence {
		// Those that sleep were not asked. Some of them show whether it is the daemon that
		// hears none.
		answers = append(answers, w.askAll(ctx, asleep[:min(len(asleep), silence)], true)...)
	}
	w.rounds.begun, w.rounds.ended = begin, time.Now()
	if ctx.Err() != nil {
		return 0 // Silence at the end of the context says nothing.
	}
	for _, a := range answers {
		switch {
		case a.id == "":
		case a.lacking != "":
			round.Lacking = a.lacking
		case a.sign == signHeard:
			round.Heard++
		case a.sign == signSilent:
			round.Silent++
		}
	}
	audible, why := round.Audible()
	w.cfg.Host.NoteDeaf(round.Lacking, why)
	for _, a := range answers {
		if a.id != "" {
			w.note(a, audible, w.rounds.ended)
			if a.sign == signSilent || a.sign == signUnknown {
				count++
			}
		}
	}
	return count
}

// askAll asks sandboxes at the same time; with awake set, also those that sleep.
func (w *Watcher) askAll(ctx context.Context, all []View, awake bool) []asked {
	answers := make([]asked, len(all))
	var group errgroup.Group
	group.SetLimit(AtOnce(len(all), w.cfg.Interval))
	for i, v := range all {
		group.Go(func() error {
			answers[i] = w.ask(ctx, v.ID, awake)
			return nil
		})
	}
	_ = group.Wait()
	return answers
}

// silent counts the sandboxes that are silent, and returns those that sleep.
func silent(answers []asked) (n int, asleep []View) {
	for _, a := range answers {
		switch a.sign {
		case signSilent:
			n++
		case signAsleep:
			asleep = append(asleep, View{ID: a.id})
		}
	}
	return n, asleep
}

// late returns how long after its time a round begins: an interval after the
// last one, or when that one ended.
func (s *rounds) late(now time.Time, interval time.Duration) time.Duration {
	if s.begun.IsZero() || interval <= 0 {
		return 0
	}
	due := s.begun.Add(interval)
	if s.ended.After(due) {
		due = s.ended
	}
	return now.Sub(due)
}

// note counts a silence that counts; everything else begins the count anew. One that
// sleeps is not silent, but has not answered either.
func (w *Watcher) note(a asked, audible bool, now time.Time) {
	v, ok := w.cfg.Sandboxes.View(a.id)
	if !ok || v.Run != a.run {
		return // It runs in another machine now.
	}
	w.with(a.id, func(b *beat) {
		if b.run != a.run {
			*b = beat{run: a.run, settling: b.settling}
		} else if a.sign == signSilent && audible {
			b.missed++
			return
		}
		b.heard, b.missed = now, 0
		if a.sign == signHeard {
			b.answered = now
		}
	})
}

// ask asks one sandbox, if it runs; one that sleeps only if awake is set. One that a lifecycle call works on,
// within its time, is not asked, for it may be frozen: that counts as an answer.
func (w *Watcher) ask(ctx context.Context, id string, awake bool) asked {
	v, ok := w.cfg.Sandboxes.View(id)
	if !ok || v.State != sandbox.StateRunning {
		return asked{}
	}
	a := asked{id: id, run: v.Run}
	if v.Busy {
		return a
	}
	if !awake && w.cfg.PagedOut(id) && w.answeredLately(v) {
		a.sign = signAsleep
		return a
	}
	if a.sign, a.lacking = w.hear(ctx, id, v.Slot); a.sign == signSilent {
		if v, ok := w.cfg.Sandboxes.View(id); ok && v.Busy {
			a.sign = signHeard
		}
	}
	return a
}

// sleepTime is how long at least one that is paged out is not asked: it may hang, and each
// question brings a part of it back. Up to half as much is added, other for each sandbox: not
// all come back at once.
const sleepTime = 10 * time.Minute

func (w *Watcher) answeredLately(v View) (lately bool) {
	spread := time.Duration(crc32.ChecksumIEEE([]byte(v.ID))%128) * sleepTime / 256
	w.with(v.ID, func(b *beat) {
		lately = b.run == v.Run && b.missed == 0 && time.Since(b.answered) < sleepTime+spread
	})
	return lately
}

// hear asks a machine's agent for an answer. If there is none, it finds out
// whether the daemon is able to hear one. lacking is the reason why it cannot hear
// any sandbox; without it, signUnknown is about this one only.
func (w *Watcher) hear(ctx context.Context, id, slot string) (_ sign, lacking string) {
	within := func(f func(context.Context) error) error {
		ctx, cancel := context.WithTimeout(ctx, BeatTimeout)
		defer cancel()
		return f(ctx)
	}
	begin := time.Now()
	err := within(func(ctx context.Context) error { return envd.Health(ctx, w.cfg.Agent(id)) })
	if err == nil {
		return signHeard, ""
	}
	if what := host.Lack(err); what != "" {
		return signUnknown, what
	}
	if took := time.Since(begin); took > BeatTimeout+beatSlack {
		return signUnknown, fmt.Sprintf("the daemon did not run for %v", (took - BeatTimeout).Truncate(time.Millisecond))
	}
	check, ok := w.cfg.Network.(PathChecker)
	if !ok {
		return signSilent, ""
	}
	if err := within(check.CheckSelf); err != nil {
		if what := host.Lack(err); what != "" {
			return signUnknown, what
		}
		return signUnknown, err.Error()
	}
	if err := within(func(ctx context.Context) error { return check.CheckPath(ctx, slot) }); err != nil {
		w.cfg.Log.Warn("sandbox unreachable because of the host", "sandbox_id", id, "error", err)
		return signUnknown, host.Lack(err)
	}
	return signSilent, ""
}
