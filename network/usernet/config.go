package usernet

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"
)

// Config is what Link and Serve have to agree on, and the bounds of Serve. The zero value has all defaults.
type Config struct {
	// Prefix is the network of the link, IPv4 and at least a /29. Guests cannot reach anything in it except the name
	// server. Default 198.19.223.248/29: the range is for tests of networks (RFC 2544), so no host on the internet is in it.
	Prefix netip.Prefix
	// MTU of the link in bytes, 1500 by default.
	MTU int
	// ResolvConf lists the host's resolvers; default /etc/resolv.conf. It is read again when it changes.
	ResolvConf string
	// Connections bounds TCP connections; each has one descriptor. Default 4096, or what the limit on descriptors leaves.
	Connections int
	// Dials bounds connections in the making, which are among Connections. Further ones wait for the client's next try.
	// Default 1024, or Connections if that is less: a dial to a host that does not answer takes 30 s.
	Dials int
	// Flows bounds flows of UDP and of echo requests; each has one descriptor. Default 4096, or as for Connections.
	Flows int
	// Buffers bounds the bytes of TCP in transit in this process, except 64 KiB for each connection. Default 256 MiB, so
	// that clients and servers that read nothing can take 512 MiB at most. A connection gets a 64th of what is free, and 1 MiB at most.
	Buffers int64
	// Log receives at most one line a minute for each bound that is reached. Default slog.Default.
	Log *slog.Logger
	// Dial connects to a host: network is tcp or udp. It is called concurrently. The default is a net.Dialer.
	Dial func(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error)

	times times
}

// times are those of a Serve; zero values are defaults.
type times struct {
	dial      time.Duration // Of one TCP dial; the client's next try begins another.
	fresh     time.Duration // After which a flow ends that has had no reply.
	replied   time.Duration // After which one ends that has.
	sweep     time.Duration // Between looks for flows that have ended.
	resolver  time.Duration // Of one try at a resolver.
	lingering time.Duration // Of a closed connection whose peer does not acknowledge its end.
}

// defaultTimes has the kernel's times of UDP flows (nf_conntrack_udp_timeout and _stream). A dial has five tries of a SYN.
var defaultTimes = times{
	dial: 30 * time.Second, fresh: 30 * time.Second, replied: 2 * time.Minute, sweep: 5 * time.Second,
	resolver: 2 * time.Second, lingering: time.Minute,
}

// Gateway is the next hop of the namespace.
func (c Config) Gateway() netip.Addr { return c.addr(1) }

// Inside is the address of the namespace.
func (c Config) Inside() netip.Addr { return c.addr(2) }

// Nameserver has the host's resolvers on port 53, over UDP and TCP.
func (c Config) Nameserver() netip.Addr { return c.addr(3) }

func (c Config) addr(n int) netip.Addr {
	a := c.prefix().Masked().Addr()
	for range n {
		a = a.Next()
	}
	return a
}

func (c Config) prefix() netip.Prefix {
	if c.Prefix.IsValid() {
		return c.Prefix
	}
	return netip.MustParsePrefix("198.19.223.248/29")
}

// withDefaults checks a configuration and fills it in. descriptors is the limit of this process.
func (c Config) withDefaults(descriptors uint64) (Config, error) {
	c.Prefix = c.prefix().Masked()
	if !c.Prefix.Addr().Is4() || c.Prefix.Bits() > 29 {
		return c, fmt.Errorf("prefix must be IPv4 and at least a /29, got %v", c.Prefix)
	}
	or(&c.MTU, 1500)
	if c.MTU < 576 || c.MTU > 65535 {
		return c, fmt.Errorf("MTU must be from 576 to 65535, got %d", c.MTU)
	}
	// The rest is for resolvers, ping sockets and the rest of the process.
	spare := int(min(descriptors, 1<<20)) * 3 / 4
	or(&c.Connections, max(1, min(4096, spare*2/3)))
	or(&c.Flows, max(1, min(4096, spare/3)))
	or(&c.Dials, min(1024, c.Connections))
	or(&c.Buffers, 256<<20)
	or(&c.ResolvConf, "/etc/resolv.conf")
	if c.Connections < 1 || c.Flows < 1 || c.Dials < 1 || c.Buffers < 0 {
		return c, fmt.Errorf("bounds must be positive, got %d connections, %d dials, %d flows and %d bytes", c.Connections, c.Dials, c.Flows, c.Buffers)
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Dial == nil {
		var d net.Dialer
		c.Dial = func(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error) {
			return d.DialContext(ctx, network, to.String())
		}
	}
	or(&c.times.dial, defaultTimes.dial)
	or(&c.times.fresh, defaultTimes.fresh)
	or(&c.times.replied, defaultTimes.replied)
	or(&c.times.sweep, defaultTimes.sweep)
	or(&c.times.resolver, defaultTimes.resolver)
	or(&c.times.lingering, defaultTimes.lingering)
	return c, nil
}

// or sets a value that is zero.
func or[T comparable](value *T, otherwise T) {
	var zero T
	if *value == zero {
		*value = otherwise
	}
}
