// Package admission decides whether a request is admitted: it needs a share
// of its key, space on the disk, and its turn and capacity in one fair queue. It
// may import sandbox, policy and runtime/fault; the state machine, the warm pool
// and template builds ask it.
package admission

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/rundlet/rundlet/policy/capacity"
	"github.com/rundlet/rundlet/policy/disk"
	"github.com/rundlet/rundlet/runtime/fault"
	"github.com/rundlet/rundlet/sandbox"
)

// Config holds the dependencies and settings of a Controller.
type Config struct {
	Capacity capacity.Budget
	// MaxPending is how many requests may wait, and MaxWait how long one may.
	MaxPending int
	MaxWait    time.Duration
	Shares     Shares
	// Disk reports the free space where DiskRoot is, and Floors the required one. A
	// nil Disk is not checked.
	Disk     disk.Probe
	DiskRoot string
	Floors   disk.Floors
	// OnYield receives the warm machine that must yield to active work.
	OnYield func(id string)
	// Life ends when the daemon closes: waiters give up.
	Life context.Context
	Log  *slog.Logger
}

// Controller admits requests. Safe for concurrent use.
type Controller struct {
	Ledger *capacity.Ledger
	Queue  *capacity.Queue
	Places *Places

	cfg              Config
	gaveUp, diskFull atomic.Uint64
}

// New returns a Controller.
func New(cfg Config) *Controller {
	ledger := capacity.NewLedger(cfg.Capacity)
	return &Controller{
		cfg: cfg, Ledger: ledger, Places: newPlaces(cfg.Shares),
		Queue: capacity.NewQueue(ledger, capacity.QueueConfig{MaxPending: cfg.MaxPending, OnYield: cfg.OnYield}),
	}
}

// Refused returns how many requests waited as long as they may, and how many
// machines were refused for the floor of the disk.
func (c *Controller) Refused() (gaveUp, diskFull uint64) {
	return c.gaveUp.Load(), c.diskFull.Load()
}

// retryPressure is after how long a request that was refused for pressure can be
// tried again.
const retryPressure = 10 * time.Second

// Admit waits for its turn and for capacity, as long as a request may, and
// returns the reservation, which the caller owns. A tenant is an API key, or a
// purpose of the node itself.
func (c *Controller) Admit(ctx context.Context, tenant string, b capacity.Budget) (*capacity.Reservation, error) {
	begin := time.Now()
	ticket, err := c.Queue.Ask(tenant, b)
	if err != nil {
		return nil, refusal(err)
	}
	defer ticket.Cancel()
	wait := time.NewTimer(c.cfg.MaxWait)
	defer wait.Stop()
	select {
	case <-ticket.Admitted():
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for capacity: %w", context.Cause(ctx))
	case <-c.cfg.Life.Done():
		return nil, fmt.Errorf("wait for capacity: %w: the daemon is shutting down", sandbox.ErrUnavailable)
	case <-wait.C:
		if reservation := ticket.Reservation(); reservation != nil {
			return reservation, nil // It came at the same moment.
		}
		place := ticket.Position()
		ticket.Cancel()
		c.gaveUp.Add(1)
		return nil, &sandbox.CapacityError{Resource: "wait", Requested: 1, RetryAfter: fault.RetryFull,
			Detail: fmt.Sprintf("the request waited %s, at place %d of the queue", c.cfg.MaxWait, place)}
	}
	reservation := ticket.Reservation()
	arrival, turn := ticket.Order()
	c.cfg.Log.Debug("request admitted", "tenant", tenant, "arrival", arrival, "turn", turn, "waited", time.Since(begin))
	if waited := time.Since(begin); waited > time.Second {
		c.cfg.Log.Info("request waited for capacity", "tenant", tenant, "waited", waited.Round(time.Millisecond))
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
