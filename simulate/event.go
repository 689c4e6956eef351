package simulate

import "time"

// event is something that happens at a virtual time.
type event struct {
	at  time.Duration // since the start
	seq uint64        // of events at the same time, the first made comes first
	do  kind
	// m is the machine it happens to, if it is still what it was then: each change of
	// state makes the events of the state before void.
	m       *machine
	version int
}

// kind is what happens; handlers says what it does.
type kind uint8

const (
	arrive kind = iota
	burst
	burstArrival
	landed
	landFailed
	expired
	grown
	leave
	pauseNow
	paused
	resumeNow
	killed
	killFailed
	tick
	pressureOn
	pressureOff
	rebuild
	sicken
	heal
	crash
	restart
	retry
	sweep
	rested
	finish
	kinds
)

func (e event) before(o event) bool {
	return e.at < o.at || e.at == o.at && e.seq < o.seq
}

// heap is a binary heap of events. container/heap would allocate for each.
type heap []event

func (h *heap) push(e event) {
	*h = append(*h, e)
	q := *h
	i := len(q) - 1
	for i > 0 {
		parent := (i - 1) / 2
		if !q[i].before(q[parent]) {
			break
		}
		q[i], q[parent] = q[parent], q[i]
		i = parent
	}
}

// pop returns the first event. The heap must not be empty.
func (h *heap) pop() event {
	q := *h
	first := q[0]
	last := len(q) - 1
	q[0] = q[last]
	q[last] = event{} // lets go of the machine.
	q = q[:last]
	*h = q
	for i := 0; ; {
		child := 2*i + 1
		if child >= last {
			return first
		}
		if right := child + 1; right < last && q[right].before(q[child]) {
			child = right
		}
		if !q[child].before(q[i]) {
			return first
		}
		q[i], q[child] = q[child], q[i]
		i = child
	}
}

// after makes something happen to m, or to the node, unless m changes its state
// before.
func (n *node) after(d time.Duration, do kind, m *machine) {
	e := event{at: n.now + d, seq: n.seq, do: do, m: m}
	if m != nil {
		e.version = m.version
	}
	n.seq++
	n.events.push(e)
}

// next lets the next event happen. It returns false at the end.
func (n *node) next() bool {
	for len(n.events) > 0 {
		e := n.events.pop()
		if e.m != nil && e.m.version != e.version {
			continue
		}
		n.now = e.at
		n.count++
		n.log(uint64(e.at), uint64(e.do))
		if e.m != nil {
			n.log(e.m.number, uint64(e.m.state))
		}
		handlers[e.do](n, e.m)
		n.settle()
		return true
	}
	return false
}

// log adds words to the digest of the run (FNV-1a, by words).
func (n *node) log(words ...uint64) {
	for _, w := range words {
		n.digest = fold(n.digest, w)
	}
}

func fold(digest, word uint64) uint64 { return (digest ^ word) * 1099511628211 }
