// Package turn serialises the calls on one machine of a driver, and frees the
// caller of one that does not come back. It may import vm and the standard
// library; drivers import it.
package turn

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/rundlet/rundlet/vm"
)

// Grace is how long a call whose context has ended may still take to come back
// with its own result.
const Grace = 250 * time.Millisecond

// Patience is how long Seize waits for a call in progress, and Bound how long
// for one that it broke off.
const (
	Patience = 2 * time.Second
	Bound    = 10 * time.Second
)

// Turn belongs to at most one call at a time. The zero value belongs to none.
// A call whose caller has gone is abandoned: until it comes back, every other
// call is refused, but for Seize. It is safe for concurrent use.
type Turn struct {
	mu        sync.Mutex
	op        string // The operation that has the turn; empty if none.
	abandoned bool
	calls     uint64        // Identifies the holder.
	changed   chan struct{} // Closed at the next change of op or abandoned.
}

// Lock waits for the turn. The error is the context's, or vm.ErrUnavailable if
// the turn belongs to an abandoned call. The caller ends with Unlock or Run.
func (t *Turn) Lock(ctx context.Context, op string) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		taken, by, abandoned, changed := t.try(op)
		switch {
		case taken:
			return nil
		case abandoned:
			return busy(by)
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// Unlock gives the turn back.
func (t *Turn) Unlock() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.op, t.abandoned = "", false
	t.change()
}

// Run runs f for the holder of the turn, gives the turn back when f returns, and
// returns f's error. If ctx ends and f does not return within grace, Run returns
// the context's error and f is abandoned.
func (t *Turn) Run(ctx context.Context, grace time.Duration, f func() error) error {
	t.mu.Lock()
	call := t.calls
	t.mu.Unlock()
	done := make(chan error, 1)
	go func() {
		err := f()
		t.Unlock()
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
	}
	t.mu.Lock()
	if t.op != "" && t.calls == call {
		t.abandoned = true
		t.change()
	}
	t.mu.Unlock()
	select {
	case err := <-done:
		return err
	default:
		return ctx.Err()
	}
}

// Seize takes the turn from its holder, for the end of the machine. It
// waits Patience for a call in progress, and not at all for an abandoned one,
// then runs breakOff, which must make the call fail, and waits Bound for that.
func (t *Turn) Seize(op string, breakOff func()) error {
	timer := time.NewTimer(Patience)
	defer timer.Stop()
	for broken := false; ; {
		taken, by, abandoned, changed := t.try(op)
		if taken {
			return nil
		}
		if !broken && !abandoned {
			select {
			case <-changed:
				continue
			case <-timer.C:
			}
		}
		if !broken {
			breakOff()
			broken = true
			timer.Reset(Bound)
		}
		select {
		case <-changed:
		case <-timer.C:
			return busy(by)
		}
	}
}

// Abandoned names the abandoned call that has the turn; empty if there is none.
func (t *Turn) Abandoned() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.abandoned {
		return t.op
	}
	return ""
}

func (t *Turn) try(op string) (taken bool, by string, abandoned bool, changed <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.op == "" {
		t.op = op
		t.calls++
		t.change()
		return true, "", false, nil
	}
	if t.changed == nil {
		t.changed = make(chan struct{})
	}
	return false, t.op, t.abandoned, t.changed
}

// change must be called with t.mu held.
func (t *Turn) change() {
	if t.changed != nil {
		close(t.changed)
		t.changed = nil
	}
}

func busy(op string) error { return fmt.Errorf("%w: busy: %s", vm.ErrUnavailable, op) }
