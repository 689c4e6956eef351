package stream

import (
	"sync"
	"time"
)

// restoreSlack is how late a timer must fire to be taken for a clock jump: with
// some drivers, a restored guest's monotonic clock leaps by the time it was not
// running, and every timer fires at once.
const restoreSlack = 3 * time.Second

// Timer is a time.AfterFunc that begins again when a clock jump made it fire:
// time in which the guest did not run does not count. A nil Timer is stopped.
type Timer struct {
	d time.Duration
	f func()

	mu    sync.Mutex
	t     *time.Timer
	armed time.Time
	off   bool
	now   func() time.Time
}

// AfterFunc calls f in its own goroutine once d has passed in a running guest.
func AfterFunc(d time.Duration, f func()) *Timer { return afterFunc(d, f, time.Now) }

func afterFunc(d time.Duration, f func(), now func() time.Time) *Timer {
	t := &Timer{d: d, f: f, now: now}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.armed = now()
	t.t = time.AfterFunc(d, t.fire)
	return t
}

func (t *Timer) fire() {
	t.mu.Lock()
	if t.off {
		t.mu.Unlock()
		return
	}
	if now := t.now(); now.Sub(t.armed) > t.d+restoreSlack {
		t.armed = now
		t.t.Reset(t.d)
		t.mu.Unlock()
		return
	}
	t.off = true
	t.mu.Unlock()
	t.f()
}

// Stop prevents the call, unless it was made already.
func (t *Timer) Stop() {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.off = true
	t.t.Stop()
}
