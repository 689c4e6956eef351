package network

import (
	"sync"
)

// life lets Close wait for the calls that need the kernel's objects, and refuses
// those that come later. Safe for concurrent use.
type life struct {
	calls sync.RWMutex // Held for reading by each call.
	ended bool
}

// enter begins a call, which exit ends. ErrClosed.
func (l *life) enter() error {
	l.calls.RLock()
	if l.ended {
		l.calls.RUnlock()
		return ErrClosed
	}
	return nil
}

func (l *life) exit() { l.calls.RUnlock() }

// end waits for the calls in progress; again is whether it was called before.
func (l *life) end() (again bool) {
	l.calls.Lock()
	defer l.calls.Unlock()
	again = l.ended
	l.ended = true
	return again
}
