package dataplane

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rundlet/rundlet/internal/halfclose"
	"github.com/rundlet/rundlet/sandbox"
)

// Sandboxes is the part of the runtime that the data plane uses. All methods are safe for
// concurrent use and return the error classes of package sandbox.
type Sandboxes interface {
	// Get returns running and paused sandboxes and those between the two;
	// ErrNotFound for others.
	Get(ctx context.Context, id string) (sandbox.Sandbox, error)
	// EachToken calls yield with the id and the agent's token of every sandbox that
	// has one, running or paused, until it returns false. It is cheaper than List.
	EachToken(ctx context.Context, yield func(id, token string) bool) error
	// Dial opens a stream to a TCP port in the sandbox: ErrNotRunning (also for
	// an unknown id), ErrPortClosed, ErrConflict.
	Dial(ctx context.Context, id string, port uint16) (net.Conn, error)
	// Wake waits for a pause or a resume that is under way, and then returns a
	// running sandbox as it is, resumes a paused one that traffic resumes, and
	// returns ErrNotRunning for others.
	// Calls at the same time share one resume, and each waits as long as its own
	// ctx. It is worth at least 300 s of timeout.
	Wake(ctx context.Context, id string) (sandbox.Sandbox, error)
	// Settled waits for a pause or a resume that is under way, and returns the
	// sandbox running or paused, as it is then. ErrNotFound.
	Settled(ctx context.Context, id string) (sandbox.Sandbox, error)
	// AwaitSync returns when the gate of a sandbox's checkout is open or has failed, or when the sandbox does not run; an
	// error if ctx ends before.
	AwaitSync(ctx context.Context, id string) error
}

const (
	// agentIdle is how long a connection to the agent is kept for the next
	// request. It must be shorter than the timeout of the agent.
	agentIdle = 60 * time.Second
	// agentIdleConns bounds the kept connections of one sandbox.
	agentIdleConns = 8
	streamBuffer   = 8 << 10
	// grpcBuffer bounds the held part of a gRPC answer that the client does not read.
	// The default of net/http is 4 MiB for each.
	grpcBuffer = 64 << 10
	// sweepEvery is how soon an unreported end of a run is noticed.
	sweepEvery = time.Second
)

// lifecycle names one run of one sandbox: the same id resumed is another, and
// its connections are never mixed.
type lifecycle struct {
	id      string
	started int64
}

// pool owns every connection into sandboxes.
type pool struct {
	sandboxes Sandboxes
	mu        sync.Mutex
	runs      map[lifecycle]*run // guarded by mu
	closed    bool               // guarded by mu
	// most bounds the connections, mostOfOne those of one run, and mostOfKey those into all sandboxes of a key; 0 means no
	// bound.
	most, mostOfOne, mostOfKey int
	open                       int            // guarded by mu
	openOf                     map[string]int // by key, those that have any; guarded by mu
}

// run holds the connections of one lifecycle. It lives in the pool while a
// request uses it, or a connection is open or being dialed.
type run struct {
	pool  *pool
	key   lifecycle
	owner string // The id of the sandbox's API key.
	// agent keeps connections, because a command costs a request. Other ports serve
	// programs whose keep-alive we know nothing of: kept is for the requests that may
	// use a connection again, and port for the others. grpc speaks HTTP/2 to
	// them, which is all that gRPC servers take.
	agent, kept, port, grpc *http.Transport
	sweep                   *time.Timer
	users                   int                // guarded by pool.mu
	open                    int                // connections, and dials under way; guarded by pool.mu
	conns                   map[*conn]struct{} // guarded by pool.mu
	over                    chan struct{}      // closed when the run has ended, with pool.mu held
}

// acquire returns the run of a sandbox; the caller gives it back with release.
func (p *pool) acquire(sb sandbox.Sandbox) (*run, error) {
	key := lifecycle{sb.ID, sb.StartedAt.UnixNano()}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, sandbox.ErrUnavailable
	}
	r := p.runs[key]
	if r == nil {
		r = p.newRun(key, sb.KeyID)
		p.runs[key] = r
	}
	r.users++
	return r, nil
}

func (p *pool) newRun(key lifecycle, owner string) *run {
	r := &run{pool: p, key: key, owner: owner, conns: make(map[*conn]struct{}), over: make(chan struct{})}
	base := http.Transport{
		DialContext:        r.dial,
		DisableCompression: true,
		Protocols:          new(http.Protocols),
		// A client that waits for a 100 gets ours; the sandbox may send none.
		ExpectContinueTimeout: time.Second,
		// Each stream has both, also one without an answer. Larger data is
		// copied without them. The one for reading bounds trailers, too.
		WriteBufferSize: streamBuffer,
		ReadBufferSize:  streamBuffer,
		// A head ends sooner, by its cost.
		MaxResponseHeaderBytes: 2 * maxHead,
	}
	base.Protocols.SetHTTP1(true)
	r.agent = base.Clone()
	r.agent.IdleConnTimeout = agentIdle
	r.agent.MaxIdleConnsPerHost = agentIdleConns
	r.kept = keeping(&base)
	r.port = base.Clone()
	r.port.DisableKeepAlives = true
	r.port.DialTLSContext = r.dialSecure
	r.grpc = r.port.Clone()
	r.grpc.Protocols = new(http.Protocols)
	r.grpc.Protocols.SetUnencryptedHTTP2(true)
	r.grpc.MaxResponseHeaderBytes = maxGRPCHead
	r.grpc.HTTP2 = &http.HTTP2Config{MaxReceiveBufferPerStream: grpcBuffer}
	r.sweep = time.AfterFunc(sweepEvery, r.check)
	return r
}

func (r *run) release() {
	r.pool.mu.Lock()
	defer r.pool.mu.Unlock()
	r.users--
}

// errNoStream: the run had ended, or was just ending, before there was a stream
// for the request, so nothing of it was sent.
var errNoStream = errors.New("no stream")

// dial is the DialContext of all transports.
func (r *run) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	return r.connect(ctx, addr, func(raw net.Conn) (net.Conn, error) { return raw, nil })
}

// connect dials a port of the sandbox. over makes of the stream what requests are sent on.
func (r *run) connect(ctx context.Context, addr string, over func(net.Conn) (net.Conn, error)) (net.Conn, error) {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, err
	}
	if !r.pool.take(r) {
		return nil, errTooManyStreams
	}
	nc, err := r.pool.sandboxes.Dial(ctx, r.key.id, uint16(n))
	if err == nil {
		nc, err = over(nc)
	}
	if err != nil {
		r.pool.give(r)
	}
	if errors.Is(err, sandbox.ErrNotRunning) || errors.Is(err, sandbox.ErrConflict) {
		return nil, fmt.Errorf("%w: %w", errNoStream, err)
	}
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: nc, run: r, opened: time.Now()}
	r.pool.mu.Lock()
	ended := r.hasEnded()
	if !ended {
		r.conns[c] = struct{}{}
	}
	r.pool.mu.Unlock()
	if ended {
		nc.Close()
		r.pool.give(r)
		return nil, fmt.Errorf("%w: %w", errNoStream, sandbox.ErrNotRunning)
	}
	return c, nil
}

// check ends the run if its sandbox is not in it any more, and forgets it if
// it is unused. A machine that vanishes may leave streams that neither end nor
// fail, so the open ones are looked after here.
func (r *run) check() {
	ctx, cancel := context.WithTimeout(context.Background(), sweepEvery)
	defer cancel()
	sb, err := r.pool.sandboxes.Get(ctx, r.key.id)
	gone := isGone(err) || err == nil && (ended(sb.State) || sb.StartedAt.UnixNano() != r.key.started)
	p := r.pool
	p.mu.Lock()
	unused := r.users == 0 && r.open == 0
	if gone || unused {
		if p.runs[r.key] == r {
			delete(p.runs, r.key)
		}
	} else if !r.hasEnded() {
		r.sweep.Reset(sweepEvery)
	}
	p.mu.Unlock()
	if gone {
		r.end()
	}
}

// ended reports whether a sandbox that was running has stopped. One that is being
// paused may yet run on.
func ended(s sandbox.State) bool { return s != sandbox.StateRunning && s != sandbox.StatePausing }

// end closes every connection of the run, in use or not, so that streams of a
// dead sandbox break off instead of hanging.
func (r *run) end() {
	p := r.pool
	p.mu.Lock()
	if !r.hasEnded() {
		close(r.over)
	}
	r.sweep.Stop()
	open := make([]*conn, 0, len(r.conns))
	for c := range r.conns {
		open = append(open, c)
	}
	p.mu.Unlock()
	for _, c := range open {
		c.Close()
	}
	r.closeIdle()
}

// drop ends all runs of a sandbox, or of all if id is empty.
func (p *pool) drop(id string) {
	p.mu.Lock()
	var ended []*run
	for key, r := range p.runs {
		if id == "" || key.id == id {
			ended = append(ended, r)
			delete(p.runs, key)
		}
	}
	p.mu.Unlock()
	for _, r := range ended {
		r.end()
	}
}

func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.drop("")
}

// conn is a connection that its run knows.
type conn struct {
	net.Conn
	run    *run
	opened time.Time
	// head is that of the answer that is being read, or nil.
	head atomic.Pointer[head]
	// sent counts the bytes that the stream took, and before those of earlier
	// requests.
	sent, before atomic.Int64
	// upgraded: it speaks another protocol. ended: there is nothing more to read.
	upgraded, ended atomic.Bool
	reads           reads
}

// Write continues when the program in the sandbox accepts no more: it may have
// answered before it closed, and the transport would drop the answer for the error.
// The reading side decides whether there is an answer. In another protocol, too,
// the last bytes of the program are read first, and then the connection ends.
func (c *conn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.sent.Add(int64(n))
	over := c.upgraded.Load() && c.ended.Load()
	if !over && c.sent.Load() > c.before.Load() && (errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)) {
		return len(b), nil
	}
	return n, err
}

// Read bounds the head of an answer.
func (c *conn) Read(b []byte) (int, error) {
	c.reads.set(reading)
	n, err := c.Conn.Read(b)
	c.reads.set(busy)
	if err != nil {
		c.ended.Store(true)
	}
	if h := c.head.Load(); h != nil && n > 0 {
		if err := h.read(b[:n]); err != nil {
			c.Close()
			return 0, err
		}
	}
	return n, err
}

// Close closes the connection and forgets it.
func (c *conn) Close() error {
	c.run.pool.mu.Lock()
	_, open := c.run.conns[c]
	delete(c.run.conns, c)
	c.run.pool.mu.Unlock()
	c.reads.set(closed)
	if open {
		defer c.run.pool.give(c.run)
	}
	return c.Conn.Close()
}

// CloseWrite ends the sending side where the stream under it can, so that a
// half-closed upgraded connection stays one.
func (c *conn) CloseWrite() error {
	return halfclose.Write(c.Conn, c.Close)
}
