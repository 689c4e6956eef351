package names

import (
	"errors"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/rundlet/rundlet/network/hostname"
)

// grace is how much longer than an answer its addresses are bound: a client may use an answer at the end of its life.
const grace = 30 * time.Second

// forwarded are the types of records other than A that guests get, of names that they may reach.
var forwarded = map[uint16]bool{
	dns.TypeTXT: true, dns.TypeSRV: true, dns.TypeMX: true, dns.TypeCAA: true, dns.TypeNAPTR: true, dns.TypeSOA: true, dns.TypeNS: true, dns.TypePTR: true,
}

// answer returns the reply to a message of a guest, which fits the transport, or nil if there is none.
func (s *Server) answer(guest netip.Addr, message []byte, datagram bool) []byte {
	query, reply := new(dns.Msg), new(dns.Msg)
	err := query.Unpack(message)
	if len(message) < headerSize || query.Response {
		return nil // An answer to an answer could go on for ever.
	}
	size := dns.MaxMsgSize
	if datagram {
		size = dns.MinMsgSize
	}
	if err != nil {
		return pack(reply.SetRcodeFormatError(query), size)
	}
	reply.SetReply(query)
	reply.RecursionAvailable = true
	opt := query.IsEdns0()
	if opt != nil {
		reply.SetEdns0(maxDatagram, false)
		if datagram {
			size = min(max(int(opt.UDPSize()), dns.MinMsgSize), maxDatagram)
		}
	}
	switch {
	case query.Opcode != dns.OpcodeQuery:
		reply.Rcode = dns.RcodeNotImplemented
	case len(query.Question) != 1:
		reply.Rcode = dns.RcodeFormatError
	case opt != nil && opt.Version() != 0:
		reply.Rcode = dns.RcodeBadVers
	case query.Question[0].Qclass != dns.ClassINET || meta(query.Question[0].Qtype):
		reply.Rcode = dns.RcodeRefused
	case !s.resolve(reply, guest, query.Question[0]):
		return nil
	}
	return pack(reply, size)
}

// headerSize is the length of the fixed part of a message.
const headerSize = 12

// meta reports whether a type is of no record: options, transfers of zones and the like. ANY is answered.
func meta(kind uint16) bool {
	return kind == dns.TypeNone || kind == dns.TypeOPT || kind >= dns.TypeTKEY && kind < dns.TypeANY
}

// resolve fills in the reply to a question. Other types than A and forwarded have no records, ANY has none either
// (RFC 8482). It reports whether to send the reply: there is none if too many look-ups of the guest are in flight, or if it
// is not known what the guest may reach.
func (s *Server) resolve(reply *dns.Msg, guest netip.Addr, q dns.Question) bool {
	name, ok := hostname.Canonical(q.Name)
	if !ok {
		name = strings.TrimSuffix(q.Name, ".")
	}
	if allowed := ok && s.cfg.Guests.Allowed(guest, name); !allowed {
		if ok && !s.cfg.Guests.Known(guest) {
			return false // The guest asks again.
		}
		explain(reply, dns.RcodeNameError, dns.ExtendedErrorCodeProhibited, "the policy of the sandbox does not allow this name")
		if name != "" && !reverse(strings.ToLower(name)) { // Programs ask for the names of addresses without a need.
			s.cfg.Guests.Refused(guest, name)
		}
		return true
	}
	var err error
	switch {
	case q.Qtype == dns.TypeA:
		reply.Answer, err = s.addresses(guest, name)
	case forwarded[q.Qtype]:
		err = s.lookUp(guest, name, q.Qtype, func() (err error) {
			reply.Answer, err = s.cfg.Resolver.Forward(s.ctx, guest, name, q.Qtype)
			return err
		})
	}
	for _, rr := range reply.Answer {
		rr.Header().Name = q.Name // As the client has spelled it.
	}
	switch {
	case errors.Is(err, errLookups):
		return false
	case err == nil && len(reply.Answer) > 0 && !reverse(name):
		s.cfg.Guests.Answered(guest, name)
	case err == nil:
	case errors.Is(err, ErrNoName):
		reply.Rcode = dns.RcodeNameError
	case errors.Is(err, ErrUnusable):
		explain(reply, dns.RcodeNameError, dns.ExtendedErrorCodeBlocked, ErrUnusable.Error())
		s.cfg.Guests.Refused(guest, name)
	case errors.Is(err, ErrServers):
		explain(reply, dns.RcodeServerFailure, dns.ExtendedErrorCodeNoReachableAuthority, ErrServers.Error())
	default:
		explain(reply, dns.RcodeServerFailure, dns.ExtendedErrorCodeOther, "the addresses could not be opened to the sandbox")
	}
	return true
}

// errLookups: as many look-ups of a guest are in flight as there may be.
var errLookups = errors.New("too many look-ups in flight")

// waiter is a guest that waits for the answer to a question.
type waiter struct {
	guest netip.Addr
	question
}

// lookUp runs what may wait for name servers. A question that a guest asks many times is one.
func (s *Server) lookUp(guest netip.Addr, name string, kind uint16, f func() error) error {
	w := waiter{guest, question{name, kind}}
	s.mu.Lock()
	if s.waiting[w] == 0 && !s.lookups.enter(guest) {
		s.mu.Unlock()
		return errLookups
	}
	s.waiting[w]++
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.waiting[w]--; s.waiting[w] == 0 {
			delete(s.waiting, w)
			s.lookups.leave(guest)
		}
	}()
	return f()
}

// addresses looks a name up and binds its addresses to the guest, before it hears of them.
func (s *Server) addresses(guest netip.Addr, name string) ([]dns.RR, error) {
	var found Answer
	err := s.lookUp(guest, name, dns.TypeA, func() (err error) {
		found, err = s.cfg.Resolver.Lookup(s.ctx, guest, name)
		return err
	})
	if err != nil || len(found.Addrs) == 0 {
		return nil, err
	}
	if err := s.cfg.Guests.Bind(guest, name, found.Addrs, found.TTL+grace); err != nil {
		return nil, err
	}
	var out []dns.RR
	for _, addr := range found.Addrs {
		out = append(out, &dns.A{
			Hdr: dns.RR_Header{Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: uint32(found.TTL / time.Second)},
			A:   addr.AsSlice(),
		})
	}
	return out, nil
}

// explain sets the result of a reply, and says why to a client that knows EDNS (RFC 8914).
func explain(reply *dns.Msg, rcode int, code uint16, why string) {
	reply.Rcode = rcode
	if opt := reply.IsEdns0(); opt != nil {
		opt.Option = append(opt.Option, &dns.EDNS0_EDE{InfoCode: code, ExtraText: why})
	}
}

// pack returns the wire form of a reply, without records and truncated if it is too long.
func pack(reply *dns.Msg, size int) []byte {
	reply.Compress = true
	reply.Truncate(size)
	b, err := reply.Pack()
	if err == nil && len(b) <= size {
		return b
	}
	reply.Answer, reply.Truncated = nil, err == nil
	if err != nil {
		reply.Rcode = dns.RcodeServerFailure
	}
	if b, err = reply.Pack(); err != nil || len(b) > size {
		return nil
	}
	return b
}
