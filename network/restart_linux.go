package network

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/rundlet/rundlet/network/namespace"
)

// Adopt ends a restart: the slots in use stay leased, with the policy that was
// in force, and all others that were found are destroyed; what cannot be now is
// reported to OnError and tried again. lost are the ids that do not exist any
// more, as after a reboot; it is complete also with an ErrUplink.
func (n *Network) Adopt(ctx context.Context, inUse []string) (lost []string, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := n.life.enter(); err != nil {
		return nil, fmt.Errorf("network: adopt: %w", err)
	}
	defer n.life.exit()
	lost, needUplink := n.leases.adopt(inUse)
	if e := n.pool.freeRetired(ctx); e != nil {
		n.cfg.OnError(fmt.Errorf("network: adopt: free orphans: %w", e))
		n.pool.reap()
	}
	if needUplink {
		if e := n.uplink.ensure(); e != nil {
			err = errors.Join(err, fmt.Errorf("network: adopt: %w: %w", ErrUplink, e))
		}
	}
	return lost, err
}

// Close ends the Network. Slots that are leased, or were found and never
// adopted, stay with everything they need, for the next Open; if there are
// none, nothing of the network is left.
func (n *Network) Close(context.Context) error {
	if n.life.end() {
		return nil
	}
	n.stop()
	n.background.Wait()
	defer n.abandon()

	idle, kept := n.leases.end()
	var err error
	for part := range slices.Chunk(idle, freeBatch) {
		err = errors.Join(err, n.pool.free(part...))
	}
	if err == nil && kept == 0 {
		err = n.removeAll()
	}
	if err != nil {
		return fmt.Errorf("network: close: %w", err)
	}
	return nil
}

// removeAll removes what is shared by the slots. The lock file stays: to remove
// it would let two daemons lock two files of the same name.
func (n *Network) removeAll() error {
	if err := n.uplink.remove(); err != nil {
		return err
	}
	if err := namespace.Remove(n.routerPath()); err != nil {
		return err
	}
	return os.Remove(slotsDir(n.cfg.RunDir))
}
