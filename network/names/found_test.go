package names

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func TestRead(t *testing.T) {
	aliases := func(n int) (out []string) {
		for i := range n {
			out = append(out, fmt.Sprintf("a%d.example. 60 IN CNAME a%d.example.", i, i+1))
		}
		return out
	}
	for name, c := range map[string]struct {
		answer string
		want   string
		life   time.Duration
		err    error
	}{
		"addresses":          {"a0.example. 60 IN A 1.1.1.1|a0.example. 30 IN A 1.1.1.2|a0.example. 60 IN A 1.1.1.1", "1.1.1.1 1.1.1.2", 30 * time.Second, nil},
		"in any case":        {"A0.EXAMPLE. 60 IN A 1.1.1.1", "1.1.1.1", time.Minute, nil},
		"aliases":            {"c.other. 60 IN A 1.1.1.1|a0.example. 20 IN CNAME B.other.|b.other. 40 IN CNAME C.Other.", "1.1.1.1", 20 * time.Second, nil},
		"other names":        {"b.example. 60 IN A 6.6.6.6|example. 60 IN A 6.6.6.6|a0.example. 60 IN A 1.1.1.1|b.example. 60 IN CNAME a0.example.", "1.1.1.1", time.Minute, nil},
		"only other names":   {"b.example. 60 IN A 6.6.6.6", "", minNegative, nil},
		"other types":        {"a0.example. 60 IN TXT x|a0.example. 60 IN AAAA 2001:db8::1", "", minNegative, nil},
		"another class":      {"a0.example. 60 CH A 6.6.6.6", "", minNegative, nil},
		"without data":       {"a0.example. 60 IN A|a0.example. 60 IN CNAME", "", minNegative, nil},
		"an alias only":      {"a0.example. 60 IN CNAME b.example.", "", minNegative, nil},
		"two aliases":        {"a0.example. 60 IN CNAME b.example.|a0.example. 60 IN CNAME c.example.|c.example. 60 IN A 6.6.6.6|b.example. 60 IN A 1.1.1.1", "1.1.1.1", time.Minute, nil},
		"alias and address":  {"a0.example. 60 IN CNAME b.example.|a0.example. 60 IN A 1.1.1.1|b.example. 60 IN A 6.6.6.6", "1.1.1.1", time.Minute, nil},
		"an alias of itself": {"a0.example. 60 IN CNAME a0.example.", "", 0, ErrServers},
		"a loop":             {"a0.example. 60 IN CNAME b.example.|b.example. 60 IN CNAME a0.example.", "", 0, ErrServers},
		"eight aliases":      {strings.Join(aliases(8), "|") + "|a8.example. 60 IN A 1.1.1.1", "1.1.1.1", time.Minute, nil},
		"nine aliases":       {strings.Join(aliases(9), "|") + "|a9.example. 60 IN A 1.1.1.1", "", 0, ErrServers},
		"a long life":        {"a0.example. 86400 IN A 1.1.1.1", "1.1.1.1", maxLife, nil},
		"a negative life":    {"a0.example. 2147483648 IN A 1.1.1.1", "1.1.1.1", 0, nil},
		"no life":            {"a0.example. 0 IN A 1.1.1.1", "1.1.1.1", 0, nil},
		"some private":       {"a0.example. 60 IN A 10.0.0.1|a0.example. 60 IN A 1.1.1.1|a0.example. 60 IN A 127.0.0.1", "1.1.1.1", time.Minute, nil},
		"all private":        {"a0.example. 3600 IN A 10.0.0.1|a0.example. 3600 IN A 127.0.0.1", "", maxNegative, ErrUnusable},
	} {
		m := new(dns.Msg)
		for line := range strings.SplitSeq(c.answer, "|") {
			m.Answer = append(m.Answer, unpacked(t, rrs(line)[0]))
		}
		f := read(m, question{"a0.example", dns.TypeA}, public, now)
		life := f.expires.Sub(now)
		if f.expires.IsZero() {
			life = 0
		}
		if text(f.addrs) != c.want || life != c.life || !errors.Is(f.err, c.err) {
			t.Errorf("%s: %v for %v, %v", name, f.addrs, life, f.err)
		}
	}
}

// unpacked is a record as it comes from the network, with the length of its data.
func unpacked(t *testing.T, rr dns.RR) dns.RR {
	t.Helper()
	b := make([]byte, dns.MaxMsgSize)
	n, err := dns.PackRR(rr, b, 0, nil, false)
	if err != nil {
		t.Fatal(err)
	}
	rr, _, err = dns.UnpackRR(b[:n], 0)
	if err != nil {
		t.Fatal(err)
	}
	return rr
}

func TestHowLongANameHasNoRecords(t *testing.T) {
	for soa, want := range map[string]time.Duration{
		"":                                  minNegative,
		"x. 30 IN NS y.":                    minNegative,
		"x. 30 IN SOA . . 1 1 1 1 20":       20 * time.Second,
		"x. 20 IN SOA . . 1 1 1 1 30":       20 * time.Second,
		"x. 0 IN SOA . . 1 1 1 1 0":         minNegative,
		"x. 86400 IN SOA . . 1 1 1 1 86400": maxNegative,
		"x. 4294967295 IN SOA . . 1 1 1 1 4294967295": minNegative,
	} {
		for _, rcode := range []int{dns.RcodeSuccess, dns.RcodeNameError} {
			m := &dns.Msg{MsgHdr: dns.MsgHdr{Rcode: rcode}}
			if soa != "" {
				m.Ns = rrs(soa)
			}
			f := read(m, question{"a.example", dns.TypeA}, public, now)
			if got := f.expires.Sub(now); got != want || errors.Is(f.err, ErrNoName) != (rcode == dns.RcodeNameError) {
				t.Errorf("%q: %v, %v", soa, got, f.err)
			}
		}
	}
}

// An answer that says that the name does not exist has no addresses, whatever is in it.
func TestANameThatDoesNotExistHasNoAddresses(t *testing.T) {
	m := &dns.Msg{MsgHdr: dns.MsgHdr{Rcode: dns.RcodeNameError}, Answer: rrs("a.example. 60 IN A 1.1.1.1")}
	if f := read(m, question{"a.example", dns.TypeA}, func(netip.Addr) bool { return true }, now); len(f.addrs) != 0 || !errors.Is(f.err, ErrNoName) {
		t.Errorf("%+v", f)
	}
}
