// Package resolvers passes DNS queries to the resolvers that a resolv.conf lists. It imports the standard library only;
// only package usernet may import it.
package resolvers

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// maxServers of a file are used, as by the C library.
	maxServers = 3
	// rounds is how often all of them are asked over UDP.
	rounds = 2
	// HeadBytes is the size of the header of a DNS message.
	HeadBytes = 12
	// datagramBytes is the longest datagram.
	datagramBytes = 1 << 16
)

var datagrams = sync.Pool{New: func() any { return new([datagramBytes]byte) }}

// Resolvers are the host's, as a file lists them. It is safe for concurrent use.
type Resolvers struct {
	// Path of a resolv.conf.
	Path string
	// Dial connects to a server; network is tcp or udp.
	Dial func(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error)
	// Try is how long one try at a server may take.
	Try time.Duration

	mu      sync.Mutex
	servers []netip.AddrPort
	seen    os.FileInfo
}

// list reads the file if it has changed. Without one, or without a server in it, the host's own port 53 is used, as by the C library.
func (r *Resolvers) list() []netip.AddrPort {
	r.mu.Lock()
	defer r.mu.Unlock()
	now, err := os.Stat(r.Path)
	if err == nil && r.seen != nil && os.SameFile(now, r.seen) && now.ModTime().Equal(r.seen.ModTime()) && now.Size() == r.seen.Size() {
		return r.servers
	}
	var text []byte
	if err == nil {
		text, err = os.ReadFile(r.Path)
	}
	if err != nil {
		now = nil // To be read again.
	}
	r.seen, r.servers = now, parseServers(string(text))
	return r.servers
}

// parseServers returns the servers of a resolv.conf.
func parseServers(text string) (out []netip.AddrPort) {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "nameserver" || len(out) == maxServers {
			continue
		}
		if a, err := netip.ParseAddr(fields[1]); err == nil {
			out = append(out, netip.AddrPortFrom(a.Unmap(), 53))
		}
	}
	if len(out) == 0 {
		out = append(out, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 53))
	}
	return out
}

// Connect dials the first server that accepts a connection.
func (r *Resolvers) Connect(ctx context.Context) (net.Conn, error) {
	err := errors.New("no resolver")
	for _, server := range r.list() {
		var conn net.Conn
		try, cancel := context.WithTimeout(ctx, r.Try)
		conn, err = r.Dial(try, "tcp", server)
		cancel()
		if err == nil {
			return conn, nil
		}
	}
	return nil, err
}

// Ask sends a query of at least HeadBytes to one server after the other. It returns a reply that is a failure only if there is no other, and nil without any.
func (r *Resolvers) Ask(ctx context.Context, message []byte) (reply []byte) {
	servers := r.list()
	for range rounds {
		for _, server := range servers {
			got, err := r.exchange(ctx, server, message)
			if err == nil {
				if reply = got; !failure(got) {
					return got
				}
			}
			if ctx.Err() != nil {
				return nil
			}
		}
		if reply != nil {
			return reply // A server answered, so no packet was lost.
		}
	}
	return nil
}

// failure reports whether another server might know more: SERVFAIL, NOTIMP or REFUSED.
func failure(reply []byte) bool {
	code := reply[3] & 0xf
	return code == 2 || code == 4 || code == 5
}

// exchange sends a query to a server and waits for the reply with the same identifier.
func (r *Resolvers) exchange(ctx context.Context, server netip.AddrPort, message []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, r.Try)
	defer cancel()
	conn, err := r.Dial(ctx, "udp", server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	if _, err := conn.Write(message); err != nil {
		return nil, err
	}
	piece := datagrams.Get().(*[datagramBytes]byte)
	defer datagrams.Put(piece)
	for {
		n, err := conn.Read(piece[:])
		if err != nil {
			return nil, err
		}
		const answer = 0x80 // QR, in the third byte.
		if n >= HeadBytes && piece[0] == message[0] && piece[1] == message[1] && piece[2]&answer != 0 {
			return slices.Clone(piece[:n]), nil
		}
	}
}
