package usernet

import (
	"log/slog"
	"sync"
	"time"
)

const (
	// leastBuffer is what each of the four buffers of a connection may have, however much the others have: for both
	// directions, one in the stack and one that is being copied.
	leastBuffer = 16 << 10
	// mostBuffer keeps one connection from overflowing the receive buffer of the packet socket, which is 416 KiB on most
	// hosts. More was not faster: the link takes some 50 µs.
	mostBuffer = 256 << 10
)

// bound counts something of which there may be so many.
type bound struct {
	name string
	most int
	log  *slog.Logger

	mu     sync.Mutex
	now    int
	warned time.Time
}

// take reports whether there may be one more. It logs at most once a minute that there may not.
func (b *bound) take() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.now < b.most {
		b.now++
		return true
	}
	if at := time.Now(); at.Sub(b.warned) > time.Minute {
		b.warned = at
		b.log.Warn("bound of the network reached", "bound", b.name, "most", b.most)
	}
	return false
}

// give is the end of one.
func (b *bound) give() {
	b.mu.Lock()
	b.now--
	b.mu.Unlock()
}

// buffers divides memory among connections: each gets a part of what is left, so that many get little and few get much.
type buffers struct {
	mu   sync.Mutex
	left int64
}

// take returns the size of each buffer of a connection.
func (b *buffers) take() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	size := min(b.left/256, mostBuffer-leastBuffer)
	b.left -= 4 * size
	return int(size) + leastBuffer
}

// give returns what take has given.
func (b *buffers) give(size int) {
	b.mu.Lock()
	b.left += 4 * int64(size-leastBuffer)
	b.mu.Unlock()
}
