package names

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"github.com/rundlet/rundlet/network/hostname"
)

const (
	// maxCached is how many names a Resolver remembers; each has at most maxAddrs addresses.
	maxCached = 4096
	// callsEach and callsAll are how many questions it asks at a time, for one guest and in all: each has a socket.
	callsEach, callsAll = 64, 2048
	// defaultTry is how long one try at a name server takes.
	defaultTry = 2 * time.Second
	// maxTries is how many of them there is time for.
	maxTries = 4
)

// Config is the constant part of a Resolver. Its functions are called concurrently.
type Config struct {
	// Servers are recursive name servers, the preferred one first.
	Servers []netip.AddrPort
	// Dial connects to one of them for a guest: network is udp or tcp. The socket of UDP must be connected, so that it
	// receives from that server alone. Nil is a plain dialer.
	Dial func(ctx context.Context, guest netip.Addr, network string, addr netip.AddrPort) (net.Conn, error)
	// Usable reports whether guests may reach an address at all. Other addresses are left out of answers, so that
	// no name leads to the host or its neighbours. Nil is none.
	Usable func(netip.Addr) bool
	// Try is how long one try at a server takes, 2 s by default; the first ones at each take less. A question takes four
	// times as long at most.
	Try time.Duration
	// Now is the clock of the cache, time.Now by default.
	Now func() time.Time
}

// Answer is what a name is.
type Answer struct {
	// Addrs are at most 16 addresses of IPv4. None means that the name exists without any.
	Addrs []netip.Addr
	// TTL is how long the answer is still valid, at most an hour.
	TTL time.Duration
}

// Resolver asks name servers, and remembers addresses. All methods are safe for concurrent use.
type Resolver struct {
	cfg    Config
	ctx    context.Context
	cancel context.CancelFunc
	first  atomic.Int64 // The index of the server that answered last.

	mu     sync.Mutex // Guards what is below.
	calls  map[question]*call
	asked  bounds // Calls by the guest that was the first to want the answer.
	cache  map[string]found
	closed bool
	wg     sync.WaitGroup
}

// question is about a canonical name.
type question struct {
	name string
	kind uint16
}

// call is a question in flight. found is set when done is closed.
type call struct {
	done  chan struct{}
	found found
}

// New returns a Resolver. The caller closes it.
func New(cfg Config) *Resolver {
	if cfg.Dial == nil {
		cfg.Dial = func(ctx context.Context, _ netip.Addr, network string, addr netip.AddrPort) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, addr.String())
		}
	}
	if cfg.Usable == nil {
		cfg.Usable = func(netip.Addr) bool { return false }
	}
	if cfg.Try <= 0 {
		cfg.Try = defaultTry
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	r := &Resolver{cfg: cfg, calls: map[question]*call{}, asked: newBounds(callsEach, callsAll), cache: map[string]found{}}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r
}

// Close ends the questions in flight and waits until they have ended. Later ones fail.
func (r *Resolver) Close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.cancel()
	r.wg.Wait()
}

// Lookup returns the IPv4 addresses of a name for a guest. The error is of a class of this package, or that of ctx.
func (r *Resolver) Lookup(ctx context.Context, guest netip.Addr, name string) (Answer, error) {
	f, err := r.find(ctx, guest, name, dns.TypeA)
	if err != nil {
		return Answer{}, err
	}
	return Answer{Addrs: slices.Clone(f.addrs), TTL: max(0, f.expires.Sub(r.cfg.Now()))}, nil
}

// Forward returns the records of a type, other than A, that a name or its last alias has, under the name and without the
// aliases. There may be none, and are at most 128. They are not remembered: they can be large, and few programs ask for
// them.
func (r *Resolver) Forward(ctx context.Context, guest netip.Addr, name string, kind uint16) ([]dns.RR, error) {
	f, err := r.find(ctx, guest, name, kind)
	out := make([]dns.RR, 0, len(f.records))
	for _, rr := range f.records {
		out = append(out, dns.Copy(rr))
	}
	return out, err
}

// find waits for the answer to a question, which is asked once for all callers at the time. A caller whose ctx ends
// leaves, and the others get the answer.
func (r *Resolver) find(ctx context.Context, guest netip.Addr, name string, kind uint16) (found, error) {
	canon, ok := hostname.Canonical(name)
	if !ok {
		return found{}, fmt.Errorf("%w: %.100q is not a host name", ErrNoName, name)
	}
	c := r.start(guest, question{canon, kind})
	select {
	case <-c.done:
		if c.found.err != nil {
			return found{}, fmt.Errorf("look %s up: %w", canon, c.found.err)
		}
		return c.found, nil
	case <-ctx.Done():
		return found{}, fmt.Errorf("look %s up: %w", canon, ctx.Err())
	}
}

// start returns the call for a question: one with the answer that is remembered, one in flight, or a new one.
func (r *Resolver) start(guest netip.Addr, q question) *call {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.calls[q]; c != nil {
		return c
	}
	c := &call{done: make(chan struct{})}
	f, cached := r.cache[q.name]
	switch {
	case cached && q.kind == dns.TypeA && r.cfg.Now().Before(f.expires):
		c.found = f
	case r.closed:
		c.found.err = fmt.Errorf("%w: the resolver is closed", ErrServers)
	case !r.asked.enter(guest):
		c.found.err = fmt.Errorf("%w: too many questions are in flight, %d in all", ErrServers, len(r.calls))
	default:
		r.calls[q] = c
		r.wg.Go(func() {
			defer r.asked.leave(guest)
			c.found = r.ask(guest, q)
			r.finish(q, c.found)
			close(c.done)
		})
		return c
	}
	close(c.done)
	return c
}

// finish ends a call, and remembers its answer unless that is over already.
func (r *Resolver) finish(q question, f found) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.calls, q)
	if q.kind != dns.TypeA {
		return
	}
	delete(r.cache, q.name)
	if !r.cfg.Now().Before(f.expires) {
		return
	}
	for name := range r.cache {
		if len(r.cache) < maxCached {
			break
		}
		delete(r.cache, name) // Any: a guest that asks for many names replaces those of others for a while only.
	}
	r.cache[q.name] = f
}
