//go:build linux

package machine

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rundlet/rundlet/vm"
)

// A guest that was restored can end a new connection, which it takes for one of those that the snapshot had.
func TestANewConnectionThatEndsIsMadeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &double{ends: 3}
		m := newVM(t, d)
		if err := m.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		d.want(t, "resume", "dial", "dial", "dial", "dial", "wake")
		d.mu.Lock()
		d.ends = 1 << 30
		d.mu.Unlock()
		m.HangUp()
		begin := time.Now()
		if err := m.Run(t.Context()); !errors.Is(err, vm.ErrUnavailable) {
			t.Error(err)
		}
		if took := time.Since(begin); took > wakeTime+time.Second {
			t.Errorf("it took %v", took)
		}
		m.HangUp()
	})
}
