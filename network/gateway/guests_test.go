package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
)

func (w *world) Allowed(guest netip.Addr, host string, port uint16) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if port != w.port {
		w.t.Errorf("the policy is asked about port %d, not %d", port, w.port)
	}
	if host == "" || host != canonical(host) {
		w.t.Errorf("the policy is asked about %q", host)
	}
	return w.allowed[host]
}

func (w *world) Dial(ctx context.Context, guest netip.Addr, way any, host string, port uint16) (net.Conn, netip.Addr, error) {
	w.mu.Lock()
	w.dials = append(w.dials, fmt.Sprintf("%s:%d", host, port))
	addr, ok := w.servers[host]
	w.went = append(w.went, way)
	w.mu.Unlock()
	if w.dialing != nil {
		w.dialing(ctx)
	}
	if !ok {
		return nil, netip.Addr{}, errors.New("no such host")
	}
	c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, netip.Addr{}, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.way != "" { // Only what is on the way knows it.
		return c, netip.Addr{}, nil
	}
	return c, netip.MustParseAddrPort(c.RemoteAddr().String()).Addr(), nil
}

func (w *world) Rewrites(netip.Addr) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.headers) > 0 || !w.passes
}

func (w *world) NamesOf(_ netip.Addr, to netip.AddrPort) (out []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, name := range w.names[to.Addr()] {
		if w.allowed[name] {
			out = append(out, name)
		}
	}
	return out
}

func (w *world) Way(netip.Addr) any {
	w.mu.Lock()
	way, said := w.way, w.said
	w.said = nil
	w.mu.Unlock()
	if said != nil {
		said()
	}
	return way
}

func (w *world) Reaches(_ netip.Addr, to netip.AddrPort) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if to.Port() != w.port {
		w.t.Errorf("the policy is asked about port %d, not %d", to.Port(), w.port)
	}
	return w.reached[to.Addr()]
}

func (w *world) Headers(_ netip.Addr, host string) map[string]string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if host == "" || host != canonical(host) {
		w.t.Errorf("headers of %q", host)
	}
	return w.headers[host]
}

func (w *world) DialAddr(ctx context.Context, _ netip.Addr, way any, to netip.AddrPort) (net.Conn, error) {
	w.mu.Lock()
	w.dials = append(w.dials, to.String())
	addr, ok := w.sites[to.Addr()]
	w.went = append(w.went, way)
	w.mu.Unlock()
	if w.dialing != nil {
		w.dialing(ctx)
	}
	if !ok {
		return nil, syscall.ECONNREFUSED
	}
	return new(net.Dialer).DialContext(ctx, "tcp", addr)
}

func (w *world) Refused(guest netip.Addr, host string, to netip.AddrPort) {
	if want := netip.AddrPortFrom(site, w.port); to != want {
		w.t.Errorf("a connection to %v is reported, not to %v", to, want)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refused = append(w.refused, host)
}
