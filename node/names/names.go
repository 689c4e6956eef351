// Package names is a small DNS server for the domain of a daemon, so that the host
// names of sandboxes resolve on a machine that has no other way to resolve them.
//
// It may import the standard library and miekg/dns; node/daemon imports it.
package names

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/net/netutil"
)

const (
	// ttl is how long clients may keep an answer, in seconds: an operator who moves a
	// daemon waits that long.
	ttl = 60
	// serial is of a zone that has no secondary server.
	serial = 1
	// queryTime is how long a client may take to send a query over TCP, and idleTime how long
	// it may send none.
	queryTime, idleTime = 2 * time.Second, 8 * time.Second
	// maxQueries is how many queries one connection may send.
	maxQueries = 128
	// maxConnections is how many may be open: each is a file of the daemon. More wait in the
	// kernel; UDP needs none.
	maxConnections = 64
	// maxText is the length of one string of a TXT record.
	maxText = 255
)

// Sockets opens what the server listens on, as *net.ListenConfig does.
type Sockets interface {
	Listen(ctx context.Context, network, address string) (net.Listener, error)
	ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error)
}

// Server answers queries for one zone over UDP and TCP.
type Server struct {
	zone    string
	address netip.Addr
	servers []*dns.Server
	ended   chan error // Has one value for each of servers.

	mu   sync.Mutex
	text map[string][]string // By name in lower case; guarded by mu.
}

// Listen begins to answer queries at an address such as 127.0.0.1:5353: domain and all
// names below it are at address. The caller ends it with Close.
func Listen(ctx context.Context, sockets Sockets, listen, domain string, address netip.Addr) (*Server, error) {
	s := &Server{zone: dns.Fqdn(strings.ToLower(domain)), address: address.Unmap(), text: map[string][]string{}}
	stream, packets, err := listenBoth(ctx, sockets, listen)
	if err != nil {
		return nil, fmt.Errorf("dns: %w", err)
	}
	handler := dns.HandlerFunc(s.answer)
	s.servers = []*dns.Server{
		{Listener: netutil.LimitListener(stream, maxConnections), Handler: handler, ReadTimeout: queryTime, IdleTimeout: func() time.Duration { return idleTime }, MaxTCPQueries: maxQueries},
		{PacketConn: packets, Handler: handler},
	}
	s.ended = make(chan error, len(s.servers))
	for _, server := range s.servers {
		started := make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		go func() { s.ended <- server.ActivateAndServe() }()
		<-started // Before it, Shutdown would do nothing.
	}
	return s, nil
}

// listenBoth listens for TCP and UDP on one port. One that the system chooses for TCP may be
// taken for UDP; then it chooses another.
func listenBoth(ctx context.Context, sockets Sockets, address string) (net.Listener, net.PacketConn, error) {
	for attempt := 0; ; attempt++ {
		stream, err := sockets.Listen(ctx, "tcp", address)
		if err != nil {
			return nil, nil, err
		}
		packets, err := sockets.ListenPacket(ctx, "udp", stream.Addr().String())
		if err == nil {
			return stream, packets, nil
		}
		_ = stream.Close()
		if !errors.Is(err, syscall.EADDRINUSE) || !strings.HasSuffix(address, ":0") || attempt == maxAttempts {
			return nil, nil, err
		}
	}
}

// maxAttempts is how often a port is chosen again.
const maxAttempts = 8

// Addr is where the server listens.
func (s *Server) Addr() string { return s.servers[0].Listener.Addr().String() }

// Close ends the server and waits until it has. It does nothing to a nil server.
func (s *Server) Close() error {
	if s == nil {
		return nil
	}
	var errs error
	for _, server := range s.servers {
		errs = errors.Join(errs, server.Shutdown())
	}
	for range s.servers {
		errs = errors.Join(errs, <-s.ended)
	}
	return errs
}

// Present adds a text of at most 255 bytes to a name in the domain: it proves the control of
// the domain to an authority. Safe for concurrent use, as Remove is.
func (s *Server) Present(_ context.Context, name, value string) error {
	name = dns.Fqdn(strings.ToLower(name))
	if !dns.IsSubDomain(s.zone, name) || len(value) > maxText {
		return fmt.Errorf("%.100q with a text of %d bytes cannot be served in %s", name, len(value), s.zone)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text[name] = append(s.text[name], value)
	return nil
}

// Remove takes a text away again.
func (s *Server) Remove(_ context.Context, name, value string) error {
	name = dns.Fqdn(strings.ToLower(name))
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.text[name], value); i >= 0 {
		s.text[name] = slices.Delete(s.text[name], i, i+1)
	}
	if len(s.text[name]) == 0 {
		delete(s.text, name)
	}
	return nil
}

// answer answers one query.
func (s *Server) answer(w dns.ResponseWriter, query *dns.Msg) {
	reply := new(dns.Msg)
	switch {
	case query.Opcode != dns.OpcodeQuery || len(query.Question) != 1:
		reply.SetRcode(query, dns.RcodeNotImplemented)
	case !dns.IsSubDomain(s.zone, strings.ToLower(query.Question[0].Name)):
		reply.SetRcode(query, dns.RcodeRefused)
	default:
		reply.SetReply(query)
		reply.Authoritative = true
		s.fill(reply, query.Question[0])
	}
	_ = w.WriteMsg(reply) // The client asks again.
}

// fill answers a question about a name in the zone. Every name exists: which sandboxes
// there are is not told by DNS.
func (s *Server) fill(reply *dns.Msg, q dns.Question) {
	header := dns.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: dns.ClassINET, Ttl: ttl}
	switch {
	case q.Qclass == dns.ClassINET && q.Qtype == dns.TypeTXT:
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, value := range s.text[strings.ToLower(q.Name)] {
			header.Ttl = 0 // Of a proof, which is looked for once.
			reply.Answer = append(reply.Answer, &dns.TXT{Hdr: header, Txt: []string{value}})
		}
		if len(reply.Answer) > 0 {
			return
		}
	case q.Qclass != dns.ClassINET:
	case q.Qtype == dns.TypeA && s.address.Is4():
		reply.Answer = []dns.RR{&dns.A{Hdr: header, A: s.address.AsSlice()}}
		return
	case q.Qtype == dns.TypeAAAA && s.address.Is6():
		reply.Answer = []dns.RR{&dns.AAAA{Hdr: header, AAAA: s.address.AsSlice()}}
		return
	}
	// No such record: clients keep that for ttl too.
	reply.Ns = []dns.RR{&dns.SOA{
		Hdr: dns.RR_Header{Name: s.zone, Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: ttl},
		Ns:  "ns." + s.zone, Mbox: "hostmaster." + s.zone, Serial: serial, Refresh: ttl, Retry: ttl, Expire: ttl, Minttl: ttl,
	}}
}
