package machine

import (
	"context"
	"net/netip"
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
	Acquire(ctx context.Context, allowInternet bool) (Slot, error)
	Release(ctx context.Context, slotID string) error
	// SetInternet changes whether a slot reaches the internet. When it returns
	// the new rules are in force.
	SetInternet(ctx context.Context, slotID string, allow bool) error
	// Adopt keeps the slots in use and frees every other one of this instance.
	// It returns those that are not there any more.
	Adopt(ctx context.Context, inUse []string) (missing []string, err error)
}
