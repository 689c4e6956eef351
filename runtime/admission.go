package runtime

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rundlet/rundlet/policy/capacity"
	"github.com/rundlet/rundlet/runtime/fault"
	"github.com/rundlet/rundlet/sandbox"
)

// The pause after which a request that was refused can be tried again.
const (
	retryPressure = 10 * time.Second
)

// admit waits for its turn and for capacity, as long as a request may, and
// returns the reservation, which the caller owns.
func (r *Runtime) admit(ctx context.Context, tenant string, b capacity.Budget) (*capacity.Reservation, error) {
	begin := time.Now()
	ticket, err := r.queue.Ask(tenant, b)
	if err != nil {
		return nil, refusal(err)
	}
	defer ticket.Cancel()
	wait := time.NewTimer(r.cfg.MaxWait)
	defer wait.Stop()
	select {
	case <-ticket.Admitted():
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for capacity: %w", context.Cause(ctx))
	case <-r.life.Done():
		return nil, fmt.Errorf("wait for capacity: %w: the daemon is shutting down", sandbox.ErrUnavailable)
	case <-wait.C:
		if reservation := ticket.Reservation(); reservation != nil {
			return reservation, nil // It came at the same moment.
		}
		place := ticket.Position()
		ticket.Cancel()
		r.tally.gaveUp.Add(1)
		return nil, &sandbox.CapacityError{Resource: "wait", Requested: 1, RetryAfter: fault.RetryFull,
			Detail: fmt.Sprintf("it waited %s, at place %d of the queue", r.cfg.MaxWait, place)}
	}
	reservation := ticket.Reservation()
	arrival, turn := ticket.Order()
	r.log.Debug("request admitted", "tenant", tenant, "arrival", arrival, "turn", turn, "waited", time.Since(begin))
	if waited := time.Since(begin); waited > time.Second {
		r.log.Info("a request waited for capacity", "tenant", tenant, "waited", waited.Round(time.Millisecond))
	}
	return reservation, nil
}

// refusal is a refusal of the queue as the runtime's error.
func refusal(err error) error {
	var (
		never   *capacity.Error
		full    *capacity.FullError
		refused *capacity.RefusedError
	)
	switch {
	case errors.As(err, &never):
		return &sandbox.CapacityError{Resource: never.Resource, Requested: never.Requested, Available: never.Available}
	case errors.As(err, &full):
		return &sandbox.CapacityError{Resource: "queue", Requested: 1, RetryAfter: fault.RetryFull, Detail: full.Error()}
	case errors.As(err, &refused):
		return &sandbox.CapacityError{Resource: "pressure", Requested: 1, RetryAfter: retryPressure, Detail: refused.Reason}
	}
	return err
}
