package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/rundlet/rundlet/network"
	"github.com/rundlet/rundlet/network/policies"
	"github.com/rundlet/rundlet/network/socks"
	"github.com/rundlet/rundlet/node/certificate"
	"github.com/rundlet/rundlet/policy/egress"
	"github.com/rundlet/rundlet/runtime/machine"
	"github.com/rundlet/rundlet/runtime/supervise"
	"github.com/rundlet/rundlet/sandbox"
)

// logRepair logs the losses that other programs caused in the network.
func logRepair(log *slog.Logger, r network.Repair) {
	fields := []any{"lost", strings.Join(r.Lost, ",")}
	if r.By != "" {
		fields = append(fields, "changed_by", r.By)
	}
	switch {
	case r.Err != nil:
		log.Error("network lost and not repaired; new connections of sandboxes fail", append(fields, "error", r.Err)...)
	case r.Next > 0:
		log.Error("another program keeps undoing network repairs", append(fields, "next_repair", r.Next.Round(time.Millisecond).String())...)
	default:
		log.Warn("network lost and repaired", fields...)
	}
}

// openEgress opens the authority of the gateway that sets headers, and returns what signs certificates of hosts. Without it, as
// on a full disk, the node does all but that.
func (a *assembly) openEgress() (certify func(host string) (*tls.Certificate, error)) {
	dir := a.Dirs.EgressAuthority()
	if a.cfg.Ephemeral {
		dir = filepath.Join(a.runDir, "egress-ca") // The one in the state directory is the daemon's.
	}
	e, err := certificate.OpenEgress(dir, time.Now)
	if err != nil {
		a.cfg.Log.Error("no authority for header rules; sandboxes cannot have any", "directory", dir, "error", err)
		return nil
	}
	a.authority = e.PEM()
	return e.Certify
}

// slotNetwork is the network package as the runtime wants it.
type slotNetwork struct {
	*network.Network
	noUplink bool
}

func (s slotNetwork) Acquire(ctx context.Context, p egress.Policy) (machine.Slot, error) {
	slot, err := s.Network.Acquire(ctx, s.policy(p))
	if err != nil {
		return machine.Slot{}, err
	}
	return machine.Slot{ID: slot.ID, NetNS: slot.NetNS, GuestIP: slot.GuestIP}, nil
}

// Release gives the slot to the network's own background: its removal waits for
// the kernel, and nothing runs in it any more.
func (s slotNetwork) Release(_ context.Context, slotID string) error { return s.Network.Retire(slotID) }

func (s slotNetwork) SetEgress(ctx context.Context, slotID string, p egress.Policy) error {
	return s.Network.SetPolicy(ctx, slotID, s.policy(p))
}

// CheckProxy reports a proxy that no sandbox can reach.
func (s slotNetwork) CheckProxy(ctx context.Context, p egress.Policy) error {
	if s.noUplink || p.None() || p.Proxy == (egress.Proxy{}) {
		return nil
	}
	return proxyFault(ctx, s.Network.CheckProxy(ctx, socks.Proxy(p.Proxy)))
}

// proxyFault is the class of package sandbox of an error of network.CheckProxy.
func proxyFault(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, network.ErrInvalid):
		return fmt.Errorf("%w: egressProxy: %v", sandbox.ErrInvalid, err) //nolint:errorlint // It is what is invalid.
	case err == nil || ctx.Err() != nil:
		return err
	}
	return &sandbox.RetryError{After: time.Second, Detail: fmt.Sprintf("egressProxy: %v", err)}
}

func (s slotNetwork) Refused(slotID string, since time.Time) ([]sandbox.Refusal, error) {
	attempts, err := s.Network.Refused(slotID, since)
	out := make([]sandbox.Refusal, len(attempts))
	for i, a := range attempts {
		out[i] = sandbox.Refusal{
			Proto: a.Proto, Port: a.To.Port(), Name: a.Name, Count: a.Count, First: a.First, Last: a.Last,
		}
		if a.To.IsValid() {
			out[i].Address = a.To.Addr().String()
		}
	}
	return out, err
}

func (s slotNetwork) Refusals() <-chan struct{} { return s.Network.Refusals().More() }

func (s slotNetwork) RefusedPackets() uint64 { return s.Network.Refusals().Load() }

func (s slotNetwork) Traffic(slotID string) (sandbox.Traffic, error) {
	t, err := s.Network.Traffic(slotID)
	out := sandbox.Traffic{
		BytesOut: t.BytesOut, PacketsOut: t.PacketsOut, BytesIn: t.BytesIn, PacketsIn: t.PacketsIn, Connections: t.Connections,
		RefusedConnections: t.RefusedConnections, RefusedQueries: t.RefusedQueries, RefusedPackets: t.RefusedPackets, ForgottenHosts: t.Forgotten,
	}
	for _, h := range t.Hosts {
		out.Hosts = append(out.Hosts, sandbox.ReachedHost{
			Name: h.Name, Ports: h.Ports, Queries: h.Answers, Connections: h.Connections, First: h.First, Last: h.Last,
		})
	}
	return out, err
}

func (s slotNetwork) policy(p egress.Policy) network.Policy {
	if s.noUplink || p.None() {
		return network.Policy{}
	}
	out := network.Policy{AllowInternet: true, Only: p.Only, Names: p.Names, Headers: p.Headers, Proxy: socks.Proxy(p.Proxy)}
	for _, port := range p.Ports {
		out.Ports = append(out.Ports, policies.Port(port))
	}
	return out
}

// Leased implements runtime.SlotLister.
func (s slotNetwork) Leased(context.Context) ([]machine.Slot, error) {
	slots, err := s.Network.Leased()
	out := make([]machine.Slot, len(slots))
	for i, slot := range slots {
		out[i] = machine.Slot{ID: slot.ID, NetNS: slot.NetNS, GuestIP: slot.GuestIP}
	}
	return out, err
}

var (
	_ supervise.SlotLister   = slotNetwork{}
	_ supervise.PathChecker  = slotNetwork{}
	_ supervise.SelfRepairer = slotNetwork{}
)

// mbit is a bandwidth in bytes per second.
func mbit(megabits uint) uint64 { return uint64(megabits) * 1e6 / 8 }
