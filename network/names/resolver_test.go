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
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
)

// clock is one that the test moves.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func TestAnswersAreRememberedForTheirLife(t *testing.T) {
	private, none, failed := "private.example", "none.example", "failed.example"
	u := newUpstream(t, func(q *dns.Msg, _ string) [][]byte {
		name, change, answer := q.Question[0].Name, func(*dns.Msg) {}, []dns.RR(nil)
		switch strings.TrimSuffix(name, ".") {
		case private:
			answer = rrs(name + " 40 IN A 10.0.0.1")
		case none:
			change = func(m *dns.Msg) { m.Rcode, m.Ns = dns.RcodeNameError, rrs("example. 40 IN SOA . . 1 1 1 1 40") }
		case failed:
			change = func(m *dns.Msg) { m.Rcode = dns.RcodeServerFailure }
		case "short.example":
			answer = rrs(name + " 0 IN A 1.1.1.1")
		default:
			answer = rrs(name + " 40 IN A 1.1.1.1")
		}
		return [][]byte{replyTo(q, change, answer...)}
	})
	c := &clock{at: now}
	r := newResolver(t, u)
	r.cfg.Now = c.now
	for _, step := range []struct {
		name  string
		after time.Duration
		err   error
		ttl   time.Duration
		asked int // How often the server is asked because of it.
	}{
		{"a.example", 0, nil, 40 * time.Second, 1},
		{"A.example.", 15 * time.Second, nil, 25 * time.Second, 0},
		{"b.example", 0, nil, 40 * time.Second, 1},
		{"a.example", 24 * time.Second, nil, time.Second, 0},
		{"a.example", time.Second, nil, 40 * time.Second, 1}, // Its life is over.
		{private, 0, ErrUnusable, 0, 1},
		{private, 39 * time.Second, ErrUnusable, 0, 0},
		{private, time.Second, ErrUnusable, 0, 1},
		{none, 0, ErrNoName, 0, 1},
		{none, 39 * time.Second, ErrNoName, 0, 0},
		{none, time.Second, ErrNoName, 0, 1},
		{"short.example", 0, nil, 0, 1},
		{"short.example", 0, nil, 0, 1},
		{failed, 0, ErrServers, 0, 2}, // Twice, once without EDNS.
		{failed, 0, ErrServers, 0, 2},
		{"not a name", 0, ErrNoName, 0, 0},
		{"127.1", 0, ErrNoName, 0, 0},
	} {
		c.add(step.after)
		before := len(u.questions())
		got, err := r.Lookup(t.Context(), netip.Addr{}, step.name)
		if !errors.Is(err, step.err) || got.TTL != step.ttl || len(u.questions())-before != step.asked {
			t.Errorf("%s after %v: %v, %v; asked %d times", step.name, step.after, got, err, len(u.questions())-before)
		}
	}
}

// What a caller does with its answer is not in the cache.
func TestAnAnswerIsTheCallers(t *testing.T) {
	r := newResolver(t, newUpstream(t, each("1.1.1.1")))
	for range 2 {
		got, err := r.Lookup(t.Context(), netip.Addr{}, "a.example")
		if err != nil || text(got.Addrs) != "1.1.1.1" {
			t.Fatalf("%v, %v", got, err)
		}
		got.Addrs[0] = netip.Addr{}
	}
}

func TestTheCacheIsBounded(t *testing.T) {
	r := New(Config{})
	defer r.Close()
	for i := range maxCached + 100 {
		name := fmt.Sprintf("a%d.example", i)
		r.finish(question{name, dns.TypeA}, found{expires: time.Now().Add(time.Hour)})
		if _, ok := r.cache[name]; !ok {
			t.Fatalf("%s is not remembered", name)
		}
	}
	if len(r.cache) != maxCached {
		t.Errorf("%d names are remembered", len(r.cache))
	}
	r.finish(question{"a.example", dns.TypeTXT}, found{expires: time.Now().Add(time.Hour)})
	r.finish(question{"a.example", dns.TypeA}, found{err: ErrServers})
	if _, ok := r.cache["a.example"]; ok {
		t.Error("records or a failure are remembered")
	}
}

// Callers that ask the same have one query, and one that leaves does not end it for the others.
func TestOneQueryForAllCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var wg sync.WaitGroup
		release := make(chan struct{})
		queries := make(chan string, 10)
		dial := piped(&wg, func(conn net.Conn, _ netip.AddrPort) {
			buf := make([]byte, 512)
			n, _ := conn.Read(buf)
			query := new(dns.Msg)
			if err := query.Unpack(buf[:n]); err != nil {
				t.Error(err)
				return
			}
			queries <- query.Question[0].Name
			<-release
			_, _ = conn.Write(each("1.1.1.1")(query, "")[0])
		})
		r := New(Config{Servers: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:53")}, Dial: dial, Usable: public})
		impatient, leave := context.WithCancel(t.Context())
		results := make(chan string, 10)
		look := func(ctx context.Context, name string) {
			got, err := r.Lookup(ctx, netip.Addr{}, name)
			results <- fmt.Sprintf("%s %v", text(got.Addrs), errors.Is(err, context.Canceled))
		}
		go look(impatient, "a.example") // The one that began it.
		synctest.Wait()
		for range 5 {
			go look(t.Context(), "A.example.")
		}
		go look(impatient, "a.example")
		synctest.Wait()
		leave()
		for range 2 {
			if got := <-results; got != " true" {
				t.Errorf("a caller that left: %s", got)
			}
		}
		go look(t.Context(), "b.example") // Another question has another query.
		synctest.Wait()
		close(release)
		for range 6 {
			if got := <-results; got != "1.1.1.1 false" {
				t.Errorf("a caller that waited: %s", got)
			}
		}
		if a, b := <-queries, <-queries; a != "a.example." || b != "b.example." || len(queries) != 0 {
			t.Errorf("queries %s, %s, and %d more", a, b, len(queries))
		}
		r.Close()
		wg.Wait()
	})
}

func TestQuestionsInFlightAreBoundedAndEndWithTheResolver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var wg sync.WaitGroup
		var dialed atomic.Int64
		dial := piped(&wg, func(conn net.Conn, _ netip.AddrPort) {
			dialed.Add(1)
			for buf, err := make([]byte, 512), error(nil); err == nil; { // Until the other side closes.
				_, err = conn.Read(buf)
			}
		})
		r := New(Config{Servers: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:53")}, Dial: dial, Usable: public})
		one, other := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
		results := make(chan error, callsEach+1)
		for i := range callsEach + 1 {
			guest := one
			if i == callsEach {
				guest = other // Which has what one leaves.
			}
			go func() {
				_, err := r.Lookup(t.Context(), guest, fmt.Sprintf("a%d.example", i))
				results <- err
			}()
		}
		synctest.Wait()
		began := time.Now()
		if _, err := r.Lookup(t.Context(), one, "b.example"); !errors.Is(err, ErrServers) || len(results) != 0 {
			t.Errorf("one more: %v, and %d have ended", err, len(results))
		}
		r.Close()
		for range callsEach + 1 {
			if err := <-results; !errors.Is(err, ErrServers) {
				t.Errorf("a question in flight: %v", err)
			}
		}
		if _, err := r.Lookup(t.Context(), netip.Addr{}, "c.example"); !errors.Is(err, ErrServers) {
			t.Errorf("a question after Close: %v", err)
		}
		wg.Wait()
		if took := time.Since(began); took != 0 || len(r.calls) != 0 || dialed.Load() != callsEach+1 {
			t.Errorf("Close took %v and left %d calls; %d were dialed", took, len(r.calls), dialed.Load())
		}
	})
}

// What one caller does with its records, another does not see.
func TestRecordsAreTheCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var wg sync.WaitGroup
		release := make(chan struct{})
		dial := piped(&wg, func(conn net.Conn, _ netip.AddrPort) {
			buf := make([]byte, 512)
			n, _ := conn.Read(buf)
			query := new(dns.Msg)
			if err := query.Unpack(buf[:n]); err != nil {
				t.Error(err)
				return
			}
			<-release
			_, _ = conn.Write(always(`a.example. 60 IN TXT "text"`)(query, "")[0])
		})
		r := New(Config{Servers: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:53")}, Dial: dial})
		results := make(chan []dns.RR, 2)
		for range 2 {
			go func() {
				got, err := r.Forward(t.Context(), netip.Addr{}, "a.example", dns.TypeTXT)
				if err != nil || len(got) != 1 {
					t.Errorf("%v, %v", got, err)
				}
				results <- got
			}()
		}
		synctest.Wait() // Both wait for one query.
		close(release)
		a, b := <-results, <-results
		if len(a)+len(b) == 2 {
			if a[0].Header().Name = "changed."; b[0].Header().Name != "a.example." {
				t.Errorf("%v", b)
			}
		}
		r.Close()
		wg.Wait()
	})
}

func TestForward(t *testing.T) {
	u := newUpstream(t, func(q *dns.Msg, network string) [][]byte {
		if q.Question[0].Name == "none.example." {
			return [][]byte{replyTo(q, func(m *dns.Msg) { m.Rcode = dns.RcodeNameError })}
		}
		answer := rrs("a.example. 50 IN CNAME b.example.", `b.example. 60 IN TXT "one" "two"`, "b.example. 60 IN A 1.1.1.1", `c.example. 60 IN TXT "other"`)
		if q.Question[0].Qtype == dns.TypeMX {
			answer = nil
			for i := range 200 {
				answer = append(answer, rrs(fmt.Sprintf("a.example. 60 IN MX %d m.example.", i))...)
			}
		}
		if network == "udp" {
			return [][]byte{replyTo(q, func(m *dns.Msg) { m.Truncated = true })}
		}
		return [][]byte{replyTo(q, func(m *dns.Msg) { m.Extra = rrs(`a.example. 60 IN TXT "additional"`, "m.example. 60 IN A 6.6.6.6") }, answer...)}
	})
	r := newResolver(t, u)
	got, err := r.Forward(t.Context(), netip.Addr{}, "A.example", dns.TypeTXT)
	if err != nil || len(got) != 1 || got[0].String() != "a.example.\t50\tIN\tTXT\t\"one\" \"two\"" {
		t.Fatalf("%v, %v", got, err)
	}
	if got, err := r.Forward(t.Context(), netip.Addr{}, "a.example", dns.TypeMX); err != nil || len(got) != maxRecords || got[0].(*dns.MX).Mx != "m.example." {
		t.Errorf("%d records, %v", len(got), err)
	}
	if got, err := r.Forward(t.Context(), netip.Addr{}, "a.example", dns.TypeSRV); err != nil || len(got) != 0 {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := r.Forward(t.Context(), netip.Addr{}, "none.example", dns.TypeTXT); !errors.Is(err, ErrNoName) || len(got) != 0 {
		t.Errorf("%v, %v", got, err)
	}
	if got := u.questions(); !slices.Contains(got, "tcp a.example. TXT") {
		t.Errorf("%v", got)
	}
}
