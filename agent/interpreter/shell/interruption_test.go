//go:build linux

package shell

import (
	"context"
	"sync/atomic"
	"testing"
)

// Handlers end their context when a run has ended: that interrupts nothing any more, however late it is noticed.
func TestARunThatHasEndedInterruptsNothing(t *testing.T) {
	for range 1000 {
		var ended atomic.Bool
		in := &interruption{ended: make(chan struct{}), signal: func() {
			if ended.Load() {
				t.Error("the next run is interrupted")
			}
		}}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		cancel()
		go func() {
			in.follow(ctx)
			close(done)
		}()
		in.end()
		ended.Store(true)
		<-done
	}
}
