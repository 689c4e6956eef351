package network

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/nftables"

	"github.com/rundlet/rundlet/network/namespace"
	"github.com/rundlet/rundlet/network/shares"
)

// share adds the table of shares to a batch, unless it is there: its counts must
// outlive the daemon that made it. One that something else has changed is
// replaced. The caller holds mu.
func (r *nftRules) share(conn *nftables.Conn) error {
	want, err := r.shares()
	if err != nil {
		return fmt.Errorf("read the size of the table of flows: %w", err)
	}
	want.Down = r.down
	found, err := conn.ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil {
		return fmt.Errorf("list tables: %w", err)
	}
	keep := r.flows.Table == "" // As an earlier process left it.
	if !keep {
		if keep, err = r.flows.Whole(nil); err != nil {
			return err
		}
	}
	r.flows.Table = want.Table()
	for _, t := range found {
		if t.Name == want.Table() && keep {
			return nil
		}
		if strings.HasPrefix(t.Name, shares.Prefix) {
			conn.DelTable(t)
		}
	}
	return shares.Add(conn, want, uplinkRouter)
}

// shortenTracking sets the times after which the router forgets silent flows.
func (r *router) shortenTracking() error {
	return namespace.In(r.ns, func() error {
		for key, value := range map[string]time.Duration{
			"established": shares.EstablishedTime, "time_wait": shares.ClosingTime,
		} {
			err := namespace.WriteSysctl("netfilter/nf_conntrack_tcp_timeout_"+key, strconv.Itoa(int(value.Seconds())))
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// sweepTime is how often tracked flows that no slot has are looked for.
const sweepTime = 10 * time.Minute

func (p *pool) sweepFlows(context.Context) error {
	if p.life.Enter(ErrClosed) != nil {
		return nil
	}
	defer p.life.Exit()
	return p.tracking.Sweep()
}
