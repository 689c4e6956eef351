package machine

import (
	"context"
	"net/netip"
	"time"

	"github.com/rundlet/rundlet/policy/egress"
	"github.com/rundlet/rundlet/sandbox"
)

// Slot is a network place for one sandbox, with its rules in force.
type Slot struct {
	ID      string
	NetNS   string
	GuestIP netip.Addr
}

// Network gives slots. *network.Network is adapted to it by cmd; a slot is used
// for one machine only.
type Network interface {
	// Acquire returns a slot with the policy in force.
	Acquire(ctx context.Context, p egress.Policy) (Slot, error)
	Release(ctx context.Context, slotID string) error
	// SetEgress changes what a slot reaches. When it returns the new policy is in force; on
	// an error the old one is. What both allow is not disturbed.
	SetEgress(ctx context.Context, slotID string, p egress.Policy) error
	// CheckProxy says why a client's policy has a proxy that no slot can reach, such as one in a private network;
	// sandbox.ErrInvalid. It may look its name up. What is in force already is not checked again.
	CheckProxy(ctx context.Context, p egress.Policy) error
	// Refused returns what a slot was refused, the latest first; none, at no cost, if that was all until a time.
	Refused(slotID string, since time.Time) ([]sandbox.Refusal, error)
	// Refusals receives after slots were refused something, once for much; nil never does. It is for one reader.
	Refusals() <-chan struct{}
	// Traffic returns what a slot sent, received and reached.
	Traffic(slotID string) (sandbox.Traffic, error)
	// Adopt keeps the slots in use and frees every other one of this instance.
	// It returns those that are not there any more.
	Adopt(ctx context.Context, inUse []string) (missing []string, err error)
}
