package bound

import (
	"sync"
	"time"
)

// Alarm signals Wake at the earliest of several times. Safe for concurrent use.
type Alarm struct {
	Wake chan struct{}

	mu    sync.Mutex
	timer *time.Timer // Nil if there is none.
	next  time.Time
}

// NewAlarm returns one that is not set.
func NewAlarm() *Alarm { return &Alarm{Wake: make(chan struct{}, 1)} }

// At has it ring at a time, unless it rings before. The zero time is never.
func (a *Alarm) At(when time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if when.IsZero() || a.timer != nil && !when.Before(a.next) {
		return
	}
	if a.timer != nil {
		a.timer.Stop()
	}
	a.next = when
	a.timer = time.AfterFunc(time.Until(when), func() {
		select {
		case a.Wake <- struct{}{}:
		default:
		}
	})
}

// Next is when it rings, if it is set.
func (a *Alarm) Next() (when time.Time, set bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.next, a.timer != nil
}

// Reset forgets the time that was set: it has come.
func (a *Alarm) Reset() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.timer != nil {
		a.timer.Stop()
		a.timer = nil
	}
}

// Stop is Reset for good: the caller sets no more.
func (a *Alarm) Stop() { a.Reset() }
