package names

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

const (
	// maxLife is how long an answer is remembered, and maxNegative how long one without records is.
	// It is minNegative if the server does not say.
	maxLife, maxNegative, minNegative = time.Hour, time.Minute, 5 * time.Second
	// maxAddrs and maxRecords are how many of an answer are kept, and maxAliases how many CNAMEs lead to it.
	maxAddrs, maxRecords, maxAliases = 16, 128, 8
)

// found is the answer to a question. Several callers share it.
type found struct {
	addrs   []netip.Addr // Of a question for addresses.
	records []dns.RR     // Of any other.
	err     error
	expires time.Time // The zero value for an answer that must not be remembered.
}

// read reads the reply to a question. It believes only records that the question leads to.
func read(m *dns.Msg, q question, usable func(netip.Addr) bool, now time.Time) found {
	if m.Rcode == dns.RcodeNameError {
		return found{err: ErrNoName, expires: now.Add(negative(m))}
	}
	records, life, err := chase(m.Answer, q)
	if err != nil {
		return found{err: err}
	}
	if len(records) == 0 {
		return found{expires: now.Add(negative(m))}
	}
	f := found{expires: now.Add(life)}
	if q.kind == dns.TypeA {
		f.addrs = addresses(records, usable)
		if len(f.addrs) == 0 {
			return found{err: ErrUnusable, expires: now.Add(min(life, maxNegative))}
		}
		return f
	}
	for _, rr := range records[:min(len(records), maxRecords)] {
		rr.Header().Name, rr.Header().Ttl = q.name+".", uint32(life/time.Second)
		f.records = append(f.records, rr)
	}
	return f
}

// chase follows the aliases of a name in the records of an answer, in whatever order they are, and returns the records
// that they lead to, with the shortest life of all.
func chase(answer []dns.RR, q question) (records []dns.RR, life time.Duration, err error) {
	life = maxLife
	owner := q.name + "."
	for range maxAliases + 1 {
		target := ""
		for _, rr := range answer {
			h := rr.Header()
			if h.Class != dns.ClassINET || h.Rdlength == 0 || !strings.EqualFold(h.Name, owner) {
				continue
			}
			alias, isAlias := rr.(*dns.CNAME)
			switch {
			case h.Rrtype == q.kind:
				records = append(records, rr)
			case isAlias && target == "":
				target = alias.Target
			default:
				continue
			}
			life = min(life, lifeOf(h.Ttl))
		}
		if len(records) > 0 || target == "" {
			return records, life, nil
		}
		owner = target
	}
	return nil, 0, fmt.Errorf("%w: more than %d aliases", ErrServers, maxAliases)
}

// addresses returns those of records that are usable, each once.
func addresses(records []dns.RR, usable func(netip.Addr) bool) (out []netip.Addr) {
	for _, rr := range records {
		a, ok := rr.(*dns.A)
		if !ok {
			continue
		}
		addr, ok := netip.AddrFromSlice(a.A.To4())
		if ok && len(out) < maxAddrs && !slices.Contains(out, addr) && usable(addr) {
			out = append(out, addr)
		}
	}
	return out
}

// negative is how long a name has no records.
func negative(m *dns.Msg) time.Duration {
	for _, rr := range m.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			return min(max(lifeOf(min(soa.Hdr.Ttl, soa.Minttl)), minNegative), maxNegative)
		}
	}
	return minNegative
}

// lifeOf is a TTL as a time. One with the highest bit is 0 (RFC 2181, 8).
func lifeOf(ttl uint32) time.Duration {
	if ttl > math.MaxInt32 {
		return 0
	}
	return min(time.Duration(ttl)*time.Second, maxLife)
}
