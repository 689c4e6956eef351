package retry

import (
	"context"
	"time"
)

// Every wakes at the interval until ctx ends.
func Every(ctx context.Context, interval time.Duration) <-chan struct{} {
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

// Repeat does work now and at each wake-up, until ctx ends. A failure is
// reported and tried again, later each time; a wake-up does not shorten that.
func (p Pauses) Repeat(ctx context.Context, wake <-chan struct{}, work func(context.Context) error, failed func(error)) {
	pauses := p.New()
	for {
		next := wake
		var retry <-chan time.Time
		if err := work(ctx); err != nil {
			failed(err)
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
