package runtime

import (
	"context"
	"fmt"
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
	// beatSlack is how much longer than beatTimeout a question may take before
	// the daemon itself is the reason: it was stopped, or had no processor.
	beatSlack = 2 * time.Second
	// leastTolerance is how late a round may begin, however short the interval.
	leastTolerance = 5 * time.Second
)

// sign is what came of asking a sandbox for a sign of life.
type sign int

const (
	signHeard   sign = iota // It answered, or a lifecycle call works on it.
	signSilent              // It did not answer, and the daemon could hear.
	signUnknown             // The daemon could not hear.
)

// asked is a question to a sandbox and what came of it.
type asked struct {
	sb   *handle
	run  int
	sign sign
	// lacking is what the daemon lacks, for all sandboxes, empty if nothing.
	lacking string
}

// rounds is what is known of the rounds from one to the next. Guarded by
// supervisor.beating.
type rounds struct {
	begun, ended time.Time
	deaf         string // why the last round did not count
}

// listen asks the running sandboxes for a sign of life and notes what came of
// it. What is silent is judged by others.
func (r *Runtime) listen(ctx context.Context) (silent int) {
	begin := time.Now()
	round := reconcile.Round{Tolerance: max(r.cfg.Supervision.Heartbeat, leastTolerance), Late: r.sup.rounds.late(begin, r.cfg.Supervision.Heartbeat)}
	all := r.all()
	answers := make([]asked, len(all))
	var group errgroup.Group
	group.SetLimit(beatsAtOnce(len(all), r.cfg.Supervision.Heartbeat))
	for i, sb := range all {
		group.Go(func() error {
			answers[i] = r.ask(ctx, sb)
			return nil
		})
	}
	_ = group.Wait()
	r.sup.rounds.begun, r.sup.rounds.ended = begin, time.Now()
	if ctx.Err() != nil {
		return 0 // What was not heard at the end says nothing.
	}
	for _, a := range answers {
		switch {
		case a.sb == nil:
		case a.lacking != "":
			round.Lacking = a.lacking
		case a.sign == signHeard:
			round.Heard++
		case a.sign == signSilent:
			round.Silent++
		}
	}
	audible, why := round.Audible()
	r.noteDeaf(round.Lacking, why)
	for _, a := range answers {
		if a.sb != nil {
			a.note(audible, r.sup.rounds.ended)
			if a.sign != signHeard {
				silent++
			}
		}
	}
	return silent
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

// note counts a silence that counts; everything else begins the count anew.
func (a asked) note(audible bool, now time.Time) {
	a.sb.mu.Lock()
	defer a.sb.mu.Unlock()
	b := &a.sb.beat
	switch {
	case a.sb.run != a.run: // It runs in another machine now.
	case a.sign == signSilent && audible && b.run == a.run:
		b.missed++
	default:
		b.run, b.heard, b.missed = a.run, now, 0
	}
}

// ask asks one sandbox, if it runs. One that a lifecycle call works on, within its
// time, is not asked, for it may be frozen: that counts as an answer.
func (r *Runtime) ask(ctx context.Context, sb *handle) asked {
	sb.mu.Lock()
	run, running, slot := sb.run, sb.row.State == sandbox.StateRunning, sb.row.SlotID
	sb.mu.Unlock()
	if !running {
		return asked{}
	}
	a := asked{sb: sb, run: run}
	if sb.life.busy(time.Now()) {
		return a
	}
	if a.sign, a.lacking = r.hear(ctx, sb.id, slot); a.sign == signSilent && sb.life.busy(time.Now()) {
		a.sign = signHeard
	}
	return a
}

// hear asks a machine's agent for an answer. If there is none, it finds out
// whether the daemon is able to hear one. lacking is what keeps it from hearing
// any sandbox; without it, signUnknown is about this one only.
func (r *Runtime) hear(ctx context.Context, id, slot string) (_ sign, lacking string) {
	within := func(f func(context.Context) error) error {
		ctx, cancel := context.WithTimeout(ctx, beatTimeout)
		defer cancel()
		return f(ctx)
	}
	begin := time.Now()
	err := within(func(ctx context.Context) error { return envd.Health(ctx, r.machines.Agent(id)) })
	if err == nil {
		return signHeard, ""
	}
	if what := host.Lack(err); what != "" {
		return signUnknown, what
	}
	if took := time.Since(begin); took > beatTimeout+beatSlack {
		return signUnknown, fmt.Sprintf("the daemon did not run for %v", (took - beatTimeout).Truncate(time.Millisecond))
	}
	check, ok := r.cfg.Network.(PathChecker)
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
		r.log.Warn("a sandbox cannot be reached, for a reason that is not its own", "sandbox_id", id, "error", err)
		return signUnknown, host.Lack(err)
	}
	return signSilent, ""
}
