package network

import (
	"context"
	"fmt"
	"sync"
	"time"
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

// every wakes at the interval until ctx ends.
func every(ctx context.Context, interval time.Duration) <-chan struct{} {
	wake := make(chan struct{})
	go func() {
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			select {
			case <-ctx.Done():
				return
			case wake <- struct{}{}:
			}
		}
	}()
	return wake
}

// repeat does work now and at each wake-up, until ctx ends. A failure is
// reported and tried again, later each time; a wake-up does not shorten that.
func repeat(ctx context.Context, wake <-chan struct{}, what string, work func(context.Context) error, onError func(error)) {
	pauses := retries.New()
	for {
		next := wake
		var retry <-chan time.Time
		if err := work(ctx); err != nil {
			onError(fmt.Errorf("network: %s: %w", what, err))
			next, retry = nil, time.After(pauses.NextBackOff())
		} else {
			pauses.Reset()
		}
		select {
		case <-ctx.Done():
			return
		case <-next:
		case <-retry:
		}
	}
}
