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
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
)

// What is not a reply to the question is passed over, and the reply after it counts.
func TestOtherMessagesArePassedOver(t *testing.T) {
	forged := rrs("a.example. 60 IN A 6.6.6.6")
	for name, hostile := range map[string]func(query *dns.Msg) []byte{
		"nothing":          func(*dns.Msg) []byte { return nil },
		"garbage":          func(*dns.Msg) []byte { return []byte("garbage that is longer than a header") },
		"compression loop": func(q *dns.Msg) []byte { return append(replyTo(q, nil, forged...)[:12], 0xc0, 12, 0, 1, 0, 1) },
		"a query":          func(q *dns.Msg) []byte { return replyTo(q, func(m *dns.Msg) { m.Response = false }, forged...) },
		"another id":       func(q *dns.Msg) []byte { return replyTo(q, func(m *dns.Msg) { m.Id++ }, forged...) },
		"another name": func(q *dns.Msg) []byte {
			return replyTo(q, func(m *dns.Msg) { m.Question[0].Name = "b.example." }, forged...)
		},
		"another type": func(q *dns.Msg) []byte {
			return replyTo(q, func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeTXT }, forged...)
		},
		"another class": func(q *dns.Msg) []byte {
			return replyTo(q, func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }, forged...)
		},
		"no question": func(q *dns.Msg) []byte { return replyTo(q, func(m *dns.Msg) { m.Question = nil }, forged...) },
		"two questions": func(q *dns.Msg) []byte {
			return replyTo(q, func(m *dns.Msg) { m.Question = append(m.Question, q.Question[0]) }, forged...)
		},
		"an update": func(q *dns.Msg) []byte {
			return replyTo(q, func(m *dns.Msg) { m.Opcode = dns.OpcodeUpdate }, forged...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newResolver(t, newUpstream(t, func(q *dns.Msg, _ string) [][]byte {
				return [][]byte{hostile(q), replyTo(q, nil, rrs("A.example. 60 IN A 1.1.1.1")...)}
			}))
			if got, err := lookup(t, r, "a.example"); got != "1.1.1.1" || err != nil {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

// A reply with the right id and question from another socket does not arrive.
func TestAnotherSourceIsNotHeard(t *testing.T) {
	other, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	client := make(chan net.Addr, 1)
	u := newUpstream(t, func(q *dns.Msg, _ string) [][]byte {
		if _, err := other.WriteTo(replyTo(q, nil, rrs("a.example. 60 IN A 6.6.6.6")...), <-client); err != nil {
			t.Error(err)
		}
		return [][]byte{replyTo(q, nil, rrs("a.example. 60 IN A 1.1.1.1")...)}
	})
	r := newResolver(t, u)
	dial := r.cfg.Dial
	r.cfg.Dial = func(ctx context.Context, guest netip.Addr, network string, addr netip.AddrPort) (net.Conn, error) {
		conn, err := dial(ctx, guest, network, addr)
		if err == nil {
			client <- conn.LocalAddr()
		}
		return conn, err
	}
	if got, err := lookup(t, r, "a.example"); got != "1.1.1.1" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func TestATruncatedReplyIsFetchedOverTCP(t *testing.T) {
	u := newUpstream(t, func(q *dns.Msg, network string) [][]byte {
		if network == "udp" {
			return [][]byte{replyTo(q, func(m *dns.Msg) { m.Truncated = true }, rrs("a.example. 60 IN A 9.9.9.9")...)}
		}
		var answer []dns.RR
		for i := range 3000 {
			answer = append(answer, rrs(fmt.Sprintf("a.example. 60 IN A 1.1.%d.%d", i/250, i%250+1))...)
		}
		return [][]byte{replyTo(q, nil, answer...)}
	})
	r := newResolver(t, u)
	got, err := r.Lookup(t.Context(), netip.Addr{}, "a.example")
	if err != nil || len(got.Addrs) != maxAddrs || text(got.Addrs[:2]) != "1.1.0.1 1.1.0.2" {
		t.Errorf("%v, %v", got, err)
	}
	if got := u.questions(); len(got) != 2 || got[1] != "tcp a.example. A" {
		t.Errorf("%v", got)
	}
}

// Over TCP there is one reply: the server itself has sent a wrong one.
func TestAWrongReplyOverTCPIsOfNoUse(t *testing.T) {
	for name, reply := range map[string]func(q *dns.Msg) []byte{
		"another id": func(q *dns.Msg) []byte { return replyTo(q, func(m *dns.Msg) { m.Id++ }) },
		"empty":      func(*dns.Msg) []byte { return []byte{} },
		"garbage":    func(*dns.Msg) []byte { return []byte("x") },
	} {
		r := newResolver(t, newUpstream(t, func(q *dns.Msg, network string) [][]byte {
			if network == "udp" {
				return [][]byte{replyTo(q, func(m *dns.Msg) { m.Truncated = true })}
			}
			return [][]byte{reply(q)}
		}))
		if _, err := lookup(t, r, "a.example"); !errors.Is(err, ErrServers) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTheNextServerIsAskedAndIsTheFirstThen(t *testing.T) {
	for name, refusal := range map[string]func(m *dns.Msg){
		"SERVFAIL": func(m *dns.Msg) { m.Rcode = dns.RcodeServerFailure },
		"REFUSED":  func(m *dns.Msg) { m.Rcode = dns.RcodeRefused },
		"a header": func(m *dns.Msg) { m.Rcode, m.Question = dns.RcodeRefused, nil },
	} {
		bad := newUpstream(t, func(q *dns.Msg, _ string) [][]byte { return [][]byte{replyTo(q, refusal)} })
		good := newUpstream(t, each("1.1.1.1"))
		r := newResolver(t, bad, good)
		for _, host := range []string{"a.example", "b.example"} {
			if got, err := lookup(t, r, host); got != "1.1.1.1" || err != nil {
				t.Errorf("%s: %q, %v", name, got, err)
			}
		}
		if got := bad.questions(); !slices.Equal(got, []string{"udp a.example. A"}) {
			t.Errorf("%s: the bad server was asked %v", name, got)
		}
		alone := newResolver(t, bad)
		if _, err := lookup(t, alone, "c.example"); !errors.Is(err, ErrServers) || !strings.Contains(err.Error(), bad.addr.String()) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// An old server gets a query that it understands.
func TestAServerWithoutEDNS(t *testing.T) {
	u := newUpstream(t, func(q *dns.Msg, _ string) [][]byte {
		if q.IsEdns0() != nil {
			return [][]byte{replyTo(q, func(m *dns.Msg) { m.Rcode = dns.RcodeFormatError })}
		}
		return each("1.1.1.1")(q, "")
	})
	if got, err := lookup(t, newResolver(t, u), "a.example"); got != "1.1.1.1" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// A server that never answers, or with other messages only, costs the time of a try, and all of them a bounded time.
func TestSilentServers(t *testing.T) {
	silent, good := netip.MustParseAddrPort("192.0.2.1:53"), netip.MustParseAddrPort("192.0.2.2:53")
	for name, c := range map[string]struct {
		servers []netip.AddrPort
		want    error
		took    time.Duration
	}{
		"the first is silent": {[]netip.AddrPort{silent, good}, nil, defaultTry / 4},
		"one, silent":         {[]netip.AddrPort{silent}, ErrServers, (1 + 2 + 4 + 4) * defaultTry / 4},
		"many, silent":        {slices.Repeat([]netip.AddrPort{silent}, 9), ErrServers, maxTries * defaultTry},
		"none":                {nil, ErrServers, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var wg sync.WaitGroup
				dial := piped(&wg, func(conn net.Conn, server netip.AddrPort) {
					buf := make([]byte, 512)
					n, err := conn.Read(buf)
					if err != nil {
						return // The time for all tries is over at the same instant as the last of them.
					}
					query := new(dns.Msg)
					if err := query.Unpack(buf[:n]); err != nil {
						t.Error(err)
						return
					}
					if server == good {
						_, _ = conn.Write(each("1.1.1.1")(query, "")[0])
						return
					}
					for err := error(nil); err == nil; _, err = conn.Write([]byte("garbage")) {
						time.Sleep(time.Second)
					}
				})
				r := New(Config{Servers: c.servers, Dial: dial, Usable: public})
				began := time.Now()
				if _, err := r.Lookup(t.Context(), netip.Addr{}, "a.example"); !errors.Is(err, c.want) {
					t.Errorf("%v", err)
				}
				if took := time.Since(began); took != c.took {
					t.Errorf("it took %v", took)
				}
				r.Close()
				wg.Wait()
			})
		})
	}
}
