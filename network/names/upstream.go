package names

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/miekg/dns"
)

const (
	// maxDatagram is the longest message over UDP: it is in one fragment on every path.
	maxDatagram = 1232
	// maxQuery is how long a message of a guest may be, and a reply over UDP if a server exceeds what it was offered.
	// A query of a client is much shorter, and a long one takes long to read.
	maxQuery = 4096
	// rounds is how often all servers are asked. The first tries are short: packets get lost.
	rounds = 4
)

// ask asks the name servers in turn, beginning with the one that answered last.
func (r *Resolver) ask(guest netip.Addr, q question) found {
	ctx, cancel := context.WithTimeout(r.ctx, maxTries*r.cfg.Try)
	defer cancel()
	last := fmt.Errorf("none is configured")
	servers := r.cfg.Servers
	for i := range rounds * len(servers) {
		at := (int(r.first.Load()) + i) % len(servers)
		round := i / len(servers)
		if round >= 2 && !errors.Is(last, context.DeadlineExceeded) && !errors.Is(last, os.ErrDeadlineExceeded) {
			break // The servers answered, so packets were not lost.
		}
		// Every second time without EDNS, which old servers do not understand.
		m, err := r.try(ctx, guest, servers[at], q, min(r.cfg.Try, r.cfg.Try/4<<round), round%2 == 0)
		if err == nil {
			r.first.Store(int64(at))
			return read(m, q, r.cfg.Usable, r.cfg.Now())
		}
		last = fmt.Errorf("%v: %w", servers[at], err)
		if ctx.Err() != nil {
			break
		}
	}
	return found{err: fmt.Errorf("%w: %w", ErrServers, last)}
}

// try asks one server, over UDP and then over TCP if the answer is too long for that.
func (r *Resolver) try(ctx context.Context, guest netip.Addr, server netip.AddrPort, q question, most time.Duration, edns bool) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	query := new(dns.Msg).SetQuestion(q.name+".", q.kind) // With a random id.
	if edns {
		query.SetEdns0(maxDatagram, false)
	}
	m, err := r.exchange(ctx, guest, "udp", server, query)
	if err == nil && m.Truncated {
		m, err = r.exchange(ctx, guest, "tcp", server, query)
	}
	if err != nil {
		return nil, err
	}
	if m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
		return nil, fmt.Errorf("code %d %s", m.Rcode, dns.RcodeToString[m.Rcode])
	}
	return m, nil
}

// exchange sends a query and waits until ctx ends for the reply to it. Over UDP it passes over everything else.
func (r *Resolver) exchange(ctx context.Context, guest netip.Addr, network string, server netip.AddrPort, query *dns.Msg) (*dns.Msg, error) {
	conn, err := r.cfg.Dial(ctx, guest, network, server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	message, err := query.Pack()
	if err != nil {
		return nil, err
	}
	if network == "tcp" {
		err = writeFramed(conn, message)
	} else {
		_, err = conn.Write(message)
	}
	buf := make([]byte, maxQuery)
	for err == nil {
		var n int
		if network == "tcp" {
			buf, err = readFramed(conn, dns.MaxMsgSize)
			n = len(buf)
		} else {
			n, err = conn.Read(buf)
		}
		if err != nil {
			break
		}
		m := new(dns.Msg)
		if m.Unpack(buf[:n]) == nil && replies(m, query) {
			return m, nil
		}
		if network == "tcp" {
			err = fmt.Errorf("answer to another question")
		}
	}
	return nil, err
}

// replies reports whether m is a reply to the query. Some servers refuse without repeating the question.
func replies(m, query *dns.Msg) bool {
	if !m.Response || m.Id != query.Id || m.Opcode != dns.OpcodeQuery {
		return false
	}
	if len(m.Question) == 0 {
		return m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError
	}
	got, want := m.Question[0], query.Question[0]
	return len(m.Question) == 1 && got.Qtype == want.Qtype && got.Qclass == want.Qclass && strings.EqualFold(got.Name, want.Name)
}

// readFramed reads one message of a stream, and fails if it is longer than most.
func readFramed(r io.Reader, most int) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(size[:]))
	if n > most {
		return nil, fmt.Errorf("message of %d bytes, more than %d", n, most)
	}
	b := make([]byte, n)
	_, err := io.ReadFull(r, b)
	return b, err
}

// writeFramed writes one message, of at most 65535 bytes, to a stream.
func writeFramed(conn net.Conn, b []byte) error {
	_, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...))
	return err
}
