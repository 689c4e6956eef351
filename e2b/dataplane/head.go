package dataplane

import (
	"bytes"
	"errors"
	"sync"
	"time"

	"github.com/rundlet/rundlet/e2b/internal/quota"
)

// The head of an answer (its status line and header fields) is held in memory,
// as text and as a map, until the exchange is over. Its cost counts both.
const (
	// maxHead bounds the cost of one head. Clients take less: Node.js 16 KiB.
	maxHead = 128 << 10
	// perLine is the cost of a field in the map, whatever its length.
	perLine = 64
	// freeHead is the cost that every stream may have; ordinary answers have less.
	// Only the cost above it counts against the budget of all, so that heads that
	// use it up abort no ordinary answer.
	freeHead = 4 << 10
	// allHeads and headsOfOne bound the cost above freeHead, of all sandboxes and of one.
	allHeads, headsOfOne = 64 << 20, 16 << 20
	// headTime is how long a head may take from its first byte to its last. There
	// is not a bound on the time before its first byte: a long poll is silent.
	headTime = 10 * time.Second
	// maxGRPCHead bounds a head, or trailers, of HTTP/2, as its libraries do. It is
	// small, because it is in no budget.
	maxGRPCHead = 16 << 10
)

// Errors of a head.
var (
	errHeadTooLarge = errors.New("the header of the answer is too large")
	errSlowHead     = errors.New("the header of the answer was not finished in time")
	errTooManyHeads = errors.New("too many large headers of answers are in flight")
)

// head bounds the head of the answer to one exchange while a connection reads
// it. An interim answer (1xx) has a separate head, which is not kept.
type head struct {
	budget *quota.Budget
	owner  string // the sandbox
	time   time.Duration

	mu    sync.Mutex
	conn  *conn // that it is read from; nil outside a round trip; guarded by mu
	scan  headScan
	held  int64       // of the budget; guarded by mu
	timer *time.Timer // runs while a head has begun and not ended; guarded by mu
	begun int         // heads; guarded by mu
	err   error       // why it was broken off; guarded by mu
}

// watch begins to bound the data from c, the connection of the exchange.
func (h *head) watch(c *conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.conn, h.scan = c, headScan{}
	c.head.Store(h)
}

// read inspects the data that the connection read, and returns an error if the rest
// is refused.
func (h *head) read(b []byte) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.err == nil && h.conn != nil && len(b) > 0 && !h.scan.done {
		if h.timer == nil {
			h.begun++
			which := h.begun
			h.timer = time.AfterFunc(h.time, func() { h.late(which) })
		}
		rest := h.scan.take(b)
		h.account()
		if h.scan.ended {
			h.timer.Stop()
			h.timer = nil
		}
		b = rest
	}
	return h.err
}

// account takes the present cost of the head from the budget, or fails. The caller
// holds mu.
func (h *head) account() {
	need := h.scan.cost - freeHead - h.held
	switch {
	case h.scan.cost > maxHead:
		h.err = errHeadTooLarge
	case need <= 0:
	case !h.budget.Take(h.owner, need):
		h.err = errTooManyHeads
	default:
		h.held += need
	}
}

// late breaks off the head if it is still the one that takes too long.
func (h *head) late(which int) {
	h.mu.Lock()
	c := h.conn
	slow := c != nil && h.timer != nil && h.begun == which && h.err == nil
	if slow {
		h.err = errSlowHead
	}
	h.mu.Unlock()
	if slow {
		c.Close()
	}
}

// stop ends the round trip: later data of the connection is a body. It returns
// the error that aborted the head, if any.
func (h *head) stop() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.conn != nil {
		h.conn.head.CompareAndSwap(h, nil)
		h.conn = nil
	}
	if h.timer != nil {
		h.timer.Stop()
		h.timer = nil
	}
	return h.err
}

// end gives the budget back, when the head is no longer in memory.
func (h *head) end() {
	_ = h.stop()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.held > 0 {
		h.budget.Give(h.owner, h.held)
		h.held = 0
	}
}

// headScan finds the end of heads of HTTP/1 in the data. It sees no end where net/http
// sees none.
type headScan struct {
	cost int64 // of the head
	// ended: the last data taken was the end of a head; done: of the last one.
	ended, done bool

	line    int  // bytes of the line that is being read
	last    byte // of it
	lines   int  // complete ones of the head
	space   bool // of the status line: the space in it was read
	status  int  // digits of the status that were read
	interim bool // it is 1xx
	digits  [3]byte
}

// take reads up to the end of a line, and returns the data behind it.
func (s *headScan) take(b []byte) (rest []byte) {
	if s.ended {
		*s = headScan{}
	}
	n := bytes.IndexByte(b, '\n')
	whole := n >= 0
	if !whole {
		n = len(b)
	}
	line := b[:n]
	if s.lines == 0 {
		s.statusLine(line)
	}
	s.cost += int64(n)
	s.line += n
	if n > 0 {
		s.last = line[n-1]
	}
	if !whole {
		return nil
	}
	if s.line == 0 || s.line == 1 && s.last == '\r' {
		s.ended = true
		s.done = !s.interim
	}
	s.lines++
	s.cost += perLine
	s.line, s.last = 0, 0
	return b[n+1:]
}

// statusLine reads "HTTP/1.1 103 ...", of which spaces may be several.
func (s *headScan) statusLine(b []byte) {
	for _, c := range b {
		switch {
		case c == ' ' && s.status == 0:
			s.space = true
		case s.space && s.status < len(s.digits):
			s.digits[s.status] = c
			s.status++
		}
	}
	// 101 hands the connection over, and is the last.
	s.interim = s.status == len(s.digits) && s.digits[0] == '1' && string(s.digits[:]) != "101"
}
