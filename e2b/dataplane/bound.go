package dataplane

import "errors"

// errTooManyStreams: there are as many connections into sandboxes, into this
// one, or into all of its key, as there may be.
var errTooManyStreams = errors.New("too many connections into sandboxes")

// take counts a connection that a run is about to open, and reports whether it
// may. Connections that are only kept for later requests make room.
func (p *pool) take(r *run) bool {
	if p.tryTake(r) {
		return true
	}
	p.mu.Lock()
	runs := make([]*run, 0, len(p.runs))
	for _, other := range p.runs {
		runs = append(runs, other)
	}
	p.mu.Unlock()
	for _, other := range runs {
		other.closeIdle()
	}
	return p.tryTake(r)
}

// closeIdle closes the connections that are only kept for later requests.
func (r *run) closeIdle() {
	r.agent.CloseIdleConnections()
	r.kept.CloseIdleConnections()
}

func (p *pool) tryTake(r *run) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.most > 0 && (p.open >= p.most || r.open >= p.mostOfOne || p.openOf[r.owner] >= p.mostOfKey) {
		return false
	}
	p.open++
	p.openOf[r.owner]++
	r.open++
	return true
}

// give ends the count of a connection.
func (p *pool) give(r *run) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open--
	if p.openOf[r.owner]--; p.openOf[r.owner] == 0 {
		delete(p.openOf, r.owner)
	}
	r.open--
}
