package fakeruntime

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/rundlet/rundlet/sandbox"
)

// Refused implements e2b.RuntimeAdapter.
func (f *Runtime) Refused(ctx context.Context, id string) ([]sandbox.Refusal, error) {
	if _, err := f.Get(ctx, id); err != nil {
		return nil, err
	}
	return []sandbox.Refusal{{Proto: "tcp", Address: "1.1.1.1", Port: 443, Count: 2, First: Epoch, Last: Epoch.Add(time.Second)}}, nil
}

// Traffic implements e2b.RuntimeAdapter.
func (f *Runtime) Traffic(ctx context.Context, id string) (sandbox.Traffic, error) {
	if _, err := f.Get(ctx, id); err != nil {
		return sandbox.Traffic{}, err
	}
	return sandbox.Traffic{
		BytesOut: 1 << 40, PacketsOut: 2, BytesIn: 3, PacketsIn: 4, Connections: 5, RefusedConnections: 6, RefusedQueries: 7, RefusedPackets: math.MaxUint64,
		Hosts: []sandbox.ReachedHost{
			{Name: "a.example", Ports: []uint16{80, 443}, Queries: 1, Connections: math.MaxInt, First: Epoch, Last: Epoch.Add(time.Second)}, {Name: "b.example"},
		},
	}, nil
}

// SetEgress implements e2b.RuntimeAdapter.
func (f *Runtime) SetEgress(ctx context.Context, id string, internet *bool, rules sandbox.Egress) error {
	sb, err := f.Get(ctx, id)
	if err != nil {
		return err
	}
	if sb.State != sandbox.StateRunning {
		return fmt.Errorf("set network: %w", sandbox.ErrConflict)
	}
	f.Edit(id, func(sb *sandbox.Sandbox) { sb.AllowInternet, sb.Egress = internet, rules })
	return nil
}
