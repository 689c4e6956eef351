package network

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rundlet/rundlet/network/names"
	"github.com/rundlet/rundlet/network/socks"
)

// proxyTime is how long a proxy's name may take to be looked up when it is given.
const proxyTime = 5 * time.Second

// CheckProxy reports why no slot can reach a proxy: it is in no range that slots reach, or its name has no address that
// is; ErrInvalid. Another error is temporary: its name cannot be looked up now. Whether it answers is not looked at.
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
	err := n.naming.servers.CheckProxy(ctx, p)
	if err != nil && ctx.Err() == nil && !errors.Is(err, names.ErrServers) {
		err = fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return err
}
