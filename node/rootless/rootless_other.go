//go:build !linux

package rootless

import (
	"context"
	"errors"
	"net"
)

// Config says how a command enters the namespaces of a node.
type Config struct {
	RunDir    string
	Args, Env []string
}

// Enter fails: there are no user namespaces.
func Enter(context.Context, Config) error { return errors.ErrUnsupported }

// Stage reports that this process has no part in namespaces.
func Stage() (code int, is bool) { return 0, false }

// Inside is a command in the namespaces of the user's node: there is none.
type Inside struct{}

// Needed reports that no namespaces help.
func Needed() bool { return false }

// Of returns nil.
func Of() *Inside { return nil }

// Listen listens as net.ListenConfig does.
func (*Inside) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	return (&net.ListenConfig{}).Listen(ctx, network, address)
}

// ListenPacket listens as net.ListenConfig does.
func (*Inside) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	return (&net.ListenConfig{}).ListenPacket(ctx, network, address)
}

// Leave does nothing.
func (*Inside) Leave() error { return nil }
