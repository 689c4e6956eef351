package warmpool

import "time"

// Counters only grow, for as long as the key is known.
type Counters struct {
	// Hits are checkouts of a ready entry; Misses the others, also those that
	// got a prepared one.
	Hits, Misses uint64
	// Failures of launches and raises.
	Failures uint64
	// Refills that succeeded, and the time they took together: the count and
	// sum of a histogram.
	Refills    uint64
	RefillTime time.Duration
}

// Stats describe one key at one moment.
type Stats struct {
	Key    Key
	Target Target
	Counters
	// Ready and Prepared count the entries that could be handed out; Unfit
	// those that wait to be retired.
	Ready, Prepared, Unfit int
	// InFlight are launches and raises on their way.
	InFlight int
	// Oldest is the age of the oldest entry; zero without one.
	Oldest time.Duration
	// RetryAt is when a key that failed is tried again; zero if it did not.
	RetryAt time.Time
}

// Stats returns one element per known key, in key order.
func (p *Pool) Stats(now time.Time) []Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]Stats, 0, len(p.order))
	for _, s := range p.order {
		st := Stats{
			Key: s.key, Target: s.target, Counters: s.counters,
			InFlight: s.landing[Ready] + s.landing[Prepared], RetryAt: s.notBefore,
		}
		for stage := range stages {
			for _, e := range s.entries[stage] {
				st.Oldest = max(st.Oldest, now.Sub(e.Since))
			}
		}
		st.Ready, st.Prepared = s.fit(Ready, now), s.fit(Prepared, now)
		st.Unfit = len(s.entries[Ready]) + len(s.entries[Prepared]) - st.Ready - st.Prepared
		out = append(out, st)
	}
	return out
}

// Depth counts what the pool has of each stage over all keys: entries that could
// be handed out, and launches and raises on their way. Entries that wait to be
// retired do not count.
func (p *Pool) Depth(now time.Time) (ready, prepared int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var depth [stages]int
	for _, s := range p.order {
		for stage := range stages {
			depth[stage] += s.landing[stage] + s.fit(stage, now)
		}
	}
	return depth[Ready], depth[Prepared]
}
