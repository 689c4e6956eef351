package network

import (
	"context"
	"fmt"
	"time"

	"github.com/rundlet/rundlet/network/socks"
)

// proxyTime is how long a proxy's name may take to be looked up when it is given.
const proxyTime = 5 * time.Second

// CheckProxy reports why no slot can reach a proxy: it is in no range that slots reach, or its name has no address that
// is, or cannot be looked up now. ErrInvalid. Whether it answers is not looked at.
func (n *Network) CheckProxy(ctx context.Context, p socks.Proxy) error {
	if err := n.life.Enter(ErrClosed); err != nil {
		return err
	}
	defer n.life.Exit()
	if err := n.way(Policy{AllowInternet: true}); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, proxyTime)
	defer cancel()
	if err := n.naming.servers.CheckProxy(ctx, p); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return nil
}
