package bench

import (
	"context"
	"errors"
	"net"

	"github.com/rundlet/rundlet/bench/guest"
	"github.com/rundlet/rundlet/bench/ingress"
)

// ports measures the way to a port of a sandbox, in turn with the same client at the end of the connection that the daemon
// would dial, and with another proxy.
func ports(ctx context.Context, m *measurement) (err error) {
	if err := m.open(ctx, Config{}); err != nil {
		return err
	}
	sb, err := m.create(ctx)
	if err != nil {
		return err
	}
	defer m.kill(ctx, sb.ID, &err)
	stop, err := guest.Serve(ctx, m.server.API.Agent(sb), m.setup.Program, "bench", "guest")
	if err != nil {
		return err
	}
	defer stop()
	dial := func(ctx context.Context) (net.Conn, error) { return m.server.Bare.Dial(ctx, sb.ID, ingress.Port) }
	through, direct := ingress.Through(m.server.API, sb.ID), ingress.Direct(dial)
	plain, err := ingress.Behind(ctx, dial)
	if err != nil {
		return err
	}
	err = ingress.Measurement{Rows: &m.Table, Clock: m.clock(), Plan: m.plan, Rounds: m.rounds, Through: through, Direct: direct, Plain: plain}.Run(ctx)
	return errors.Join(err, through.Close(), direct.Close(), plain.Close())
}
