//go:build !linux

package network

import (
	"context"
	"net"
	"net/netip"
	"time"

	"github.com/rundlet/rundlet/network/refused"
	"github.com/rundlet/rundlet/network/seen"
	"github.com/rundlet/rundlet/network/socks"
)

// Network is not available on this system.
type Network struct{}

// Open returns ErrUnsupported.
func Open(context.Context, Config) (*Network, error) { return nil, ErrUnsupported }

// Check reports that the system is not supported.
func Check(Config) []Problem {
	return []Problem{{Fatal: true, What: ErrUnsupported.Error(), Hint: "run on Linux"}}
}

// Acquire returns ErrUnsupported.
func (*Network) Acquire(context.Context, Policy) (Slot, error) { return Slot{}, ErrUnsupported }

// SetPolicy returns ErrUnsupported.
func (*Network) SetPolicy(context.Context, string, Policy) error { return ErrUnsupported }

// CheckProxy returns ErrUnsupported.
func (*Network) CheckProxy(context.Context, socks.Proxy) error { return ErrUnsupported }

// Release returns ErrUnsupported.
func (*Network) Release(context.Context, string) error { return ErrUnsupported }

// Adopt returns ErrUnsupported.
func (*Network) Adopt(context.Context, []string) ([]string, error) { return nil, ErrUnsupported }

// DialContext returns ErrUnsupported.
func (*Network) DialContext(context.Context, netip.AddrPort) (net.Conn, error) {
	return nil, ErrUnsupported
}

// Counts returns ErrUnsupported.
func (*Network) Counts() (Counts, error) { return Counts{}, ErrUnsupported }

// Close returns ErrUnsupported.
func (*Network) Close(context.Context) error { return ErrUnsupported }

// Retire fails with ErrUnsupported.
func (*Network) Retire(string) error { return ErrUnsupported }

// Repairs returns none.
func (*Network) Repairs() map[string]uint64 { return nil }

// Broken returns nothing.
func (*Network) Broken() []string { return nil }

// Leased returns ErrUnsupported.
func (*Network) Leased() ([]Slot, error) { return nil, ErrUnsupported }

// Refused returns ErrUnsupported.
func (*Network) Refused(string, time.Time) ([]refused.Attempt, error) { return nil, ErrUnsupported }

// Traffic returns ErrUnsupported.
func (*Network) Traffic(string) (seen.Traffic, error) { return seen.Traffic{}, ErrUnsupported }

// Refusals returns none.
func (*Network) Refusals() *refused.Counter { return nil }

// CheckSelf returns ErrUnsupported.
func (*Network) CheckSelf(context.Context) error { return ErrUnsupported }

// CheckPath returns ErrUnsupported.
func (*Network) CheckPath(context.Context, string) error { return ErrUnsupported }
