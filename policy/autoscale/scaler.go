package autoscale

import (
	"slices"
	"time"
)

// Scaler goes from state to state. It is a small value: copy it to ask what it
// would do. The zero value with a Config is Nominal. It is not safe for
// concurrent use.
type Scaler struct {
	Config Config

	// level is Nominal, Watch, Shrink or Critical.
	level State
	// recovering is set from Shrink on until calm has lasted.
	recovering bool
	// measures counts how many of shrinkOrder are in force; the last since added.
	measures int
	added    time.Time
	// quiet says that the level is no longer deserved, since when, and the worst
	// seen in that time.
	quiet bool
	since time.Time
	worst State
}

// New returns a scaler in Nominal.
func New(c Config) Scaler { return Scaler{Config: c} }

// State returns where the last Step ended.
func (s *Scaler) State() State {
	if s.recovering && s.level == Nominal {
		return Recovery
	}
	return s.level
}

// Step takes a sample and returns the state and what to do, in order, until the
// next Step. Call it every second, and every half second while it is not
// Nominal; times must not go backwards. The list is complete: an action that is not in
// it is not allowed (launching) or no longer requested (measures).
//
//	Nominal   refill_hot, resume_snapshot, start_warm
//	Watch     hold, resume_snapshot
//	Recovery  resume_snapshot, refill_hot
//	Shrink    the shrink order up to a measure, one more after each Escalate
//	Critical  the whole shrink order
//
// Shrink and Critical without the pressure, while Hold runs, keep what lasts of
// the measures and hold. Idle sandboxes are suspended only where memory is short: it
// frees nothing else.
func (s *Scaler) Step(now time.Time, sample Sample) (State, []Decision) {
	judged, reach := s.Config.judge(sample)
	seen, _ := s.Config.judge(sample.worse())
	switch {
	case judged > s.level:
		s.rise(now, judged)
	case seen < s.level || s.recovering && seen == Nominal && s.level == Nominal:
		s.fall(now, seen)
	default:
		s.quiet = false
	}
	if s.level < Shrink {
		s.measures = 0
		return s.State(), s.growth()
	}
	out := s.shrink(now, judged, reach)
	if max(s.Config.Memory.judge(sample.Memory), s.Config.ReserveMemory.judge(sample.MemoryAvailable, sample.MemoryTotal)) < Shrink {
		out = slices.DeleteFunc(out, func(d Decision) bool { return d == SuspendIdle })
	}
	return s.level, out
}

func (s *Scaler) rise(now time.Time, to State) {
	s.level, s.quiet = to, false
	if to >= Shrink {
		s.recovering = true
		if s.measures == 0 {
			s.measures, s.added = 1, now
		}
	}
}

// fall counts the time without pressure, and goes down to the worst that was
// seen in it once that is Hold.
func (s *Scaler) fall(now time.Time, seen State) {
	if !s.quiet {
		s.quiet, s.since, s.worst = true, now, seen
	}
	s.worst = max(s.worst, seen)
	if now.Sub(s.since) < s.Config.Hold {
		return
	}
	if s.level == Nominal {
		s.recovering = false
	}
	s.level, s.quiet = s.worst, false
}

func (s *Scaler) growth() []Decision {
	switch s.State() {
	case Watch:
		return []Decision{Hold, ResumeSnapshot}
	case Recovery:
		return []Decision{ResumeSnapshot, RefillHot}
	}
	return []Decision{RefillHot, ResumeSnapshot, StartWarm}
}

func (s *Scaler) shrink(now time.Time, judged State, reach int) []Decision {
	pressed := judged >= Shrink
	switch {
	case judged == Critical && reach > s.measures:
		s.measures, s.added = reach, now
	case pressed && s.measures < reach && now.Sub(s.added) >= s.Config.Escalate:
		s.measures, s.added = s.measures+1, now
	}
	var out []Decision
	for i, d := range shrinkOrder[:s.measures] {
		if d.lasting() || pressed && i < reach {
			out = append(out, d)
		}
	}
	if !pressed {
		out = append(out, Hold)
	}
	return out
}
