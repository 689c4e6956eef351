package runtime

import (
	"context"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/rundlet/rundlet/host"
	"github.com/rundlet/rundlet/vm"
)

const swapSize = 1 << 30

// swapping is a driver on a host with swap. A machine uses the processor as the test says,
// and has its memory back when something connects to it.
type swapping struct {
	recordingDriver
	h *swapHost
}

type swapHost struct {
	mu   sync.Mutex
	free int64
	busy map[string]bool // machines that use half a processor
	cpu  map[string]time.Duration
	at   map[string]time.Time
	in   map[string]bool // machines that are paged out
	outs []string
	err  error
	hung map[string]bool // machines that answer nothing, and whose memory stays where it is
	asks []time.Time     // when one that hangs was asked
}

func (h *swapHost) swap() (host.Swap, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return host.Swap{Total: swapSize, Free: h.free, Zram: true}, h.err
}

// with calls f under the lock.
func (h *swapHost) with(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
}

// pagedOut returns the machines that were paged out since the last call.
func (h *swapHost) pagedOut() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := h.outs
	h.outs = nil
	slices.Sort(out)
	return out
}

// there reports whether a machine's memory is in swap.
func (h *swapHost) there(id string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.in[id]
}

func (d swapping) Stats(ctx context.Context, id string) (vm.Stats, error) {
	s, err := d.Driver.Stats(ctx, id)
	d.h.mu.Lock()
	defer d.h.mu.Unlock()
	if at := d.h.at[id]; !at.IsZero() && d.h.busy[id] {
		d.h.cpu[id] += s.Time.Sub(at) / 2
	}
	d.h.at[id] = s.Time
	s.CPUTime, s.MemoryBytes = d.h.cpu[id], 14<<20
	if d.h.in[id] {
		s.MemoryBytes = 7 << 20
	}
	return s, err
}

func (d swapping) PageOut(ctx context.Context, id string) (int64, error) {
	if _, err := d.Driver.PageOut(ctx, id); err != nil {
		return 0, err
	}
	if err := d.f.failing("page out"); err != nil {
		return 0, err
	}
	d.h.with(func() { d.h.in[id], d.h.outs = true, append(d.h.outs, id) })
	return 7 << 20, nil
}

func (d swapping) Dial(ctx context.Context, id string, port uint16) (net.Conn, error) {
	hung := false
	d.h.with(func() {
		if hung = d.h.hung[id]; hung {
			d.h.asks = append(d.h.asks, time.Now())
		} else {
			delete(d.h.in, id)
		}
	})
	if hung {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return d.recordingDriver.Dial(ctx, id, port)
}
