package machine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rundlet/rundlet/vm"
)

// ReasonTimeout is how long the reason of a machine's end may come after the
// failure that it caused.
const ReasonTimeout = 2 * time.Second

// GoOn continues a machine that may be frozen, and asks its guest. It trusts no
// record of whether the machine is frozen: it makes it run in any case. It
// returns why the machine ended, if it did, and an error if it cannot say
// whether the machine goes on. A guest that does not answer is not an error: the
// machine may be busy, and the heartbeat gives it the time that it needs.
func (m *Machines) GoOn(ctx context.Context, id string) (ended string, err error) {
	startErr := m.cfg.Driver.Start(ctx, id)
	if startErr == nil || errors.Is(startErr, vm.ErrInvalidTransition) {
		if m.answersOrEnds(ctx, id) {
			return "", nil
		}
	}
	m.awaitEnd(ctx, id, ReasonTimeout)
	view, ok, err := m.cfg.Driver.Get(ctx, id)
	switch {
	case err != nil:
		return "", errors.Join(startErr, err)
	case !ok || view.Status == vm.StatusDestroyed:
		return "lost: its machine ended while it was being paused", nil
	case view.ExitReason != "":
		return view.ExitReason, nil
	case startErr != nil && !errors.Is(startErr, vm.ErrInvalidTransition):
		return "", startErr
	case view.Status != vm.StatusRunning:
		return "", cmp.Or(startErr, fmt.Errorf("it is %s", view.Status))
	}
	m.cfg.Log.Warn("sandbox does not respond after its pause was undone", "sandbox_id", id)
	return "", nil
}

// answersOrEnds waits until the agent answers, and reports whether it did in
// time. It stops when the machine ends.
func (m *Machines) answersOrEnds(ctx context.Context, id string) bool {
	ctx, cancel := context.WithTimeout(ctx, AnswerTimeout)
	defer cancel()
	if waiter, ok := m.cfg.Driver.(vm.Waiter); ok {
		go func() {
			_, _ = waiter.Wait(ctx, id)
			cancel()
		}()
	}
	return m.AwaitAgent(ctx, id) == nil
}

// awaitEnd gives the driver time to learn that, and why, a machine ended.
func (m *Machines) awaitEnd(ctx context.Context, id string, bound time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	if waiter, ok := m.cfg.Driver.(vm.Waiter); ok {
		_, _ = waiter.Wait(ctx, id)
	}
}
