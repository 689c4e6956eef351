package names

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Guests is what a Server has to know of guests: the owner of a policy implements it. A guest is the source address
// of a query. Names are in lower case without a last dot. All methods are called concurrently.
type Guests interface {
	// Allowed reports whether a guest may reach a name.
	Allowed(guest netip.Addr, name string) bool
	// Known reports whether it is known what a guest may reach. If it is not, what is not allowed may be allowed later.
	Known(guest netip.Addr) bool
	// Bind lets a guest reach the addresses of a name for at least the given time. When it returns nil, they are
	// reached. It fails if the guest may not reach the name any more: its policy may have changed since Allowed.
	Bind(guest netip.Addr, name string, addrs []netip.Addr, life time.Duration) error
	// Answered records that a guest asked for a name, not that of an address, and gets records of it. It must not block.
	Answered(guest netip.Addr, name string)
	// Refused records that a guest asked for a name and got no address because of its policy, or because all addresses
	// are private. The name may have any characters that the text form of DNS has, up to 1 KiB of them.
	Refused(guest netip.Addr, name string)
}

// ServerConfig is the constant part of a Server. All of it is required.
type ServerConfig struct {
	// Packets and Stream get the queries, and are closed with the server.
	Packets net.PacketConn
	Stream  net.Listener
	// Resolver is closed by the caller, after the server.
	Resolver *Resolver
	Guests   Guests
}

const (
	// queriesEach and queriesAll are how many queries over UDP are in flight, of one guest and in all, and lookupsEach and
	// lookupsAll how many different questions wait for name servers: these may take long. Others are dropped, and clients
	// repeat them after seconds.
	queriesEach, queriesAll = 512, 4096
	lookupsEach, lookupsAll = 64, 4096
	// streamsEach and streamsAll are how many connections are open. A connection has one query in flight, and
	// the next is not read until then.
	streamsEach, streamsAll = 8, 512
	// streamQueries is how many queries one connection may send.
	streamQueries = 128
	// readTime is how long a client may take to send one query over TCP, and writeTime to receive its answer.
	readTime, writeTime = 8 * time.Second, 2 * time.Second
	// pause is how long a socket rests after an error, such as too many open files.
	pause = 10 * time.Millisecond
)

// Server answers queries of guests.
type Server struct {
	cfg     ServerConfig
	ctx     context.Context
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	queries bounds
	lookups bounds
	streams bounds

	mu      sync.Mutex
	waiting map[waiter]int // How many queries wait for it; none is 0.
}

// Serve begins to answer. The caller ends it with Close.
func Serve(cfg ServerConfig) *Server {
	s := &Server{
		cfg: cfg, queries: newBounds(queriesEach, queriesAll), lookups: newBounds(lookupsEach, lookupsAll), streams: newBounds(streamsEach, streamsAll),
		waiting: map[waiter]int{},
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.wg.Go(s.servePackets)
	s.wg.Go(s.serveStreams)
	return s
}

// Close ends the server with its connections, and waits until everything has ended, calls of Guests too.
func (s *Server) Close() error {
	s.cancel()
	err := errors.Join(s.cfg.Packets.Close(), s.cfg.Stream.Close())
	s.wg.Wait()
	return err
}

// servePackets reads queries over UDP, and answers each in a goroutine.
func (s *Server) servePackets() {
	buf := make([]byte, maxQuery)
	for s.ctx.Err() == nil {
		n, from, err := s.cfg.Packets.ReadFrom(buf)
		if err != nil {
			s.rest()
			continue
		}
		guest := addrOf(from)
		if !s.queries.enter(guest) {
			continue
		}
		query := append([]byte(nil), buf[:n]...)
		s.wg.Go(func() {
			defer s.queries.leave(guest)
			if reply := s.answer(guest, query, true); reply != nil {
				_, _ = s.cfg.Packets.WriteTo(reply, from) // The client asks again.
			}
		})
	}
}

// serveStreams accepts connections, and serves each in a goroutine.
func (s *Server) serveStreams() {
	for s.ctx.Err() == nil {
		conn, err := s.cfg.Stream.Accept()
		if err != nil {
			s.rest()
			continue
		}
		guest := addrOf(conn.RemoteAddr())
		if !s.streams.enter(guest) {
			_ = conn.Close()
			continue
		}
		s.wg.Go(func() {
			defer s.streams.leave(guest)
			s.serveStream(guest, conn)
		})
	}
}

// serveStream answers the queries of one connection, one after another.
func (s *Server) serveStream(guest netip.Addr, conn net.Conn) {
	defer conn.Close()
	defer context.AfterFunc(s.ctx, func() { _ = conn.Close() })()
	for range streamQueries {
		_ = conn.SetReadDeadline(time.Now().Add(readTime))
		query, err := readFramed(conn, maxQuery)
		if err != nil {
			return
		}
		reply := s.answer(guest, query, false)
		if reply == nil {
			return
		}
		_ = conn.SetWriteDeadline(time.Now().Add(writeTime))
		if writeFramed(conn, reply) != nil {
			return
		}
	}
}

// rest waits after an error of a socket, until the server ends.
func (s *Server) rest() {
	select {
	case <-s.ctx.Done():
	case <-time.After(pause):
	}
}

// bounds counts what guests have in use.
type bounds struct {
	each, all int

	mu    sync.Mutex
	used  map[netip.Addr]int
	total int
}

func newBounds(each, all int) bounds {
	return bounds{each: each, all: all, used: map[netip.Addr]int{}}
}

// enter takes one for a guest, if there is one; leave gives it back. A guest has as many at most as are left to all, so
// that some are left however many guests take what they can.
func (b *bounds) enter(guest netip.Addr) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.used[guest] >= min(b.each, b.all-b.total) {
		return false
	}
	b.total++
	b.used[guest]++
	return true
}

func (b *bounds) leave(guest netip.Addr) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.total--
	if b.used[guest]--; b.used[guest] == 0 {
		delete(b.used, guest)
	}
}
