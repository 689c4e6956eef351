// Package gate lets a Close wait for the calls in progress, and refuses those that come later. It imports the
// standard library only; any package may import it.
package gate

import "sync"

// Gate is open until End. The zero value is open. Safe for concurrent use.
type Gate struct {
	calls sync.RWMutex // Held for reading by each call.
	ended bool
}

// Enter begins a call, which Exit ends; it returns closed, which must not be nil, after End.
func (g *Gate) Enter(closed error) error {
	g.calls.RLock()
	if g.ended {
		g.calls.RUnlock()
		return closed
	}
	return nil
}

// Exit ends a call.
func (g *Gate) Exit() { g.calls.RUnlock() }

// End waits for the calls in progress; again is whether it was called before.
func (g *Gate) End() (again bool) {
	g.calls.Lock()
	defer g.calls.Unlock()
	again = g.ended
	g.ended = true
	return again
}
